"""Predicting: images decoded and run side by side, some at a time, so that memory does not grow with their number."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline.errors import InputError
from frostline.model.saved import INT8, ONNX, PIXELS, PROBABILITIES, Saved, open_session
from frostline.predict.listing import Asked
from frostline.preparation.decoding import decode_pixels

IN_GROUP = 16
"""Images that a thread decodes and runs together."""
WAITING = 2
"""Groups a thread that are in hand."""


@dataclass(frozen=True)
class Predicted:
    """An image, and the calibrated probability of each class, or why it cannot be read."""

    asked: Asked
    probabilities: NDArray[np.float32] | None
    reason: str = ""


def predict(saved: Saved, asked: Sequence[Asked], *, int8: bool = False) -> Iterator[Predicted]:
    """Yield what the model makes of each image, in their order.

    Threads decode and run groups of their own: one that shared a session's threads with others would wait for them.
    Raises an `InputError` where the model has no such form.
    """
    form = INT8 if int8 else ONNX
    about = saved.about["int8" if int8 else "onnx"]
    if not about["made"]:
        raise InputError.of(str(saved.folder), f"hold {form}", f"none ({about['reason']})")
    session, threads = open_session(saved.folder / form, threads=1), count_cores()

    def run(group: Sequence[Asked]) -> list[Predicted]:
        decoded = [_read(each, saved.image_px) for each in group]
        readable = [pixels for pixels in decoded if not isinstance(pixels, str)]
        rows = iter(session.run([PROBABILITIES], {PIXELS: np.stack(readable)})[0] if readable else ())
        pairs = zip(group, decoded, strict=True)
        return [
            Predicted(each, None, pixels) if isinstance(pixels, str) else Predicted(each, next(rows))
            for each, pixels in pairs
        ]

    waiting: deque[Future[list[Predicted]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for first in range(0, len(asked), IN_GROUP):
                group = asked[first : first + IN_GROUP]
                waiting.append(pool.submit(run, group))
                if len(waiting) > WAITING * threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _read(asked: Asked, image_px: int) -> NDArray[np.uint8] | str:
    """Return the pixels of the image, or why it cannot be read."""
    try:
        return decode_pixels(asked.path.read_bytes(), image_px)
    except OSError as error:
        return os.strerror(error.errno or 0)
    except MemoryError:
        return f"it takes more memory than there is ({_measure(asked.path)})"


def _measure(path: Path) -> str:
    return f"a file of {path.stat().st_size:,} bytes"


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
