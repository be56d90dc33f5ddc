"""Catalog: each network by its name, how it is made and loaded, and what images its weights were trained on."""

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from frostline.constants import LIBRARIES
from frostline.errors import InputError, join_names, make_size_error, shorten
from frostline.networks.own_networks import load_own_network
from frostline.networks.small_networks import build_cnn2, build_cnn3, build_mlp, build_residual_network
from frostline.networks.timm_models import build_timm, load_timm, read_timm_preprocessing
from frostline.networks.weights import (
    get_torchvision_weights,
    load_lite_tensors,
    load_timm_tensors,
    load_torchvision_tensors,
)


@dataclass(frozen=True)
class Preprocessing:
    """How images were made ready for the network's weights: their side in pixels, how they were resized, and scaled.

    `mean` and `deviation` are for red, green and blue, in units of an 8-bit pixel.
    """

    px: int
    interpolation: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


@dataclass(frozen=True)
class Architecture:
    """How a network is made, untrained or with its published weights, for images of a side, and what it was trained on.

    `preprocessing` is told when it is asked for, as libraries take seconds to load. `stages` names the module with
    which a stage begins, where the sides of maps do not say it.
    """

    original: Callable[[int], nn.Module]
    pretrained: Callable[[int], nn.Module]
    preprocessing: Callable[[], Preprocessing]
    stages: Mapping[str, str] = field(default_factory=dict)


HALF = (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)
LITE_PX = (224, 240, 260, 280, 300)


def build_from(library: str, maker: str, name: str, **more: Any) -> nn.Module:
    """Return the untrained model that the library's maker makes. It is loaded here, as that takes seconds."""
    model: nn.Module = getattr(importlib.import_module(library), maker)(name, **more)
    return model


def _load(make: Callable[[int], nn.Module], read: Callable[[nn.Module], Mapping[str, Tensor]], px: int) -> nn.Module:
    model = make(px)
    state = model.state_dict()  # holds more than tensors: MNASNet loads nothing that does not say its version
    state.update(read(model))
    model.load_state_dict(state)
    return model


def define_torchvision(
    name: str, scaling: Any = None, stages: Mapping[str, str] = MappingProxyType({}), **more: Any
) -> Architecture:
    """Return the architecture that torchvision has under that name; `more` is what its builder must be told."""

    def original(px: int) -> nn.Module:
        sized = {"image_size": px} if name.startswith("vit_") else {}
        try:
            return build_from("torchvision.models", "get_model", name, weights=None, **sized, **more)
        except AssertionError as error:  # a vision transformer, whose patches do not make up the image
            raise make_size_error(name, px, preprocessing().px, error) from None

    @functools.cache
    def preprocessing() -> Preprocessing:
        how = get_torchvision_weights(name).transforms()
        mean, deviation = scaling or (tuple(255 * one for one in values) for values in (how.mean, how.std))
        return Preprocessing(how.crop_size[0], how.interpolation.value, mean, deviation)

    read = functools.partial(load_torchvision_tensors, name)
    return Architecture(original, functools.partial(_load, original, read), preprocessing, stages)


def define_lite(number: int) -> Architecture:
    """Return one of timm's EfficientNet-Lites, whose weights are installed up to the second."""
    name = f"tf_efficientnet_lite{number}"

    def original(_px: int) -> nn.Module:
        return build_from("timm", "create_model", name, pretrained=False)

    # The smallest is fed as Google's own code did, the others as timm does: less than one grey level lies between.
    scaling = ((127.0,) * 3, (128.0,) * 3) if number == 0 else HALF
    read = functools.partial(load_lite_tensors, number) if number <= 2 else functools.partial(load_timm_tensors, name)
    preprocessing = Preprocessing(LITE_PX[number], "bicubic", *scaling)
    return Architecture(original, functools.partial(_load, original, read), lambda: preprocessing)


def define_written_out(name: str, make: Callable[[], nn.Sequential], px: int = 32) -> Architecture:
    """Return one of our own networks, which are made of the named parts."""

    def refuse(_px: int) -> nn.Module:
        raise InputError.of(f"the weights of {name}", "be none or a file", "'pretrained'", "Nobody has published any.")

    return Architecture(lambda _px: make(), refuse, lambda: Preprocessing(px, "bilinear", *HALF))


def define_timm(name: str) -> Architecture:
    """Return the architecture of that name in timm, or of a repository of the hub, with timm's own weights."""
    original, pretrained = functools.partial(build_timm, name), functools.partial(load_timm, name)
    return Architecture(original, pretrained, functools.cache(lambda: Preprocessing(**read_timm_preprocessing(name))))


def define_own(name: str) -> Architecture:
    """Return one's own network, made by a function in a file of the folder `models`."""
    own = load_own_network(name)

    def refuse(_px: int) -> nn.Module:
        hint = "Name a file of weights."
        raise InputError.of(f"the weights of {name}", "be none or a file", "'pretrained'", hint)

    scaling: Any = [tuple(255 * one for one in part) for part in (own.mean, own.deviation)]
    preprocessing = Preprocessing(own.image_px, own.interpolation, *scaling)
    return Architecture(own.make, refuse, lambda: preprocessing)


ARCHITECTURES = {
    **{f"efficientnet_lite{number}": define_lite(number) for number in range(5)},
    **{name: define_torchvision(name) for name in ("alexnet", "vgg16", "vgg16_bn", "resnet18", "resnet34", "resnet50")},
    # Google trained Inceptions on pixels from -1 to 1. torchvision takes ImageNet's usual scaling and undoes it inside.
    **{
        name: define_torchvision(name, HALF, aux_logits=False, transform_input=False, init_weights=True)
        for name in ("inception_v3", "googlenet")
    },
    **{
        name: define_torchvision(name)
        for name in ("densenet121", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0")
    },
    # At stride 4 it only pools: its stage1 has no blocks, and its own stages have our names.
    "shufflenet_v2_x1_0": define_torchvision(
        "shufflenet_v2_x1_0", stages={"stage2": "stage2", "stage3": "stage3", "stage4": "stage4"}
    ),
    **{
        name: define_torchvision(name)
        for name in ("squeezenet1_1", "mnasnet1_0", "regnet_y_400mf", "convnext_tiny", "swin_t", "vit_b_16")
    },
    "mlp": define_written_out("mlp", build_mlp),
    "cnn2": define_written_out("cnn2", build_cnn2),
    "cnn3": define_written_out("cnn3", build_cnn3),
    "plain20": define_written_out("plain20", functools.partial(build_residual_network, 20, shortcut=False)),
    "plain56": define_written_out("plain56", functools.partial(build_residual_network, 56, shortcut=False)),
    "residual20": define_written_out("residual20", functools.partial(build_residual_network, 20, shortcut=True)),
    "residual56": define_written_out("residual56", functools.partial(build_residual_network, 56, shortcut=True)),
}
"""The networks that have a short name."""


def find_architecture(name: str) -> Architecture:
    """Return the architecture of that name, or say which names there are."""
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    library, _, own = name.partition("/")
    if library not in LIBRARIES:
        must = f"be {join_names(ARCHITECTURES)}, or begin with torchvision/, timm/ or models/"
        raise InputError.of("backbone", must, shorten(repr(name)))
    return _find_in_library(library, own)


@functools.cache
def _find_in_library(library: str, name: str) -> Architecture:
    if library == "models":
        return define_own(name)
    if library == "timm":
        return define_timm(name)
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        near = [other for other in known if other[:4] == name[:4]]
        raise InputError.of("backbone", f"name a classifier of torchvision ({join_names(near or known)})", repr(name))
    return ARCHITECTURES[name] if name in ARCHITECTURES else define_torchvision(name)
