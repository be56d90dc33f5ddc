"""Bfloat16 computes the same thing as float32, only more coarsely."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.nn import functional

from frostline.backbones.precision import autocast
from frostline.backbones.registry import build_backbone, scale_pixels
from frostline.hardware import has_native_bfloat16, resolve_precision

CPU = torch.device("cpu")
BFLOAT16 = 2**-8  # the distance from 1 to the next number in bfloat16

Context = Callable[[], AbstractContextManager[object]]
ours: Context = partial(autocast, "bfloat16", CPU)
torchs_own: Context = partial(torch.autocast, "cpu", dtype=torch.bfloat16)

GEOMETRIES = {
    "plain": {"kernel_size": 3},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "uneven": {"kernel_size": (3, 5), "stride": (2, 1), "padding": (0, 2)},
    "dilated": {"kernel_size": 3, "padding": 2, "dilation": 2},
    "same": {"kernel_size": 3, "padding": "same"},
    "mirrored": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
}


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def photos(count: int, side: int) -> Tensor:
    """Return crops of a photograph, scaled for EfficientNet-Lite0."""
    photo = torch.from_numpy(load_sample_image("china.jpg").copy())
    crops = [photo[40 * each : 40 * each + side, 60 * each : 60 * each + side] for each in range(count)]
    return scale_pixels("efficientnet_lite0", torch.stack(crops))


def distance(found: Tensor, expected: Tensor) -> float:
    """Return how far they are apart, relative to what is expected."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def correlation(left: list[Tensor], right: list[Tensor]) -> float:
    flat = torch.stack([torch.cat([tensor.flatten() for tensor in side]) for side in (left, right)])
    return float(torch.corrcoef(flat)[0, 1])


def convolve(convolution: nn.Conv2d, pixels: Tensor, context: Context) -> dict[str, Tensor]:
    """Return the output and the gradients with respect to the pixels and all parameters."""
    pixels = pixels.clone().requires_grad_()
    convolution.zero_grad()
    with context():
        output = convolution(pixels)
    (output.float() * torch.linspace(0.5, 1.5, output.numel()).view_as(output)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in convolution.named_parameters()}
    return {"output": output.detach(), "pixels": pixels.grad, **gradients}


def lite0_gradients(pixels: Tensor, context: Context, *, train: bool) -> list[Tensor]:
    torch.manual_seed(0)
    backbone = build_backbone("efficientnet_lite0", "pretrained", 2).to(memory_format=torch.channels_last).train(train)
    with context():
        logits = backbone(pixels).float()
    functional.cross_entropy(logits, torch.arange(len(pixels)) % 2).backward()
    return [parameter.grad for parameter in backbone.parameters()]


def test_auto_is_bfloat16_where_the_processor_multiplies_it_and_float32_elsewhere() -> None:
    told = Path("/proc/cpuinfo")
    flags = set(told.read_text().split()) if told.exists() else set()
    expected = "bfloat16" if flags & {"avx512_bf16", "amx_tile"} else "float32"
    assert resolve_precision("auto", CPU) == expected
    assert has_native_bfloat16(CPU) == (expected == "bfloat16")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_is_named_is_taken_whatever_the_processor_has(precision: str) -> None:
    assert resolve_precision(precision, CPU) == precision


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("groups", [1, 2, 8], ids=["whole", "two-groups", "depthwise"])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_a_convolution_in_bfloat16_agrees_with_float32(geometry: dict[str, object], groups: int, bias: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(8, 16, groups=groups, bias=bias, **geometry)
    expected = convolve(convolution, noise(4, 8, 9, 9), nullcontext)
    found = convolve(convolution, noise(4, 8, 9, 9), ours)
    assert found["output"].dtype == torch.bfloat16
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].shape == tensor.shape
        assert 0 < distance(found[name], tensor) < 2 * BFLOAT16, name


@pytest.mark.parametrize("shape", [(4, 8, 9, 9), (8, 9, 9)], ids=["batch", "one image without a batch"])
def test_a_grouped_convolution_takes_what_torchs_own_takes(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(8, 8, 3, groups=8)
    expected, found = (convolve(convolution, noise(*shape), context) for context in (torchs_own, ours))
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert distance(found[name], tensor) < 2 * BFLOAT16, name


def test_a_frozen_grouped_convolution_passes_the_gradient_on_and_gets_none() -> None:
    convolution = nn.Conv2d(8, 8, 3, groups=8).requires_grad_(False)
    pixels = noise(4, 8, 9, 9).requires_grad_()
    with ours():
        convolution(pixels).float().sum().backward()
    assert convolution.weight.grad is None
    assert pixels.grad.abs().sum() > 0


def test_float32_changes_nothing_bit_for_bit_where_torchs_own_kernels_are_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    pixels = photos(4, 32)
    plain = lite0_gradients(pixels, nullcontext, train=True)
    found = lite0_gradients(pixels, partial(autocast, "float32", CPU), train=True)
    assert all(torch.equal(left, right) for left, right in zip(plain, found, strict=True))


def test_efficientnet_lite0s_gradients_in_bfloat16_point_where_float32s_do() -> None:
    pixels = photos(8, 64)  # BatchNorm stands still: in train mode it magnifies every rounding of so small a batch
    in_float32 = lite0_gradients(pixels, nullcontext, train=False)
    in_bfloat16 = lite0_gradients(pixels, ours, train=False)
    assert 0.95 < correlation(in_float32, in_bfloat16) < 1.0


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_efficientnet_lite0s_gradients_are_those_of_torchs_own_bfloat16(train: bool) -> None:
    pixels = photos(8, 64)
    theirs, mine = (lite0_gradients(pixels, context, train=train) for context in (torchs_own, ours))
    assert correlation(theirs, mine) > 0.999


def test_the_gradients_that_reach_the_optimizer_are_float32() -> None:
    assert {gradient.dtype for gradient in lite0_gradients(photos(4, 32), ours, train=True)} == {torch.float32}
