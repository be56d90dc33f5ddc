"""Inference: frozen layers folded together, what a suffix is fed, and the logits that it gives."""

import copy
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from frostline.backbones.precision import SameConvolution, autocast
from frostline.backbones.registry import scale_pixels
from frostline.data.images import Rows


class _Tracer(fx.Tracer):
    """Sees convolutions and norms of any library as wholes, and dense blocks too, whose lists it cannot follow."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        whole = isinstance(module, nn.Conv2d | _BatchNorm | nn.ModuleDict)
        return whole or super().is_leaf_module(module, name)


def prepare_prefix(prefix: nn.Sequential, precision: str) -> nn.Sequential:
    """Return the frozen prefix as it runs: in modules of their own, in eval mode, with norms folded.

    It computes the same function up to rounding. In bfloat16 weights are converted once, and convolutions are folded
    before they are. Tensors that stay as they are (norms that follow no convolution) are shared, which spares a copy.
    """
    convert = _convert_to_bfloat16 if precision == "bfloat16" else _leave
    folded = nn.Sequential()
    for name, part in _copy_modules(prefix).eval().named_children():
        has_norms = any(isinstance(module, _BatchNorm) for module in part.modules())
        folded.add_module(name, _fold_part(part, convert) if has_norms else part)
    for name, module in list(folded.named_modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            convert(module)
        if type(module).__name__ == "Conv2dSame":  # timm's; to import it for its type's sake takes half a second
            folded.set_submodule(name, SameConvolution(module))
    return folded.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _copy_modules(prefix: nn.Sequential) -> nn.Sequential:
    """Return a copy of the modules with the same tensors in them."""
    tensors = [*prefix.parameters(), *prefix.buffers()]
    return copy.deepcopy(prefix, {id(tensor): tensor for tensor in tensors})


def _leave(module: nn.Module) -> nn.Module:
    return module


def _convert_to_bfloat16(module: nn.Module) -> nn.Module:
    """Give the module parameters of its own in bfloat16; the tensors that it had stay what they are."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        setattr(module, name, nn.Parameter(parameter.detach().bfloat16(), requires_grad=False))
    return module


def _fold_part(part: nn.Module, convert: Callable[[nn.Module], nn.Module]) -> nn.Module:
    tracer = _Tracer()
    graph = tracer.trace(part)
    vars(tracer).clear()  # fx holds on to it until Python looks for cycles, and it to the part's weights
    traced = fx.GraphModule(part, graph)
    modules = dict(traced.named_modules())
    for node in graph.nodes:
        norm = _get_called_module(modules, node)
        before: Any = node.args[0] if isinstance(norm, _BatchNorm) else None
        conv = _get_called_module(modules, before)
        # A norm that will not sleep stays as it is: the audit finds it.
        if isinstance(norm, _BatchNorm) and isinstance(conv, nn.Conv2d) and not norm.training and _is_used_once(before):
            traced.set_submodule(before.target, convert(fuse_conv_bn_eval(conv, norm)))
            traced.set_submodule(str(node.target), _find_activation(norm))
    return traced


def _get_called_module(modules: dict[str, nn.Module], node: Any) -> nn.Module | None:
    """Return the module that the node calls, if it calls one."""
    return modules.get(str(node.target)) if isinstance(node, fx.Node) and node.op == "call_module" else None


def _is_used_once(node: Any) -> bool:
    """Return whether the convolution feeds its norm alone, and is called once."""
    calls = [other for other in node.graph.nodes if other.op == "call_module" and other.target == node.target]
    return len(node.users) == 1 and len(calls) == 1


def _find_activation(norm: nn.Module) -> nn.Module:
    """Return what a norm does beside normalising: timm's ones hold their activation."""
    return norm.act if isinstance(getattr(norm, "act", None), nn.Module) else nn.Identity()  # type: ignore[return-value]


class Inputs(Protocol):
    """Yields the suffix's input for each batch of rows in one view; None is the image as it is."""

    def __call__(self, batches: Sequence[Rows], view: int | None, /) -> Iterator[Tensor]:
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

    def __call__(self, batches: Sequence[Rows], view: int | None, /) -> Iterator[Tensor]:
        """Yield the inputs of each batch."""
        alike = _compute_alike(self.prefix)
        for group in _group_batches(batches, size_prefix_batch(self.image_px, self.device)):
            rows = np.concatenate(group)
            (pixels,) = self.live([np.resize(rows, max(len(rows), SMALLEST_PREFIX_BATCH))], view)
            with torch.no_grad(), autocast(self.precision, self.device), alike:
                outputs = self.prefix(pixels)[: len(rows)]
            yield from outputs.split([len(batch) for batch in group])


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


def compute_beside(inputs: Inputs, batches: Sequence[Rows], view: int | None, device: torch.device) -> Iterator[Tensor]:
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
    def compute(group: list[Rows]) -> list[Tensor]:
        return list(inputs(group, view))

    images = sum(map(len, batches))
    in_group = int(np.clip(images // (GROUPS_PER_THREAD * threads), LEAST_GROUP, LARGEST_GROUP))
    groups = max(1, min(len(batches), images // in_group))
    bounds = np.linspace(0, len(batches), groups + 1).round().astype(int)
    waiting: deque[Future[list[Tensor]]] = deque()
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
