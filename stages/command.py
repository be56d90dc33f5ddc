"""The command line of a stage, made from the arguments of its `main`."""

import argparse
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stages.mistakes import Mistake


def command(main: Callable[..., None]) -> None:
    """Run `main` with the command line's flags, one for each of its keyword arguments."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(main)))
    for name, argument in inspect.signature(main).parameters.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=argument.annotation, required=True)
    arguments = parser.parse_args()
    with one_line():
        main(**vars(arguments))


@contextmanager
def one_line() -> Iterator[None]:
    """End the process with exit code 1 and one line when someone's input is wrong.

    Any other error is ours, and keeps its traceback.
    """
    try:
        yield
    except Mistake as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
