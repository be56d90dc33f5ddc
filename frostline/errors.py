"""Errors of someone's input: one line in one grammar, with which a command ends."""

import argparse
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import NoneType, UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

MOST_SHOWN = 160
"""Characters of a value that a message repeats."""
MOST_OF_A_LINE = 450
"""Characters of a message, where what somebody gave is long."""
MOST_OF_A_LIST = 240
NAMED_AT_MOST = 20
"""Of a list of names."""
# pydantic's own words speak of its classes and of Python.
IN_PLAIN_WORDS = {
    "bool_type": "be true or false",
    "dict_type": "be a mapping of names to values",
    "model_type": "be a mapping of names to values",
    r"^[A-Za-z0-9_]+$": "be a name of letters, digits and _",
    r"^(none|blocks|folders|column|name: .+)$": "be none, blocks, folders, column, or name: <regular expression>",
    "too_short": "hold at least one value",
}


class InputError(ValueError):
    """An error of someone's input, whose message says all that they need to mend it."""

    @classmethod
    def of(cls, where: str, must: str, got: str, hint: str = "") -> Self:
        """Return the error "<where> must <must>. Got <got> instead. <hint>", ready to be raised."""
        said = hide_secrets(f"{where} must {must}. Got \0 instead.{f' {hint}' if hint else ''}")
        room = max(MOST_SHOWN, MOST_OF_A_LINE - len(said))
        return cls(make_printable(said.replace("\0", shorten(make_printable(hide_secrets(got)), room))))


def make_printable(text: str) -> str:
    """Return the text with its control characters and line ends as Python writes them, as names may hold any."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def hide_secrets(text: str) -> str:
    """Return the text without what stands before the @ of an address."""
    return re.sub(r"(://)[^/\s@'\"]+@", r"\1", text)


def shorten(text: str, most: int = MOST_SHOWN) -> str:
    """Return the text, or its beginning where it is long."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def quote_error(error: BaseException) -> str:
    """Return the first line of what another's code raised, with the kind of the error."""
    words = " ".join(str(error).partition("\n")[0].split()).rstrip(".")
    return shorten(f"{type(error).__name__} ({words})" if words else type(error).__name__)


def make_size_error(network: str, px: int, own_px: int, error: BaseException) -> InputError:
    """Return the error that the network cannot see images of that side, with its own words."""
    must = f"be a side that {network} can see, such as {own_px}"
    return InputError.of("data.image_px", must, f"{px} ({quote_error(error)})")


def join_names(names: Iterable[str]) -> str:
    """Return the names as "a, b or c"."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def list_some(names: Sequence[str]) -> str:
    """Return the names, the first of them when there are more than NAMED_AT_MOST, or than a line takes."""
    few: list[str] = []
    length = 0
    for name in names[:NAMED_AT_MOST]:
        short = shorten(name)
        length += len(short) + 2
        if few and length > MOST_OF_A_LIST:
            break
        few.append(short)
    more = len(names) - len(few)
    return ", ".join(few) + (f" and {more:,} more" if more > 0 else "")


def run_command(main: Callable[..., None]) -> None:
    """Run `main` with the command line's flags, one for each of its keyword arguments."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(main)))
    for name, argument in inspect.signature(main).parameters.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=argument.annotation, required=True)
    arguments = parser.parse_args()
    with end_in_one_line():
        main(**vars(arguments))


@contextmanager
def end_in_one_line() -> Iterator[None]:
    """End the process with exit code 1 and one line when someone's input is wrong.

    Any other error is ours, and keeps its traceback.
    """
    try:
        yield
    except InputError as error:
        sys.exit(str(error))
    except MemoryError as error:
        said = str(error) or "no more"
        sys.exit(str(InputError.of("the memory", "suffice", said, "Smaller images or batches take less.")))
    except KeyboardInterrupt:
        sys.exit(130)


def explain(error: ValidationError, model: type[BaseModel], whole: str) -> InputError:
    """Return the first thing that pydantic found in a model's content, in the house grammar.

    Unknown names come first: a misspelt name is also a missing one, and to be told that it is missing misleads.
    `whole` is what the content is called where no name leads to the fault.
    """
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    path = [shorten(str(step)) for step in first["loc"] if step != "[key]"]
    where = ".".join(path) or whole
    if first["type"] == "missing":
        return InputError.of(where, "be given", "nothing")
    if first["type"] == "extra_forbidden":
        known = join_names(_list_known_names(model, path[:-1]))
        return InputError.of(".".join(path[:-1]) or whole, f"hold only {known}", shorten(repr(first["loc"][-1])))
    plain = IN_PLAIN_WORDS.get(first["type"]) or IN_PLAIN_WORDS.get(first.get("ctx", {}).get("pattern", ""))
    must = plain or re.sub(r"^\w+ should | after validation, not \d+$", "", first["msg"])
    return InputError.of(where, must, shorten(repr(first["input"])), _hint_at_quotes(first["type"], first["input"]))


def _hint_at_quotes(kind: str, value: object) -> str:
    """Return how to write the number that was given as text, if it was one."""
    if kind not in ("int_type", "float_type") or not isinstance(value, str):
        return ""
    try:
        number = float(value) if kind == "float_type" else int(value)
    except ValueError:
        return ""
    return f"It is text: write {value} without quotes." if math.isfinite(number) else ""


def _list_known_names(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the names that may stand in the section of the model at `path`."""
    section: Any = model
    steps = iter(path)
    for step in steps:
        section = _unwrap(section.model_fields[step].annotation)
        if get_origin(section) in (dict, list):
            next(steps, None)
            section = get_args(section)[-1]
    return [field.alias or name for name, field in section.model_fields.items()]


def _unwrap(annotation: Any) -> Any:
    """Return the annotation of a section, or of many, without what it says besides."""
    if get_origin(annotation) is Annotated:
        return _unwrap(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return _unwrap(next(member for member in get_args(annotation) if member is not NoneType))
    return annotation
