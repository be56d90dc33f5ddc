"""What a suffix is fed: scaled pixels, or what a frozen prefix makes of them."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from stages.backbones import scale_pixels
from stages.precision import autocast
from stages.prepared import Rows

Inputs = Callable[[Sequence[Rows], int | None], Iterator[Tensor]]
"""Yields the suffix's input for each batch of rows in one view; None is the image as it is."""

Augmented = Callable[[Tensor, Rows, int | None], Tensor]
"""Makes a view of pixels, uint8, N x H x W x 3, which are these rows of images.npy; None is the images as they are."""

# A prefix keeps no activations, so that its batches may be larger than training's; more than this gains nothing, as
# the processor's caches overflow (16 images of 224 px), and would be what the plan `head` needs most memory for.
PREFIX_PIXELS = 16 * 224 * 224
# Below 16 images other kernels are taken, whose last bits differ in float32.
SMALLEST_PREFIX_BATCH, LARGEST_PREFIX_BATCH = 16, 256


def live_inputs(
    images: NDArray[np.uint8], backbone: str, device: torch.device, augmented: Augmented | None = None
) -> Inputs:
    """Return the inputs of a whole backbone: scaled pixels, float32, N x 3 x H x W, channels_last, on the device.

    Without what augments, every view is the image as it is.
    """
    held = hold_images(images, device)

    def of(batches: Sequence[Rows], view: int | None) -> Iterator[Tensor]:
        for rows in batches:
            pixels = held(rows)
            yield scale_pixels(backbone, augmented(pixels, rows, view) if augmented else pixels)

    return of


def hold_images(images: NDArray[np.uint8], device: torch.device) -> Callable[[Rows], Tensor]:
    """Return what fetches rows of the images onto the device.

    A GPU is given all of them at once, as uint8, where they take at most half of its free memory; then a batch is
    gathered without crossing the bus. Else a batch crosses it from pinned memory, while the GPU computes.
    """
    if device.type == "cuda" and images.nbytes <= torch.cuda.mem_get_info(device)[0] // 2:
        resident = torch.from_numpy(np.array(images)).to(device)
        return lambda rows: resident[torch.from_numpy(rows).to(device)]
    return lambda rows: to_device(torch.from_numpy(images[rows]), device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on the device; a GPU copies it from pinned memory while it computes."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def prefixed_inputs(prefix: nn.Module, live: Inputs, image_px: int, precision: str, device: torch.device) -> Inputs:
    """Return what the frozen prefix makes of the live inputs, computed anew each time that it is asked for.

    Several small batches run through the prefix as one, which is faster, and never fewer images than have the same
    last bits in every batch: in float32 an image's output is bit for bit the same in all of them.
    """
    group_rows, alike = prefix_batch(image_px), _alike(prefix)

    def of(batches: Sequence[Rows], view: int | None) -> Iterator[Tensor]:
        for group in _groups(batches, group_rows):
            rows = np.concatenate(group)
            (pixels,) = live([np.resize(rows, max(len(rows), SMALLEST_PREFIX_BATCH))], view)
            with torch.no_grad(), autocast(precision, device), alike:
                outputs = prefix(pixels)[: len(rows)]
            yield from outputs.split([len(batch) for batch in group])

    return of


def _alike(prefix: nn.Module) -> AbstractContextManager[object]:
    """Return the context in which the prefix makes the same of an image in every place of a batch.

    Most prefixes need none, and attention does without: under a function mode it would take a slower kernel.
    """
    needed = any(isinstance(module, nn.Sigmoid | nn.SiLU) for module in prefix.modules())
    return _EachImageAlike() if needed else nullcontext()


class _EachImageAlike(TorchFunctionMode):
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


def prefix_batch(image_px: int) -> int:
    """Return how many images run through a prefix at once."""
    return int(np.clip(PREFIX_PIXELS // image_px**2, SMALLEST_PREFIX_BATCH, LARGEST_PREFIX_BATCH))


def _groups(batches: Sequence[Rows], rows: int) -> list[list[Rows]]:
    """Return the batches in groups of nearly equal size, none of more than `rows` unless a batch is."""
    largest = max(len(batch) for batch in batches)
    each = max(1, rows // largest)
    bounds = np.linspace(0, len(batches), -(-len(batches) // each) + 1).round().astype(int)
    return [list(batches[a:b]) for a, b in itertools.pairwise(bounds)]


def in_batches(rows: Rows, batch_size: int) -> list[Rows]:
    """Return the rows in batches of nearly equal size, at most `batch_size`, so that none is a lonely remainder."""
    return np.array_split(rows, -(-len(rows) // batch_size))
