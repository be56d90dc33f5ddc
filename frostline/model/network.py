"""The network of a saved model, as its library knows it: how its tensors are written, and how it comes back."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from frostline.backbones.adapters import build_for_plan
from frostline.backbones.registry import build_original_classifier, cut_into_parts, replace_logits
from frostline.model.saved import WEIGHTS, read_model
from frostline.networks.grouping import name_logits_layers
from frostline.params.schema import Plan


def load_network(folder: Path) -> nn.Module:
    """Return the trained network in eval mode, as its library builds it: logits of float32 N x 3 x H x W, scaled.

    `model.json` says how pixels are scaled. One that ends early comes as the sequence of its parts. Raises an
    `InputError` about a folder that holds no model, or not all of it.
    """
    saved = read_model(folder)
    network = build_unfilled(saved.about)
    network.load_state_dict(load_file(folder / WEIGHTS))
    return network.eval()


def build_unfilled(about: dict[str, Any]) -> nn.Module:
    """Return the network that model.json tells of, with whatever values it is built with."""
    name, px, classes = about["backbone"], int(about["input"]["image_px"]), len(about["classes"])
    plan = Plan(**about["plan"]["definition"])
    if plan.head_after is not None:
        bare = plan.model_copy(update={"phases": None, "adapt": None, "from_": "head"})
        return build_for_plan(name, "none", classes, px, bare)
    network = build_original_classifier(name, "none", px)
    replace_logits(network, classes)
    return network


def save_weights(parts: nn.Sequential, about: dict[str, Any], path: Path) -> None:
    """Write the tensors of the trained parts under the names that the network's library has for them.

    The network's own modules are cut into the same parts, and filled: so nothing has to know how names correspond.
    """
    with torch.random.fork_rng(devices=[]):
        network = build_unfilled(about)
    state = {name: tensor.detach().cpu() for name, tensor in parts.state_dict().items()}
    if isinstance(network, nn.Sequential) and set(network.state_dict()) == set(state):
        network.load_state_dict(state)
    else:
        layers = {place: network.get_submodule(place) for place in name_logits_layers(network)}
        own = cut_into_parts(about["backbone"], network, int(about["input"]["image_px"]))
        own.load_state_dict(state)
        for place, layer in layers.items():
            network.set_submodule(place, layer)  # of one that could be cut nowhere else it was taken out
    save_file(_make_distinct(network.state_dict()), path, metadata={"format": "pt"})
    path.chmod(0o644)  # the library lets nobody else read it


def _make_distinct(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without gaps and each in memory of its own, as safetensors wants them."""
    return {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
