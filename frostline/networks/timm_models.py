"""Networks of timm, and those that repositories of the Hugging Face hub hold in its form, by timm's own API."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from frostline.downloads import BROKEN_DOWN, ask_patiently, limit_silence
from frostline.errors import InputError, join_names, make_size_error, quote_error, shorten
from frostline.networks.weights import SILENCE, UNREADABLE

HUB = "hf-hub:"
MOST_NEAR = 5
"""Names that are told where one is unknown."""


def read_timm_preprocessing(name: str) -> dict[str, Any]:
    """Return the side, the interpolation and the scaling of the images that the weights were trained on."""
    config = _read_config(name)
    return {
        "px": int(config["input_size"][-1]),
        "interpolation": str(config.get("interpolation", "bicubic")),
        "mean": tuple(255 * float(value) for value in config["mean"]),
        "deviation": tuple(255 * float(value) for value in config["std"]),
    }


def read_timm_licence(name: str) -> str | None:
    """Return the licence that timm, or the repository, names for the weights, if it names one."""
    named = _read_config(name).get("license")
    return str(named) if named else None


@functools.cache
def _read_config(name: str) -> dict[str, Any]:
    import timm
    from timm.models import load_model_config_from_hf

    if name.startswith(HUB):
        with explain_trouble(name):
            _ask_for_file(name.removeprefix(HUB), "config.json")
            return dict(load_model_config_from_hf(name.removeprefix(HUB))[0])
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = timm.list_models(f"*{architecture.split('_')[0]}*")[:MOST_NEAR] or timm.list_models()[:MOST_NEAR]
        raise InputError.of("backbone", f"name a model of timm ({join_names(near)}, ...)", shorten(repr(name)))
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        must = f"have one of the tags of timm's {architecture} ({join_names(tags) if tags else 'none'})"
        raise InputError.of("backbone", must, shorten(repr(name)))
    config: Any = timm.get_pretrained_cfg(name, allow_unregistered=False)
    return dict(config.to_dict())


def build_timm(name: str, px: int) -> nn.Module:
    """Return the untrained network, made for images of that side where it must know it."""
    own_px = read_timm_preprocessing(name)["px"]
    try:
        return _create(name, px, own_px, pretrained=False)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        if px == own_px:
            raise
        raise make_size_error(f"timm/{name}", px, own_px, error) from None


def load_timm(name: str, px: int) -> nn.Module:
    """Return the network with its published weights, from where timm has them; it fits them to the images' side.

    Of a file of pickled tensors no code is run. Raises an `InputError` about a server that gives no answer, or not
    what it should.
    """
    config = _read_config(name)
    if not (config.get("hf_hub_id") or config.get("url")):
        raise InputError.of(f"the weights of timm/{name}", "be none or a file", "'pretrained'", "timm has none of it.")
    own_px = read_timm_preprocessing(name)["px"]
    if px != own_px:
        with torch.random.fork_rng(devices=[]):
            build_timm(name, px)  # what is wrong with the side is told before anything is downloaded
    with explain_trouble(name):
        if config.get("hf_hub_id"):
            _ask_for_file(config["hf_hub_id"], config.get("hf_hub_filename") or None)
        with limit_silence(SILENCE):
            return _create(name, px, own_px, pretrained=True)


def _create(name: str, px: int, own_px: int, *, pretrained: bool) -> nn.Module:
    import timm

    sized: Any = {"img_size": px} if px != own_px else {}
    try:
        return timm.create_model(name, pretrained=pretrained, **sized)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return timm.create_model(name, pretrained=pretrained)  # it takes images of any side


def must_be_told_side(name: str, px: int) -> bool:
    """Return whether timm makes the network otherwise for images of that side than for those of its weights."""
    import timm

    if px == read_timm_preprocessing(name)["px"]:
        return False
    try:
        with torch.random.fork_rng(devices=[]):
            timm.create_model(name, pretrained=False, img_size=px)
    except TypeError:
        return False  # it takes images of any side
    return True


def _ask_for_file(repository: str, file: str | None) -> None:
    """Ask the hub about a file of the repository as patiently as for anything else; the library would ask for long."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    repository, _, revision = repository.partition("@")
    names = [file] if file else ["model.safetensors", "pytorch_model.bin"]
    for name in names:
        if constants.is_offline_mode() or isinstance(
            try_to_load_from_cache(repository, name, revision=revision or None), str
        ):
            return
        url = hf_hub_url(repository, name, revision=revision or None)
        try:
            ask_patiently(
                functools.partial(get_hf_file_metadata, url, timeout=constants.HF_HUB_ETAG_TIMEOUT),
                (_get_transport_error(), HfHubHTTPError),
                lambda error: error.response.status_code if isinstance(error, HfHubHTTPError) else None,
            )
        except EntryNotFoundError:
            if name == names[-1]:
                raise
        else:
            return


def _get_transport_error() -> type[Exception]:
    import httpx2

    return httpx2.TransportError


@contextmanager
def explain_trouble(name: str) -> Iterator[None]:
    """Raise an `InputError` about whatever goes wrong meanwhile with the files of the model."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where, shown = "backbone", f"'timm/{name}'"
    try:
        yield
    except HFValidationError:
        raise InputError.of(where, "name a repository such as timm/hf-hub:owner/name", shown) from None
    except GatedRepoError:
        hint = f"Ask for access at {constants.ENDPOINT}, and give HF_TOKEN."
        raise InputError.of(where, "be open to you", f"{shown}, which is gated", hint) from None
    except RevisionNotFoundError:
        raise InputError.of(where, "name a commit, tag or branch of its repository", shown) from None
    except RepositoryNotFoundError:
        must = f"name a repository at {constants.ENDPOINT}"
        raise InputError.of(where, must, shown, "A private one needs HF_TOKEN.") from None
    except LocalEntryNotFoundError as error:
        raise _make_error(name, error.__cause__ or error, OfflineModeIsEnabled) from None
    except EntryNotFoundError:
        raise InputError.of(where, "name a repository with a model of timm's in it", shown) from None
    except (httpx2.TransportError, HfHubHTTPError, OSError, *UNREADABLE) as error:
        raise _make_error(name, error, OfflineModeIsEnabled) from None


def _make_error(name: str, error: BaseException, offline: type[BaseException]) -> InputError:
    from huggingface_hub import constants

    status = getattr(getattr(error, "response", None), "status_code", None)
    got = "HF_HUB_OFFLINE, and no such file here," if isinstance(error, offline) else quote_error(error)
    got = f"the answer {status}" if status else shorten(got)
    hint = "Offline, take efficientnet_lite0, whose weights are installed." if status in (None, *BROKEN_DOWN) else ""
    return InputError.of(f"the weights of timm/{name}", f"come whole from {constants.ENDPOINT}", got, hint)
