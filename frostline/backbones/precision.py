"""Precision: the number format in which a backbone computes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@contextmanager
def autocast(precision: str, device: torch.device) -> Iterator[None]:
    """Run matrix products and convolutions in the precision, all else in float32 or what it is given.

    On a processor the gradients of grouped convolutions are computed in float32 all the same: training all of
    EfficientNet-Lite0 at 64 to 96 px, batch 32, was 1.8 to 2.1 times faster so.
    """
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        if precision == "bfloat16" and device.type == "cpu" and torch.is_grad_enabled():
            with _GroupedConvolutions():
                yield
        else:
            yield


class _GroupedConvolutions(TorchFunctionMode):
    """Sends every grouped conv2d, of whatever module, through `_GroupedConvolution`."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function is functional.conv2d:
            return _convolve(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _convolve(
    input: Tensor,  # noqa: A002 - torch's name for it, by which modules may pass it
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if groups == 1 or isinstance(padding, str) or input.dim() != 4 or input.dtype == torch.float64:
        return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)
    geometry = [_make_pair(stride), _make_pair(padding), _make_pair(dilation), groups]
    output: Tensor = _GroupedConvolution.apply(input.bfloat16(), weight, *geometry)
    return output if bias is None else output + bias.to(output.dtype).view(-1, 1, 1)


def _make_pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


class _GroupedConvolution(torch.autograd.Function):
    """A grouped convolution, forward in bfloat16, backward in float32, without bias."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weight: Tensor, *geometry: Any) -> Tensor:
        ctx.save_for_backward(pixels, weight)
        ctx.geometry = geometry
        stride, padding, dilation, groups = geometry
        return functional.conv2d(pixels, weight.bfloat16(), None, stride, padding, dilation, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pixels, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        wanted = [*ctx.needs_input_grad[:2], False]
        of_pixels, of_weight, _ = torch.ops.aten.convolution_backward(
            _lay_channels_last(gradient.float()), _lay_channels_last(pixels.float()), weight.float(), None,
            stride, padding, dilation, False, (0, 0), groups, wanted,
        )  # fmt: skip
        return (of_pixels.bfloat16() if wanted[0] else None), of_weight, None, None, None, None


def _lay_channels_last(images: Tensor) -> Tensor:
    """Return the images in the layout whose depthwise kernels are 2 to 12 times faster; padding loses it."""
    return images.contiguous(memory_format=torch.channels_last)


def compute_deterministically(device: torch.device) -> None:
    """Let the same inputs give the same bytes again on this device.

    torch would also fill all memory that it takes before it uses it, lest a program read what it never wrote: that
    took 4 to 8 % of a training step, and nothing here does. A few GPU kernels (adaptive pooling to 6 or 7 px, in
    AlexNet and VGG) have no deterministic form: torch then warns and uses the other.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts; torch asks for it
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
