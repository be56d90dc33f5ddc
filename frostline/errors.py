"""Errors of someone's input: one line in one grammar, with which a command ends."""

import argparse
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Self


class InputError(ValueError):
    """An error of someone's input, whose message says all that they need to mend it."""

    @classmethod
    def of(cls, where: str, must: str, got: str, hint: str = "") -> Self:
        """Return the error "<where> must <must>. Got <got> instead. <hint>", ready to be raised."""
        return cls(f"{where} must {must}. Got {got} instead.{f' {hint}' if hint else ''}")


def join_names(names: Iterable[str]) -> str:
    """Return the names as "a, b or c"."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


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
    except KeyboardInterrupt:
        sys.exit(130)
