"""Downloads: a server that is silent or breaks down is asked three times, and what comes is verified."""

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from frostline.errors import InputError

Answered = TypeVar("Answered")
WAITS = (1, 2)
"""Seconds before a server is asked for the second and the third time."""
BROKEN_DOWN = (408, 429, 500, 502, 503, 504)
"""HTTP answers after which asking again may help."""


def ask_patiently(
    ask: Callable[[], Answered], troubles: tuple[type[Exception], ...], status_of: Callable[[Exception], int | None]
) -> Answered:
    """Return the answer, or raise the trouble of the last time that was asked.

    `troubles` are what `ask` raises where there is no answer, or one that is no success: then `status_of` tells its
    HTTP status. For how long silence is borne is up to `ask`.
    """
    for wait in WAITS:
        try:
            return ask()
        except troubles as error:
            if status_of(error) not in (None, *BROKEN_DOWN):
                raise
        time.sleep(wait)
    return ask()


@contextmanager
def limit_silence(seconds: float) -> Iterator[None]:
    """Let each connection that is opened meanwhile wait so many seconds at most for the next bytes."""
    usual = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(usual)


def check_sha256(path: Path, wanted: str, hint: str = "Delete it, and it is downloaded again.") -> None:
    """Raise an `InputError` unless the file's SHA-256 begins with `wanted`, 64 or fewer hexadecimal digits."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(wanted):
        raise InputError.of(str(path), f"have a SHA-256 that begins with {wanted}", found[: len(wanted)], hint)
