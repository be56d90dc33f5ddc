"""A backbone is the published model, cut into named parts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from frostline.backbones.cuts import ARCHITECTURES
from frostline.backbones.freezing import list_blocks
from frostline.backbones.registry import (
    build_backbone,
    build_original_classifier,
    cut_into_parts,
    find_architecture,
    scale_pixels,
)
from frostline.constants import BACKBONES, MOST_PX, PARTS, WITHOUT_WEIGHTS
from frostline.data.images import Prepared
from frostline.errors import InputError, join_names
from frostline.params import Plan
from frostline.training.grid import Job, build_parts
from tests import toys

DAISY = 985  # the class of ImageNet's 1,000

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


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute in one thread: over images this small, two wait for each other longer than they compute."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def original(request: pytest.FixtureRequest) -> Original:
    """Build each model once, and never two at a time: some take half a gigabyte."""
    torch.manual_seed(0)
    model = build_original_classifier(request.param, "none")
    stir(model)
    return Original(request.param, model, cut_into_parts(find_architecture(request.param), model))


every_backbone = pytest.mark.parametrize("original", ARCHITECTURES, indirect=True, scope="module")
every_published = pytest.mark.parametrize(
    "original", [name for name in ARCHITECTURES if name not in WITHOUT_WEIGHTS], indirect=True, scope="module"
)
"""test_networks.py has the like of the others."""


def noise(images: int, side: int) -> Tensor:
    return torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(0))


def stir(model: nn.Module) -> None:
    """Give every BatchNorm its own statistics, and what begins with zeros, such as a vision transformer's last layer,
    other numbers: what is all alike would not tell two layers apart."""
    for name, statistics in model.named_buffers():
        if name.endswith("running_var"):
            statistics.uniform_(0.5, 2.0)
        elif name.endswith("running_mean"):
            statistics.normal_(0.0, 0.1)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)


def places_of(tensors: list[Tensor]) -> list[int]:
    """Return where the tensors lie in memory: the same place is the same tensor."""
    return sorted(tensor.data_ptr() for tensor in tensors)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def plan(*learned: str, weights: str) -> Plan:
    return Plan(train=list(learned), weights=weights, learning_rates=[0.001])


def head_of(name: str, learned: Plan, seed: int) -> dict[str, Tensor]:
    splits = pd.DataFrame({"image": [0], "seed": [seed], "split": ["train"]})
    images, labels = np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1, np.int64)
    training = toys.training(epochs=1, patience=1, batch_size=4, weight_decay=0.0, views=1, cache_bytes=0)
    data = Prepared(images, labels, ["a"], ["cat", "dog", "owl"], splits)
    job = Job(data, name, learned, training, [seed], "float32", torch.device("cpu"), Path("unused"))
    return build_parts(job, seed)[1].get_submodule("head").state_dict()


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


def test_a_vision_transformers_class_token_and_position_embedding_belong_to_its_stem() -> None:
    model = build_original_classifier("vit_b_16", "none")
    stem = cut_into_parts(find_architecture("vit_b_16"), model).get_submodule("stem")
    placed = {parameter.data_ptr() for parameter in stem.parameters()}
    for name in ("class_token", "encoder.pos_embedding", "conv_proj.weight", "conv_proj.bias"):
        assert model.get_parameter(name).data_ptr() in placed
    assert len(placed) == 4


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_an_inception_sees_what_torchvision_makes_of_imagenets_usual_scaling(name: str) -> None:
    """`transform_input`, which torchvision sets with the published weights, undoes that scaling inside the model."""
    greys = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    model = {"inception_v3": models.Inception3, "googlenet": models.GoogLeNet}[name](
        transform_input=True, aux_logits=False, init_weights=False
    )
    usual = scale_pixels("resnet18", greys)
    torch.testing.assert_close(scale_pixels(name, greys), model._transform_input(usual), rtol=0, atol=1e-6)
    assert scale_pixels(name, greys).aminmax() == (-1.0, 1.0)


def test_imagenets_usual_scaling_is_torchvisions() -> None:
    pixels = torch.randint(0, 256, (2, 5, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    transform = models.ResNet18_Weights.IMAGENET1K_V1.transforms(crop_size=4, resize_size=4)
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (transform.mean, transform.std))
    expected = (pixels.permute(0, 3, 1, 2) / 255 - mean) / deviation
    torch.testing.assert_close(scale_pixels("resnet18", pixels), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("weights", ["pretrained", "a file"])
def test_only_the_last_layer_of_a_pretrained_backbone_is_new(weights: str, tmp_path: Path) -> None:
    name = "efficientnet_lite0"
    model = build_original_classifier(name, "pretrained")
    if weights == "a file":
        weights = str(tmp_path / "weights.pth")
        torch.save(model.state_dict(), weights)
    published = cut_into_parts(find_architecture(name), model).state_dict()
    backbone = build_backbone(name, weights, 5).state_dict()
    changed = {key for key in published if not torch.equal(published[key], backbone[key])}
    assert backbone.keys() == published.keys()
    assert changed == {"head.0.weight", "head.0.bias"}


@pytest.mark.parametrize(("name", "weights"), [("efficientnet_lite0", "pretrained"), ("resnet18", "a file")])
def test_the_same_seed_gives_the_same_head_to_every_plan_and_another_seed_another_head(
    name: str, weights: str, tmp_path: Path
) -> None:
    if weights == "a file":
        weights = str(tmp_path / "weights.pth")
        torch.save(build_original_classifier(name, "none").state_dict(), weights)
    first, *others = [
        head_of(name, plan(*learned, weights=weights), 7)
        for learned in (["head"], ["stage4", "head"], ["stage4.1", "head"], ["norms", "head"], PARTS)
    ]
    for other in others:
        assert all(torch.equal(first[key], other[key]) for key in first)
    assert not torch.equal(first["0.weight"], head_of(name, plan("head", weights=weights), 8)["0.weight"])


def test_efficientnet_lite0_knows_a_daisy_when_it_sees_one() -> None:
    photo = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None].float()
    left = (photo.shape[3] - photo.shape[2]) // 2
    square = photo[..., left : left + photo.shape[2]]
    resized = functional.interpolate(square, size=224, mode="bicubic", antialias=True).round().clamp(0, 255)
    pixels = resized.permute(0, 2, 3, 1).contiguous().to(torch.uint8)
    model = build_original_classifier("efficientnet_lite0", "pretrained").eval()
    with torch.inference_mode():
        logits = model(scale_pixels("efficientnet_lite0", pixels))
    assert DAISY in logits[0].topk(3).indices


def test_efficientnet_lite0_sees_grey_127_as_0_black_as_just_above_minus_1_and_white_as_1() -> None:
    pixels = torch.tensor([[[[127, 0, 255]]]], dtype=torch.uint8)
    scaled = scale_pixels("efficientnet_lite0", pixels)
    assert scaled.flatten().tolist() == [0.0, -127 / 128, 1.0]
    assert pixels.flatten().tolist() == [127, 0, 255]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scaled_pixels_are_channels_first_by_name_and_channels_last_in_memory(name: str) -> None:
    scaled = scale_pixels(name, torch.arange(2 * 4 * 5 * 3, dtype=torch.uint8).view(2, 4, 5, 3))
    assert scaled.shape == (2, 3, 4, 5)
    assert scaled.is_contiguous(memory_format=torch.channels_last)


def test_an_unknown_backbone_is_refused_by_naming_the_known_ones() -> None:
    words = f"backbone must be {join_names(ARCHITECTURES)}. Got 'resnet' instead."
    with pytest.raises(InputError, match=f"^{re.escape(words)}$"):
        build_backbone("resnet", "none", 2)
