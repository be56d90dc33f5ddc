"""One's own networks: a function in a file of the folder `models`, which returns a classifier."""

import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from frostline.constants import MOST_PX
from frostline.errors import InputError, join_names, quote_error, shorten

FOLDER = Path("models")


@dataclass(frozen=True)
class OwnNetwork:
    """A function that makes a classifier, and what its file says of the images that its weights were trained on.

    `IMAGE_PX` is their side in pixels (224), `INTERPOLATION` how they were resized ("bilinear"); `MEAN` and `DEVIATION`
    are of red, green and blue from 0 to 1 (ImageNet's).
    """

    function: Callable[..., nn.Module]
    image_px: int
    interpolation: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def make(self, px: int) -> nn.Module:
        """Return the network; a function that takes `image_px` is told the side of the images."""
        asks = "image_px" in inspect.signature(self.function).parameters
        where = f"{self.function.__name__} in {self.function.__code__.co_filename}"
        try:
            made = self.function(image_px=px) if asks else self.function()
        except Exception as error:  # noqa: BLE001 - whatever code of someone's own raises
            raise InputError.of(where, "return a torch.nn.Module", quote_error(error)) from None
        if not isinstance(made, nn.Module):
            raise InputError.of(where, "return a torch.nn.Module", f"a {type(made).__name__}")
        return made


def load_own_network(name: str) -> OwnNetwork:
    """Return what `<file>.py:<function>` in the folder `models` makes, or raise an `InputError` about the name or file.

    The file is run, as code of one's own is.
    """
    file, _, function = name.partition(":")
    path = FOLDER / file
    if not (file.endswith(".py") and function and path.is_file()):
        found = sorted(str(one) for one in FOLDER.glob("*.py"))
        must = f"be models/<file>.py:<function>, with a file that there is ({join_names(found) if found else 'none'})"
        raise InputError.of("backbone", must, shorten(repr(f"models/{name}")))
    module = _run(path)
    made = getattr(module, function, None)
    if not inspect.isfunction(made):
        known = [one for one, value in vars(module).items() if inspect.isfunction(value) and one[:1] != "_"]
        must = f"name a function of {path} ({join_names(known) if known else 'it has none'})"
        raise InputError.of("backbone", must, shorten(repr(f"models/{name}")))
    return OwnNetwork(
        made,
        _check(path, "IMAGE_PX", getattr(module, "IMAGE_PX", 224), f"be 16 to {MOST_PX}", _is_side),
        _check(path, "INTERPOLATION", getattr(module, "INTERPOLATION", "bilinear"), "be a word", _is_word),
        _check(path, "MEAN", getattr(module, "MEAN", (0.485, 0.456, 0.406)), "be three numbers", _are_three),
        _check(path, "DEVIATION", getattr(module, "DEVIATION", (0.229, 0.224, 0.225)), "be three numbers", _are_three),
    )


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"models_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError.of(str(path), "be a file of Python", "another")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - whatever a file of someone's own raises
        raise InputError.of(str(path), "run", quote_error(error)) from None
    return module


def _check(path: Path, name: str, value: Any, must: str, is_right: Callable[[Any], bool]) -> Any:
    if not is_right(value):
        raise InputError.of(f"{name} in {path}", must, shorten(repr(value)))
    return tuple(value) if isinstance(value, list) else value


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and 16 <= value <= MOST_PX


def _is_word(value: Any) -> bool:
    return isinstance(value, str)


def _are_three(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 3 and all(isinstance(one, float | int) for one in value)
