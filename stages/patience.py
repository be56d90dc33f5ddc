"""Patience: a server that is silent or breaks down is asked three times; one that refuses is not asked again."""

import time
from collections.abc import Callable
from typing import TypeVar

Answered = TypeVar("Answered")

WAITS = (1, 2)
"""Seconds before a server is asked for the second and the third time."""
BROKEN_DOWN = (408, 429, 500, 502, 503, 504)
"""HTTP answers after which asking again may help."""


def patiently(
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
