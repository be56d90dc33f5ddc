"""A head is new and follows from the seed; pixels are scaled as the weights were trained on."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional
from torchvision import models

from frostline.backbones.registry import (
    build_backbone,
    build_original_classifier,
    cut_into_parts,
    scale_pixels,
)
from frostline.constants import PARTS
from frostline.data.images import Prepared
from frostline.errors import InputError, join_names
from frostline.networks.catalog import ARCHITECTURES
from frostline.params.schema import Plan
from frostline.training.grid import build_parts
from frostline.training.job import Job
from tests import toys

pytestmark = pytest.mark.usefixtures("one_thread")

DAISY = 985  # the class of ImageNet's 1,000


def plan(*learned: str, weights: str) -> Plan:
    return Plan(train=list(learned), weights=weights, learning_rates=[0.001])


def head_of(name: str, learned: Plan, seed: int) -> dict[str, Tensor]:
    splits = pd.DataFrame({"image": [0], "seed": [seed], "split": ["train"]})
    images, labels = np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1, np.int64)
    training = toys.training(epochs=1, patience=1, batch_size=4, weight_decay=0.0, views=1, cache_bytes=0)
    data = Prepared(images, labels, ["a"], ["cat", "dog", "owl"], splits)
    job = Job(data, name, learned, training, [seed], "float32", torch.device("cpu"), Path("unused"))
    return build_parts(job, seed)[1].get_submodule("head").state_dict()


def test_a_vision_transformers_class_token_and_position_embedding_belong_to_its_stem() -> None:
    model = build_original_classifier("vit_b_16", "none")
    stem = cut_into_parts("vit_b_16", model).get_submodule("stem")
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
    published = cut_into_parts(name, model).state_dict()
    backbone = build_backbone(name, weights, 5).state_dict()
    changed = {key for key in published if not torch.equal(published[key], backbone[key])}
    assert backbone.keys() == published.keys()
    assert changed == {"head.0.classifier.weight", "head.0.classifier.bias"}


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
    layer = next(key for key in first if key.endswith("weight"))
    assert not torch.equal(first[layer], head_of(name, plan("head", weights=weights), 8)[layer])


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
    known = join_names(ARCHITECTURES)
    words = f"backbone must be {known}, or begin with torchvision/, timm/ or models/. Got 'resnet' instead."
    with pytest.raises(InputError, match=f"^{re.escape(words)}$"):
        build_backbone("resnet", "none", 2)
