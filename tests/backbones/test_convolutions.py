"""What learns on a processor with AVX2 alone takes other ways to its convolutions, and gets to the same."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from frostline.backbones.precision import autocast, correlate
from tests.backbones.test_precision import CPU, GEOMETRIES, convolve, distance, lite0_gradients, noise, photos

ROUNDING = 1e-5
small = st.integers(1, 3)
pairs = st.tuples(small, small)


@pytest.fixture(autouse=True)
def _avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch say that the processor has AVX2 alone, whatever it has: the ways are open to all."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


ours: Callable[[], AbstractContextManager[object]] = partial(autocast, "float32", CPU)


@settings(deadline=None, max_examples=60)
@given(
    images=st.integers(1, 4),
    channels=st.integers(1, 5),
    sides=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=pairs,
)
def test_a_depthwise_weights_gradient_is_float64s(
    images: int,
    channels: int,
    sides: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> None:
    spans = [(taps - 1) * step + 1 for taps, step in zip(kernel, dilation, strict=True)]
    sides = tuple(max(side, span - 2 * pad) for side, span, pad in zip(sides, spans, padding, strict=True))
    pixels = noise(images, channels, *sides)
    weight = noise(channels, 1, *kernel).double().requires_grad_()
    output = functional.conv2d(pixels.double(), weight, None, stride, padding, dilation, channels)
    gradient = noise(*output.shape).contiguous(memory_format=torch.channels_last)
    output.backward(gradient.double())
    found = correlate(pixels, gradient, kernel, stride, padding, dilation)
    assert found.shape == weight.shape
    torch.testing.assert_close(found.double(), weight.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [9, 40], ids=["small", "large"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("groups", [1, 2, 8], ids=["whole", "two-groups", "depthwise"])
@pytest.mark.parametrize("geometry", [*GEOMETRIES.values(), {"kernel_size": 1}], ids=[*GEOMETRIES, "pointwise"])
def test_a_convolution_that_learns_gives_and_learns_what_torchs_own_does(
    geometry: dict[str, object], groups: int, bias: bool, side: int
) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(8, 8, groups=groups, bias=bias, **geometry)
    pixels = noise(4, 8, side, side).contiguous(memory_format=torch.channels_last)
    expected, found = (convolve(convolution, pixels, context) for context in (nullcontext, ours))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].shape == tensor.shape
        assert distance(found[name], tensor) < ROUNDING, name


@pytest.mark.parametrize("groups", [1, 8], ids=["pointwise", "depthwise"])
def test_a_convolution_that_is_frozen_is_torchs_own_bit_for_bit(groups: int) -> None:
    """The prefix cache holds what torch's own makes of the images."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(8, 8, 1 if groups == 1 else 3, groups=groups).requires_grad_(False)
    pixels = noise(4, 8, 9, 9).contiguous(memory_format=torch.channels_last)
    expected, found = (convolve(convolution, pixels, context) for context in (nullcontext, ours))
    assert torch.equal(found["output"], expected["output"])
    assert torch.equal(found["pixels"], expected["pixels"])
    assert found["weight"] is None


def test_what_comes_out_lies_in_memory_as_what_went_in() -> None:
    pixels = noise(4, 8, 9, 9).contiguous(memory_format=torch.channels_last)
    for convolution in (nn.Conv2d(8, 16, 1), nn.Conv2d(8, 8, 3, groups=8)):
        with ours():
            output = convolution(pixels)
        assert output.is_contiguous(memory_format=torch.channels_last)


def test_efficientnet_lite0_learns_what_it_would_from_torchs_own() -> None:
    pixels = photos(8, 64)
    theirs, mine = (lite0_gradients(pixels, context, train=False) for context in (nullcontext, ours))
    assert all(distance(found, expected) < 1e-4 for found, expected in zip(mine, theirs, strict=True))
    assert not all(map(torch.equal, mine, theirs))


def test_the_same_step_twice_is_the_same_bit_for_bit() -> None:
    pixels: Tensor = photos(4, 32)
    first, again = (lite0_gradients(pixels, ours, train=True) for _ in range(2))
    assert all(map(torch.equal, first, again))


@pytest.mark.parametrize("channels", [3, 4, 5, 6, 8])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_strided_convolution_of_single_pixels_of_few_channels_learns(channels: int, precision: str) -> None:
    """torch's own ends the process, or writes where it should not."""
    torch.manual_seed(0)
    images = torch.randn(64, channels, 32, 32).contiguous(memory_format=torch.channels_last)
    layer = nn.Conv2d(channels, 16, kernel_size=1, stride=2).to(memory_format=torch.channels_last)
    twin = nn.Conv2d(channels, 16, kernel_size=1).double()
    twin.load_state_dict(layer.state_dict())
    for _ in range(5):
        with autocast(precision, torch.device("cpu")):
            made = layer(images).float()
        layer.zero_grad()
        (made * made).sum().backward()
    expected = twin(images[:, :, ::2, ::2].double())
    (expected * expected).sum().backward()
    near = {"float32": 1e-4, "bfloat16": 3e-2}[precision]
    assert layer.weight.grad is not None
    assert twin.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad.double(), twin.weight.grad, rtol=near, atol=near * 1_000)
