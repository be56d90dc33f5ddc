"""Quantisation: the ONNX model in 8-bit integers, and what that costs in accuracy."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from frostline.answer.estimator import Interval, estimate
from frostline.answer.outcomes import average_scores
from frostline.data.images import Prepared
from frostline.errors import quote_error
from frostline.files import find_disk_error
from frostline.model.onnx_export import ExportError, keep_quiet
from frostline.model.saved import PIXELS, Pixels, open_session, run_session

CALIBRATED_ON, AT_ONCE = 128, 8
"""Images of the training split by which the ranges of activations are found, and how many of them at once."""
MOST_COMPARED = 10_000
"""Test images on which the two models are compared."""
TIMED, TIMES = 64, 3

Integers = NDArray[np.int64]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands the quantiser its images, some at a time."""

    def __init__(self, images: Pixels) -> None:
        parts = np.array_split(images, -(-len(images) // AT_ONCE))
        self._batches = iter([{PIXELS: np.ascontiguousarray(part)} for part in parts])

    def get_next(self) -> dict[str, Pixels] | None:
        return next(self._batches, None)


def quantize(model: bytes, images: Pixels) -> bytes:
    """Return the model with weights and activations in 8 bits, whose ranges are found on the images.

    Both are signed, and weights per channel: with unsigned activations processors without VNNI add products in 16 bits,
    where they overflow, and weights of 7 bits, which do not, cost EfficientNet-Lite0 on digits 8 points. Raises an
    `ExportError` where the network has something that cannot be.
    """
    with tempfile.TemporaryDirectory() as folder, keep_quiet():
        given, ready, made = (Path(folder, name) for name in ("given.onnx", "ready.onnx", "made.onnx"))
        given.write_bytes(model)
        try:
            quant_pre_process(str(given), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready), str(made), _Reader(images), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
        except Exception as error:
            if find_disk_error(error) is not None:
                raise
            # whatever else the quantiser raises is about the network's operations
            raise ExportError(f"onnxruntime.quantization: {quote_error(error)}") from None
        return made.read_bytes()


@dataclass(frozen=True)
class Compared:
    """The accuracies (0 to 1) of the replicates' models in float32 and in 8 bits, on the same test images.

    `difference` is 8 bits less float32, with its interval of 95 %.
    """

    images: int
    accuracy: float
    accuracy_int8: float
    difference: Interval


def choose_replicates(splits: pd.DataFrame, tested: Sequence[int]) -> list[int]:
    """Return the first replicates that together test every image that any of these tests."""
    chosen: list[int] = []
    seen: set[int] = set()
    for replicate in tested:
        its = set(splits.image[(splits.replicate == replicate) & (splits.split == "test")])
        if its - seen:
            chosen.append(replicate)
            seen |= its
    return chosen


def compare_on_folds(
    data: Prepared, groups: Integers, replicates: Sequence[int], make: Callable[[int], bytes]
) -> Compared:
    """Return what 8 bits cost: each replicate's model, which `make` gives, predicts its test images in both forms."""
    whole: dict[int, bool] = {}
    small: dict[int, bool] = {}
    fold_of: dict[int, int] = {}
    rng = np.random.default_rng(0)
    share = min(1.0, MOST_COMPARED / sum(len(data.list_rows("test", [each])) for each in replicates))
    for fold, replicate in enumerate(replicates):
        model, rows = make(replicate), data.list_rows("test", [replicate])
        if share < 1:
            rows = np.sort(rng.choice(rows, max(1, int(share * len(rows))), replace=False))
        quantized = quantize(model, draw_images(data, [replicate]))
        for named, form in ((whole, model), (small, quantized)):
            right = run_session(open_session(form), data.images, rows).argmax(1) == data.labels[rows]
            named.update(zip(rows.tolist(), right.tolist(), strict=True))
        fold_of.update(dict.fromkeys(rows.tolist(), fold))
    rows = np.array(sorted(whole))
    hits = np.array([[[float(named[row]) for row in rows]] for named in (whole, small)])
    own = np.unique(groups[rows], return_inverse=True)[1]
    found = estimate(average_scores(hits, own, np.array([[fold_of[row] for row in rows]])))
    accuracy, accuracy_int8 = (float(value) for value in hits.mean(2)[:, 0])
    return Compared(len(rows), accuracy, accuracy_int8, found.get_difference(1, 0))


def draw_images(data: Prepared, replicates: list[int]) -> Pixels:
    """Return some of the images that the replicates train on, spread over all of them."""
    rows = data.list_rows("train", replicates)
    chosen = rows[np.linspace(0, len(rows) - 1, min(CALIBRATED_ON, len(rows))).round().astype(int)]
    return np.array(data.images[chosen])


def time_models(models: Sequence[bytes], images: Pixels) -> list[float]:
    """Return the images a second of each model, as medians of runs that are taken in turns."""
    sessions = [open_session(model) for model in models]
    shown = np.resize(images, (TIMED, *images.shape[1:]))
    seconds: list[list[float]] = [[] for _ in sessions]
    for _ in range(1 + TIMES):
        for session, taken in zip(sessions, seconds, strict=True):
            began = time.perf_counter()
            run_session(session, shown, np.arange(TIMED))
            taken.append(time.perf_counter() - began)
    return [TIMED / median(taken[1:]) for taken in seconds]


def describe_comparison(found: Compared) -> dict[str, Any]:
    """Return the comparison as model.json has it, rounded to what it can say."""
    rounded = replace(found, accuracy=round(found.accuracy, 6), accuracy_int8=round(found.accuracy_int8, 6))
    return asdict(rounded)
