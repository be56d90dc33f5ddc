"""Inference: what a suffix is fed, and the logits that it gives."""

import itertools
import operator
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from frostline.backbones.precision import autocast
from frostline.backbones.registry import scale_pixels
from frostline.data.images import Rows
from frostline.networks.segments import Features, map_features


class Inputs(Protocol):
    """Yields the suffix's input for each batch of rows in one view; None is the image as it is."""

    def __call__(self, batches: Sequence[Rows], view: int | None, /) -> Iterator[Features]:
        """Yield the inputs of each batch."""


Transform = Callable[[Tensor, Rows, int | None], Tensor]
"""Makes a view of pixels, uint8, N x H x W x 3, which are these rows of images.npy; None is the images as they are."""
# Each core computes a batch of its own: larger ones are no faster, and are what the plan `head` needs most memory for.
# A GPU computes one after the other, and has fewer kernels to start for large ones.
PREFIX_PIXELS = {"cpu": 32 * 72 * 72, "cuda": 16 * 224 * 224}
# Below 16 images other kernels are taken, whose last bits differ in float32.
SMALLEST_PREFIX_BATCH, LARGEST_PREFIX_BATCH = 16, 256
# Images are computed side by side in so many groups that all threads end at about the same time; a group's outputs are
# held until the one before it is taken.
LEAST_GROUP, LARGEST_GROUP, GROUPS_PER_THREAD = 32, 128, 8


@dataclass(frozen=True)
class Images:
    """Images, N x H x W x 3, and the device that their rows are fetched onto.

    A GPU is given all of them at once, as uint8, where they take at most half of its free memory; then a batch is
    gathered without crossing the bus. Else a batch crosses it from pinned memory, while the GPU computes.
    """

    stored: NDArray[np.uint8] | Tensor
    device: torch.device

    @classmethod
    def hold(cls, images: NDArray[np.uint8], device: torch.device) -> "Images":
        """Return the images where their rows are fetched from fastest."""
        if device.type == "cuda" and images.nbytes <= torch.cuda.mem_get_info(device)[0] // 2:
            return cls(torch.from_numpy(np.array(images)).to(device), device)
        return cls(images, device)

    def __call__(self, rows: Rows) -> Tensor:
        """Return these rows of the images on the device."""
        if isinstance(self.stored, Tensor):
            return self.stored[torch.from_numpy(rows).to(self.device)]
        return move_to_device(torch.from_numpy(self.stored[rows]), self.device)


@dataclass(frozen=True)
class LiveInputs:
    """Inputs of a whole backbone: scaled pixels, float32, N x 3 x H x W, channels_last, on the images' device.

    Without a transform, every view is the image as it is.
    """

    images: Images
    backbone: str
    transform: Transform | None = None

    def __call__(self, batches: Sequence[Rows], view: int | None, /) -> Iterator[Tensor]:
        """Yield the inputs of each batch."""
        for rows in batches:
            pixels = self.images(rows)
            yield scale_pixels(self.backbone, self.transform(pixels, rows, view) if self.transform else pixels)


def move_to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on the device; a GPU copies it from pinned memory while it computes."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


@dataclass(frozen=True)
class PrefixedInputs:
    """Inputs that the frozen prefix makes of the live ones, computed anew each time that they are asked for.

    Several small batches run through the prefix as one, which is faster, and never fewer images than have the same
    last bits in every batch: in float32 an image's output is bit for bit the same in all of them.
    """

    prefix: nn.Module
    live: Inputs
    image_px: int
    precision: str
    device: torch.device

    def __call__(self, batches: Sequence[Rows], view: int | None, /) -> Iterator[Features]:
        """Yield the inputs of each batch."""
        alike = _compute_alike(self.prefix)
        for group in _group_batches(batches, size_prefix_batch(self.image_px, self.device)):
            rows = np.concatenate(group)
            (pixels,) = self.live([np.resize(rows, max(len(rows), SMALLEST_PREFIX_BATCH))], view)
            with torch.no_grad(), autocast(self.precision, self.device), alike:
                outputs = map_features(_lay_densely, self.prefix(pixels))
            bounds = itertools.pairwise(itertools.accumulate((len(batch) for batch in group), initial=0))
            for first, last in bounds:
                yield map_features(operator.itemgetter(slice(first, last)), outputs)


def _lay_densely(outputs: Tensor) -> Tensor:
    """Return the outputs without gaps in memory, as they are kept: with gaps, a suffix may round otherwise."""
    axes = sorted(range(outputs.dim()), key=lambda axis: -outputs.stride()[axis])
    lying = outputs.permute(axes)
    return outputs if lying.is_contiguous() else lying.contiguous().permute([*np.argsort(axes)])


def _compute_alike(prefix: nn.Module) -> AbstractContextManager[object]:
    """Return the context in which the prefix makes the same of an image in every place of a batch.

    Most prefixes need none, and attention does without: under a function mode it would take a slower kernel.
    """
    needed = any(isinstance(module, nn.Sigmoid | nn.SiLU) for module in prefix.modules())
    return _ComputeEachImage() if needed else nullcontext()


class _ComputeEachImage(TorchFunctionMode):
    """Computes sigmoid and SiLU for each image by itself.

    On a processor PyTorch computes the last few elements of a tensor, and of each thread's share of it, not as vectors
    but one by one, and for these two the last bits differ: what an image gives would depend on its place in the batch.
    (Of the architectures here, EfficientNet-B0 and RegNet have them.)
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        into = {torch.sigmoid: torch.ops.aten.sigmoid.out, functional.silu: torch.ops.aten.silu.out}.get(function)
        if into is None or not args[0].dim() or args[0].device.type != "cpu":
            return function(*args, **(kwargs or {}))
        output = torch.empty_like(args[0])
        for image, place in zip(args[0], output, strict=True):
            into(image, out=place)
        return output


def size_prefix_batch(image_px: int, device: torch.device) -> int:
    """Return how many images run through a prefix at once."""
    return int(np.clip(PREFIX_PIXELS[device.type] // image_px**2, SMALLEST_PREFIX_BATCH, LARGEST_PREFIX_BATCH))


def _group_batches(batches: Sequence[Rows], rows: int) -> list[list[Rows]]:
    """Return the batches in groups of nearly equal size, none of more than `rows` unless a batch is."""
    largest = max(len(batch) for batch in batches)
    in_group = max(1, rows // largest)
    bounds = np.linspace(0, len(batches), -(-len(batches) // in_group) + 1).round().astype(int)
    return [list(batches[a:b]) for a, b in itertools.pairwise(bounds)]


def compute_beside(
    inputs: Inputs, batches: Sequence[Rows], view: int | None, device: torch.device
) -> Iterator[Features]:
    """Yield what `inputs` makes of each batch, on a processor so many groups of batches at once as there are threads.

    Threads that share one kernel wait for each other, and these do not: on two AVX2 cores a prefix of
    EfficientNet-Lite0 took 0.8 (32 and 72 px) to 0.92 (160 px) of the time, of ResNet18 (224 px) 0.97; where threads
    wait passively, 0.66 (72 px).
    """
    threads = torch.get_num_threads()
    if device.type == "cuda" or threads == 1:
        yield from inputs(batches, view)
        return

    @torch.no_grad()
    def compute(group: list[Rows]) -> list[Features]:
        return list(inputs(group, view))

    images = sum(map(len, batches))
    in_group = int(np.clip(images // (GROUPS_PER_THREAD * threads), LEAST_GROUP, LARGEST_GROUP))
    groups = max(1, min(len(batches), images // in_group))
    bounds = np.linspace(0, len(batches), groups + 1).round().astype(int)
    waiting: deque[Future[list[Features]]] = deque()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for first, last in itertools.pairwise(bounds):
                waiting.append(pool.submit(compute, list(batches[first:last])))
                if len(waiting) > threads:
                    yield from waiting.popleft().result()
            for future in waiting:
                yield from future.result()
    finally:
        torch.set_num_threads(threads)  # new threads take the number that was set last


def split_batches(rows: Rows, batch_size: int) -> list[Rows]:
    """Return the rows in batches of nearly equal size, at most `batch_size`, so that none is a lonely remainder."""
    return np.array_split(rows, -(-len(rows) // batch_size))


@torch.no_grad()
def predict(
    suffix: nn.Sequential, inputs: Inputs, batches: Sequence[Rows], precision: str, device: torch.device
) -> Tensor:
    """Return float32 logits, rows x classes, of the images as they are, batch after batch."""
    suffix.eval()
    logits = []
    for batch in inputs(batches, None):
        with autocast(precision, device):
            logits.append(suffix(batch).float())
    return torch.cat(logits)
