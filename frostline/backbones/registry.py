"""Backbones: pretrained classifiers as sequences of named parts, shallow to deep."""

from pathlib import Path

import torch
from torch import Tensor, nn

from frostline.backbones.cuts import ARCHITECTURES, Architecture
from frostline.backbones.weights import fit_tensors, read_tensors
from frostline.errors import InputError, join_names


def build_backbone(name: str, weights: str, classes: int) -> nn.Sequential:
    """Return the backbone as the sequence stem, stage1, ..., stage4, head, ending in `classes` logits.

    `weights` is "pretrained", "none", or the path of a safetensors or state-dict file with the original's names. The
    last layer is always new, drawn from torch's global generator, as is everything else with "none". Input: float,
    N x 3 x H x W, scaled by `scale_pixels`. Raises `InputError` about unknown names, and weights that do not fit.
    """
    parts = cut_into_parts(find_architecture(name), build_original_classifier(name, weights))
    head = parts.get_submodule("head")
    for place, layer in reversed(list(head.named_children())):
        if isinstance(layer, nn.Linear):
            head.register_module(place, nn.Linear(layer.in_features, classes))
            return parts
        if isinstance(layer, nn.Conv2d):  # SqueezeNet's logits are the means of maps
            head.register_module(place, nn.Conv2d(layer.in_channels, classes, kernel_size=1))
            return parts
    raise RuntimeError(f"the head of {name} has no layer that makes logits")


def build_original_classifier(name: str, weights: str) -> nn.Module:
    """Return the architecture's own 1,000-class ImageNet model, as its authors published it.

    A file may have been trained on other classes: then the layer that makes the logits stays untrained.
    """
    architecture = find_architecture(name)
    model = architecture.original()
    if weights == "none":
        return model
    state = model.state_dict()  # holds more than tensors: MNASNet loads nothing that does not say its version
    if weights == "pretrained":
        state.update(architecture.pretrained(model))
    else:
        state.update(fit_tensors(read_tensors(Path(weights)), model, weights, optional=name_logits(model)))
    model.load_state_dict(state)
    return model


def name_logits(model: nn.Module) -> list[str]:
    """Return the names of the tensors of the model's last layer, which makes the logits."""
    layers = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return [f"{layers[-1]}.weight", f"{layers[-1]}.bias"]


def cut_into_parts(architecture: Architecture, model: nn.Module) -> nn.Sequential:
    """Return the model's own modules, in the order in which they compute, as a sequence of named parts."""
    parts = nn.Sequential()
    for part, modules in architecture.pieces(model).items():
        parts.add_module(part, nn.Sequential(*modules))
    return parts


def scale_pixels(name: str, pixels: Tensor) -> Tensor:
    """Return uint8 pixels, N x H x W x 3, as the float32 input of the backbone, N x 3 x H x W in channels_last.

    The permutation only renames the axes: the memory already lies in channels_last order. Whole rows are scaled at
    once, which is eight times as fast as three numbers at a time.
    """
    architecture = find_architecture(name)
    rows = pixels.reshape(*pixels.shape[:2], -1).float()
    for step, channels in ((rows.sub_, architecture.mean), (rows.div_, architecture.deviation)):
        step(torch.tensor(channels, device=pixels.device).repeat(pixels.shape[2]))
    return rows.view(pixels.shape).permute(0, 3, 1, 2)


def find_architecture(name: str) -> Architecture:
    """Return the architecture of that name, or say which names there are."""
    if name not in ARCHITECTURES:
        raise InputError.of("backbone", f"be {join_names(ARCHITECTURES)}", repr(name))
    return ARCHITECTURES[name]
