"""A backbone is the published model, cut into named parts."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from frostline.backbones.freezing import list_blocks
from frostline.backbones.registry import (
    build_backbone,
    build_original_classifier,
    cut_into_parts,
)
from frostline.constants import BACKBONES, MOST_PX, PARTS, WITHOUT_WEIGHTS
from frostline.networks.catalog import ARCHITECTURES
from tests.networks.claims import stir

pytestmark = pytest.mark.usefixtures("one_thread")

# Where a part does not work at the stride of its name; None: at none, since it has no convolution.
OTHER_STRIDES = {
    "alexnet": {"stage1": 8, "stage2": 16, "stage3": 16, "stage4": None},  # it starts with 4, and ends in hidden layers
    "vgg16": {"stage4": None},  # its convolutions end at 16; stage4 is hidden layers
    "vgg16_bn": {"stage4": None},
    "squeezenet1_1": {"stage4": 16},  # its convolutions end at 16
    "vit_b_16": dict.fromkeys(("stage1", "stage2", "stage3", "stage4")),  # tokens, of 16 x 16 pixels, all along
    "shufflenet_v2_x1_0": {"stage1": None},  # only pools, from stride 2 to 4
}


# In millions of parameters, as timm's table of results has them.
PUBLISHED_BY_TIMM = {f"efficientnet_lite{number}": count for number, count in enumerate((4.65, 5.42, 6.09, 8.2, 13.01))}


class Original(NamedTuple):
    """A published model, untrained, and the sequence of parts into which it is cut: both hold the same modules."""

    name: str
    model: nn.Module
    parts: nn.Sequential

    @property
    def smallest(self) -> int:
        """The side of the smallest images that it can see."""
        return BACKBONES[self.name][0]


@pytest.fixture(scope="module")
def original(request: pytest.FixtureRequest) -> Original:
    """Build each model once, and never two at a time: some take half a gigabyte."""
    torch.manual_seed(0)
    model = build_original_classifier(request.param, "none")
    stir(model)
    return Original(request.param, model, cut_into_parts(request.param, model))


every_backbone = pytest.mark.parametrize("original", ARCHITECTURES, indirect=True, scope="module")


every_published = pytest.mark.parametrize(
    "original", [name for name in ARCHITECTURES if name not in WITHOUT_WEIGHTS], indirect=True, scope="module"
)
"""test_networks.py has the like of the others."""


def noise(images: int, side: int) -> Tensor:
    return torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(0))


def places_of(tensors: list[Tensor]) -> list[int]:
    """Return where the tensors lie in memory: the same place is the same tensor."""
    return sorted(tensor.data_ptr() for tensor in tensors)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_backbone_that_params_may_name_can_be_built_and_no_other() -> None:
    assert tuple(ARCHITECTURES) == tuple(BACKBONES)


@every_published
def test_the_sequence_of_parts_gives_bit_for_bit_what_the_original_model_gives(original: Original) -> None:
    pixels = noise(4, max(64, original.smallest))
    with torch.inference_mode():
        expected = original.model.eval()(pixels)
        assert torch.equal(original.parts.eval()(pixels), expected)
    assert not torch.equal(expected[0], expected[1])  # images can be told apart
    assert len(expected[0].unique()) > 400  # and classes: 1,000, of which SqueezeNet's pass a ReLU


@every_backbone
def test_every_parameter_and_buffer_of_the_original_is_in_exactly_one_part(original: Original) -> None:
    model, parts = original.model, original.parts
    held = places_of([tensor for part in parts for tensor in (*part.parameters(), *part.buffers())])
    assert tuple(dict(parts.named_children())) == PARTS
    assert held == places_of([*model.parameters(), *model.buffers()])
    assert len(set(held)) == len(held)


@every_published
def test_the_parts_sum_to_the_published_number_of_parameters(original: Original) -> None:
    if original.name in PUBLISHED_BY_TIMM:
        parameters = sum(count(part) for part in original.parts)
        assert parameters == count(original.model)
        assert round(parameters / 1e6, 2) == PUBLISHED_BY_TIMM[original.name]
        return
    published = models.get_model_weights(original.name)["IMAGENET1K_V1"].meta["num_params"]
    if original.name == "inception_v3":  # published with its auxiliary classifier, which is left out here
        published -= count(models.inception.InceptionAux(768, 1_000))
    assert sum(count(part) for part in original.parts) == count(original.model) == published


@every_published
def test_stage1_to_stage4_work_at_strides_4_8_16_and_32_where_the_architecture_has_them(original: Original) -> None:
    """A block works at the stride of its last convolution, or for Swin of its last layer over a map of patches."""
    side = 224
    strides: dict[str, int] = {}

    def note(block: str, output: Tensor) -> None:
        if output.dim() == 4:  # N x C x H x W, or N x H x W x C
            # The nearest power of 2: without padding, a map loses a few pixels more.
            strides[block] = 2 ** round(np.log2(side / output.shape[2]))

    handles = [
        layer.register_forward_hook(lambda _, __, output, block=block: note(block, output))
        for block in list_blocks(original.parts)
        for layer in original.parts.get_submodule(block).modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    with torch.inference_mode():
        original.parts.eval()(noise(1, side))
    for handle in handles:
        handle.remove()
    named = {"stage1": 4, "stage2": 8, "stage3": 16, "stage4": 32} | OTHER_STRIDES.get(original.name, {})
    found = {part: {strides[block] for block in strides if block.startswith(f"{part}.")} for part in named}
    assert found == {part: {stride} - {None} for part, stride in named.items()}


@every_published
def test_the_head_is_one_linear_layer_and_gives_one_logit_for_each_class(original: Original) -> None:
    """SqueezeNet's is a convolution of single pixels, whose maps are averaged: the same, in another order."""
    backbone = build_backbone(original.name, "none", 5).eval()
    (layer,) = [module for module in backbone.get_submodule("head").modules() if [*module.parameters(recurse=False)]]
    (old,) = [module for module in original.parts.get_submodule("head").modules() if isinstance(module, type(layer))]
    features = {nn.Linear: "in_features", nn.Conv2d: "in_channels"}[type(layer)]
    assert isinstance(layer, nn.Conv2d) == (original.name == "squeezenet1_1")
    if isinstance(layer, nn.Conv2d):
        assert layer.kernel_size == (1, 1)
    assert count(backbone.get_submodule("head")) == getattr(layer, features) * 5 + 5
    assert count(original.parts.get_submodule("head")) == getattr(old, features) * 1_000 + 1_000
    with torch.inference_mode():
        assert backbone(noise(2, original.smallest)).shape == (2, 5)


@every_published
def test_an_original_refuses_images_one_pixel_smaller_than_the_smallest_that_is_let_through(original: Original) -> None:
    """That it takes the smallest in training is what the training steps of test_freezing.py show."""
    sides = BACKBONES[original.name]
    assert sides[-1] == (224 if original.name == "vit_b_16" else MOST_PX)
    if original.smallest > 16:  # below, no architecture is asked
        words = "Output size is too small|Kernel size can't be greater|Wrong image height"
        with torch.inference_mode(), pytest.raises((RuntimeError, AssertionError), match=words):
            original.model.eval()(noise(3, original.smallest - 1))
