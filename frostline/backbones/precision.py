"""Precision: the number format in which a backbone computes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@contextmanager
def autocast(precision: str, device: torch.device) -> Iterator[None]:
    """Run matrix products and convolutions in the precision, all else in float32 or what it is given.

    On a processor what learns takes other ways to the same convolutions where they are faster: `_convolve_in_bfloat16`
    and, in float32 with AVX2 alone, `_convolve_in_float32`. What is frozen always takes torch's own.
    """
    convolve = choose_convolution(precision) if device.type == "cpu" and torch.is_grad_enabled() else None
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        if convolve is None:
            yield
        else:
            with _Convolutions(convolve):
                yield


def choose_convolution(precision: str) -> Callable[..., Tensor] | None:
    """Return what takes the place of conv2d in training on this processor, if anything does.

    With AVX-512 torch's own kernels for depthwise convolutions in float32 are others, and none of them is slow.
    """
    if precision == "bfloat16":
        return _convolve_in_bfloat16
    return _convolve_in_float32 if torch.backends.cpu.get_cpu_capability() == "AVX2" else None


@dataclass
class _Convolutions(TorchFunctionMode):
    """Sends every conv2d, of whatever module, through `convolve`."""

    convolve: Callable[..., Tensor]

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return (self.convolve if function is functional.conv2d else function)(*args, **(kwargs or {}))


def _convolve_in_bfloat16(
    input: Tensor,  # noqa: A002 - torch's name for it, by which modules may pass it
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Return the convolution; the gradients of grouped ones are computed in float32 all the same.

    Training all of EfficientNet-Lite0 at 64 to 96 px, batch 32, was 1.8 to 2.1 times faster so.
    """
    input, stride = _skip_places(input, weight, stride, padding)  # noqa: A001
    if groups == 1 or isinstance(padding, str) or input.dim() != 4 or input.dtype == torch.float64:
        return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)
    geometry = [_make_pair(stride), _make_pair(padding), _make_pair(dilation), groups]
    output: Tensor = _GroupedConvolution.apply(input.bfloat16(), weight, *geometry)
    return output if bias is None else output + bias.to(output.dtype).view(-1, 1, 1)


def _convolve_in_float32(
    input: Tensor,  # noqa: A002 - torch's name for it, by which modules may pass it
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Return the convolution: pointwise ones on small maps as matrix products, depthwise ones by a class of our own.

    On two cores of an EPYC with AVX2, products were 1.1 to 1.3 times faster forward and 1.1 to 2.1 times backward on
    maps of 3 to 18 px, and slower on maps of 36 px.
    """
    input, stride = _skip_places(input, weight, stride, padding)  # noqa: A001
    learns = weight.requires_grad and input.dim() == 4 and input.dtype == weight.dtype == torch.float32
    if learns and not isinstance(padding, str):
        geometry = [_make_pair(stride), _make_pair(padding), _make_pair(dilation)]
        as_it_lies = input.is_contiguous(memory_format=torch.channels_last)
        is_pointwise = groups == 1 and weight.shape[2:] == (1, 1) and geometry[:2] == [(1, 1), (0, 0)]
        if as_it_lies and is_pointwise and input[0, 0].numel() <= MOST_PLACES:
            return functional.linear(input.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
        if groups > 1 and groups == len(weight) == input.shape[1]:
            output: Tensor = _DepthwiseConvolution.apply(input, weight, *geometry)
            return output if bias is None else output + bias.view(-1, 1, 1)
    return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)


FEW_CHANNELS = 8


def _skip_places(images: Tensor, weight: Tensor, stride: Any, padding: Any) -> tuple[Tensor, Any]:
    """Return what a convolution sees, and its stride, without the places that one of single pixels skips.

    Where such a one has few channels that go in, torch 2.14's gradient of its weight writes beyond its memory on
    processors with AVX2, and ends the process.
    """
    pair = stride if isinstance(stride, str) else _make_pair(stride)
    is_single = images.dim() == 4 and weight.shape[2:] == (1, 1) and padding in (0, (0, 0))
    if not is_single or weight.shape[1] >= FEW_CHANNELS or pair == (1, 1):
        return images, stride
    return images[:, :, :: pair[0], :: pair[1]], 1


def _make_pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


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


class _DepthwiseConvolution(torch.autograd.Function):
    """A depthwise convolution in float32, without bias, whose weight's gradient on small maps is a matrix product."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weight: Tensor, *geometry: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(pixels, weight)
        ctx.geometry = stride, padding, dilation = geometry
        return functional.conv2d(pixels, weight, None, stride, padding, dilation, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pixels, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.geometry
        is_small = pixels[0, 0].numel() * gradient[0, 0].numel() <= MOST_PAIRS
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1] and not is_small, False]
        of_pixels = of_weight = None
        if any(wanted):
            of_pixels, of_weight, _ = torch.ops.aten.convolution_backward(
                _lay_channels_last(gradient), _lay_channels_last(pixels), weight, None,
                stride, padding, dilation, False, (0, 0), len(weight), wanted,
            )  # fmt: skip
        if ctx.needs_input_grad[1] and is_small:
            of_weight = correlate(pixels, gradient, tuple(weight.shape[2:]), *ctx.geometry)
        return of_pixels, of_weight, None, None, None


MOST_PLACES = 400
"""Places of a map up to which a pointwise convolution is faster as a product."""
MOST_PAIRS = 10_000
"""Pairs of a place that goes in and one that comes out, up to which a weight's gradient is faster as a product."""


def correlate(
    pixels: Tensor,
    gradient: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """Return the gradient of a depthwise convolution's weight, channels x 1 x kernel.

    `pixels` went in and `gradient` is that of what came out, both N x channels x height x width. Each channel's pairs
    of places are one product over the batch, and a tap sums the pairs that lie under it. torch's own kernel without
    AVX-512 took 36 ms for 1,152 channels, 5 x 5 taps and 32 maps of 3 x 3, this 0.6 ms.
    """
    ins, outs = (tensor.transpose(0, 1).contiguous().flatten(2) for tensor in (pixels, gradient))
    pairs = torch.bmm(ins.transpose(1, 2), outs)
    sides = (*pixels.shape[2:], *gradient.shape[2:])
    taps = _mark_taps(sides, kernel, stride, padding, dilation)
    return (pairs.flatten(1) @ taps).view(-1, 1, *kernel)


@cache
def _mark_taps(
    sides: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """Return which tap each pair of places lies under: 1 there, (places in x places out) x taps.

    `sides` are the height and width that go in, then those that come out.
    """
    marks = []
    for axis in (0, 1):
        ins, outs, taps = torch.arange(sides[axis]), torch.arange(sides[2 + axis]), torch.arange(kernel[axis])
        under = outs[:, None] * stride[axis] + taps * dilation[axis] - padding[axis]
        marks.append((ins[:, None, None] == under).float())
    return torch.einsum("iok,jpl->ijopkl", *marks).reshape(-1, kernel[0] * kernel[1])


def _lay_channels_last(images: Tensor) -> Tensor:
    """Return the images in the layout whose depthwise kernels are 2 to 12 times faster; padding loses it."""
    return images.contiguous(memory_format=torch.channels_last)


class SameConvolution(nn.Conv2d):
    """A convolution with "same" padding, timm's `Conv2dSame`, that makes no padded copy of the images.

    Where an odd number of rows is missing, "same" takes one more after the image than before it. Here there are as many
    before it, and the kernel begins with a row of zeros. A prefix of EfficientNet-Lite0 was 1.1 times faster so at 72
    px on two AVX2 cores.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        """Take the place of `conv`, with its very tensors."""
        how: Any = {"stride": conv.stride, "dilation": conv.dilation, "groups": conv.groups, "device": "meta"}
        kernel: Any = conv.kernel_size
        super().__init__(conv.in_channels, conv.out_channels, kernel, bias=conv.bias is not None, **how)
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, images: Tensor) -> Tensor:
        """Return the convolution of the images, N x channels x height x width, whose sides are ceil(side / stride)."""
        above, left = (self._count_missing(axis, images.shape[2 + axis]) for axis in (0, 1))
        zeros, padding = (left % 2, 0, above % 2, 0), (-(-above // 2), -(-left // 2))
        if any(zeros) and self.dilation != (1, 1):  # a row of zeros would stand further off
            images, zeros = functional.pad(images, (0, left % 2, 0, above % 2)), (0, 0, 0, 0)
            padding = (above // 2, left // 2)
        weight = _lay_channels_last(functional.pad(self.weight, zeros))
        return functional.conv2d(images, weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _count_missing(self, axis: int, side: int) -> int:
        """Return how many rows (axis 0) or columns (1) the kernel needs beyond the image."""
        step, reach = self.stride[axis], (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
        return max((-(-side // step) - 1) * step + reach - side, 0)


def compute_deterministically(device: torch.device) -> None:
    """Let the same inputs give the same bytes again on this device.

    torch would also fill all memory that it takes before it uses it, lest a program read what it never wrote: that
    took 4 to 8 % of a training step, and nothing here does. A few GPU kernels (adaptive pooling to 6 or 7 px, in
    AlexNet and VGG) have no deterministic form: torch then warns and uses the other. `use_deterministic_algorithms`
    would do the same, and import torch's compiler, which takes two seconds.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts; torch asks for it
    torch.set_deterministic_debug_mode("warn" if device.type == "cuda" else "error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
