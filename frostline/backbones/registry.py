"""Backbones: pretrained classifiers as sequences of named parts, shallow to deep."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frostline.constants import PARTS
from frostline.errors import InputError, make_size_error, quote_error
from frostline.networks.catalog import find_architecture
from frostline.networks.cuts import Block, NoCutError, Sized, find_cut
from frostline.networks.grouping import count_outputs, name_logits_layers, name_logits_tensors
from frostline.networks.segments import Segment
from frostline.networks.tracing import CONSTANT, empty
from frostline.networks.weights import fit_tensors, read_tensors


def build_backbone(name: str, weights: str, classes: int, image_px: int | None = None) -> nn.Sequential:
    """Return the backbone as the sequence stem, stage1, ..., stage4, head, ending in `classes` logits.

    `weights` is "pretrained", "none", or the path of a safetensors or state-dict file with the original's names. The
    layer that makes the logits is always new, drawn from torch's global generator, as is everything else with "none".
    It is made for images of `image_px`, by default those of the weights. Input: float, N x 3 x H x W, scaled by
    `scale_pixels`. Raises `InputError` about unknown names, weights that do not fit, and images that it cannot see.
    """
    px = image_px or find_architecture(name).preprocessing().px
    network = build_original_classifier(name, weights, px)
    replace_logits(network, classes)
    return cut_into_parts(name, network, px)


def build_original_classifier(name: str, weights: str, image_px: int | None = None) -> nn.Module:
    """Return the network as its authors published it, with their classes, for images of that side.

    A file may have been trained on other classes: then the layer that makes the logits stays untrained.
    """
    architecture = find_architecture(name)
    px = image_px or architecture.preprocessing().px
    if weights == "pretrained":
        return architecture.pretrained(px)
    network = architecture.original(px)
    if weights != "none":
        state = network.state_dict()  # holds more than tensors: MNASNet loads nothing that does not say its version
        state.update(fit_tensors(read_tensors(Path(weights)), network, weights, name_logits_tensors(network)))
        network.load_state_dict(state)
    return network


def replace_logits(network: nn.Module, classes: int) -> None:
    """Give the network a new layer for so many logits, in the place of its own; where it has none, one at its end."""
    if getattr(network, "num_classes", None) == 0 and hasattr(network, "reset_classifier"):
        timms: Any = network
        timms.reset_classifier(classes)
        return
    for name in name_logits_layers(network):
        layer = network.get_submodule(name)
        if isinstance(layer, nn.Linear):
            network.set_submodule(name, nn.Linear(layer.in_features, classes))
        elif isinstance(layer, nn.Conv2d):  # SqueezeNet's logits are the means of maps
            network.set_submodule(name, nn.Conv2d(layer.in_channels, classes, kernel_size=1))


def cut_into_parts(name: str, network: nn.Module, image_px: int | None = None) -> nn.Sequential:
    """Return the network's own modules and tensors as a sequence of named parts, each a sequence of blocks.

    One that can be cut nowhere but before its logits has all else in its stem, and says why in `uncut`.
    """
    if tuple(name for name, _ in network.named_children()) == PARTS and isinstance(network, nn.Sequential):
        return network
    px = image_px or find_architecture(name).preprocessing().px
    key = name, px, *(count_outputs(network.get_submodule(layer)) for layer in name_logits_layers(network))
    if key not in _CUTS:
        try:
            blocks = _find_cut(name, network, px)
            check_cut(network, assemble(network, blocks), px)
            _CUTS[key] = blocks
        except NoCutError as error:
            check_logits(name, network, px, str(error))
            _CUTS[key] = str(error)
    cut = _CUTS[key]
    return _cut_before_logits(network, cut) if isinstance(cut, str) else assemble(network, cut)


_CUTS: dict[tuple[object, ...], Sequence[Block] | str] = {}
"""Cuts that were found and checked in this process, by the network's name, the side of its images, and its classes.

Of one that can be cut nowhere but before its logits, why.
"""


def _find_cut(name: str, network: nn.Module, px: int) -> Sequence[Block]:
    architecture = find_architecture(name)
    own_px = architecture.preprocessing().px
    bare = empty(network)
    _refuse_unseen(name, bare, px, own_px)
    own = bare
    if px != own_px and not _can_see(bare, own_px):  # it is another network for images of another side
        with torch.random.fork_rng(devices=[]):
            made = architecture.original(own_px)
            replace_logits(made, 2)
        own = empty(made)
    return find_cut(Sized(own, own_px), Sized(bare, px), architecture.stages)


def _can_see(network: nn.Module, px: int) -> bool:
    try:
        _show(network, px)
    except Exception:  # noqa: BLE001 - whatever a network raises about images of a side that is not its own
        return False
    return True


@torch.no_grad()
def _show(network: nn.Module, px: int) -> None:
    was = network.training
    try:
        network.eval()(torch.empty(2, 3, px, px, device="meta"))
    finally:
        network.train(was)


def _refuse_unseen(name: str, network: nn.Module, px: int, own_px: int) -> None:
    try:
        _show(network, px)
    except Exception as error:  # noqa: BLE001 - whatever a network raises about images of a side that is not its own
        if px == own_px:
            return  # meta tensors are not for it, or it is none that takes images: that is told where it is cut
        raise make_size_error(name, px, own_px, error) from None


def assemble(network: nn.Module, blocks: Sequence[Block]) -> nn.Sequential:
    """Return the network's own modules and tensors as a sequence of parts, each a sequence of its blocks."""
    parts = nn.Sequential()
    for name in PARTS:
        parts.add_module(name, nn.Sequential())
    for block in blocks:
        segment = Segment(block.calls, block.takes, block.gives, block.crossing)
        part = parts.get_submodule(block.part)
        part.add_module(
            str(len([*part.children()])), segment.hold(network, block.modules, block.tensors, block.constants)
        )
    return parts


@torch.no_grad()
def check_cut(network: nn.Module, parts: nn.Sequential, image_px: int) -> None:
    """Raise `NoCutError` unless the parts hold each of the network's tensors once, and give just what it does."""
    own = [id(tensor) for tensor in (*network.parameters(), *network.buffers())]
    held = [
        id(tensor)
        for part in parts.children()
        for name, tensor in (*part.named_parameters(), *part.named_buffers())
        if CONSTANT not in name
    ]
    if sorted(own) != sorted(held):
        raise NoCutError("its tensors lie in several blocks at once")
    modes = {module: module.training for module in network.modules()}
    device = next(network.parameters()).device
    images = torch.randn(2, 3, image_px, image_px, generator=torch.Generator().manual_seed(0)).to(device)
    network.eval(), parts.eval()
    is_same = torch.allclose(network(images), parts(images), rtol=0, atol=0, equal_nan=True)
    for module, was in modes.items():
        module.training = was
    parts.train(network.training)
    if not is_same:
        raise NoCutError("its parts do not give what it gives")


@torch.no_grad()
def check_logits(name: str, network: nn.Module, px: int, reason: str) -> None:
    """Raise an `InputError` unless the last that the network computes is the layer that makes its logits."""
    was = network.training
    images = torch.randn(2, 3, px, px, generator=torch.Generator().manual_seed(0))
    (place, *others) = name_logits_layers(network)
    layer = network.get_submodule(place)
    try:
        expected = network.eval()(images)
        network.set_submodule(place, nn.Identity())
        found = layer(network(images))
    except Exception as error:  # noqa: BLE001 - whatever a network raises about images
        raise InputError.of("backbone", "be a classifier of images", f"{name!r}: {quote_error(error)}") from None
    finally:
        network.set_submodule(place, layer)
        network.train(was)
    if others or not torch.allclose(expected, found, rtol=0, atol=0, equal_nan=True):
        raise InputError.of("backbone", "be a network that can be cut before its logits", f"{name!r} ({reason})")


def _cut_before_logits(network: nn.Module, reason: str) -> nn.Sequential:
    (place,) = name_logits_layers(network)
    layer = network.get_submodule(place)
    network.set_submodule(place, nn.Identity())
    parts = nn.Sequential()
    for part in PARTS:
        parts.add_module(part, nn.Sequential(*{"stem": [network], "head": [layer]}.get(part, [])))
    parts.uncut = reason  # type: ignore[assignment]
    return parts


def name_logits(backbone: nn.Module) -> list[str]:
    """Return the names of the tensors of the backbone's layers that make the logits."""
    head = backbone.get_submodule("head")
    layers = [name for name, layer in head.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return [f"head.{name}.{tensor}" for name in layers for tensor in ("weight", "bias")]


def scale_pixels(name: str, pixels: Tensor) -> Tensor:
    """Return uint8 pixels, N x H x W x 3, as the float32 input of the backbone, N x 3 x H x W in channels_last.

    The permutation only renames the axes: the memory already lies in channels_last order. Whole rows are scaled at
    once, which is eight times as fast as three numbers at a time.
    """
    images = find_architecture(name).preprocessing()
    rows = pixels.reshape(*pixels.shape[:2], -1).float()
    for step, channels in ((rows.sub_, images.mean), (rows.div_, images.deviation)):
        step(torch.tensor(channels, device=pixels.device).repeat(pixels.shape[2]))
    return rows.view(pixels.shape).permute(0, 3, 1, 2)
