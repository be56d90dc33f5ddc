"""Calibration: what a probability of the plan is worth, by its predictions of images that it never saw."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.model_selection import GroupKFold

from frostline.stats.metrics import METRICS, get_probabilities, tally

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
PARTS_HELD_OUT = 5
"""Parts of the groups of images, of which each is judged by what the others say."""
COLDEST, HOTTEST = 0.05, 20.0
LEVEL = 0.95
"""How often those that are not doubtful are to be right."""


@dataclass(frozen=True)
class Calibration:
    """The temperature that logits are divided by (Guo et al. 2017, arXiv 1706.04599), and what that mends.

    Negative log-likelihoods are in nats an image, calibration errors 0 to 1; those `after` are of images whose groups
    had no part in choosing the temperature.
    """

    temperature: float
    nll_before: float
    nll_after: float
    calibration_error_before: float
    calibration_error_after: float
    images: int


@dataclass(frozen=True)
class Doubt:
    """Below which probability an image is doubtful, so that of the others so many are right as `level` says.

    `threshold` is None where no probability shows that. `doubtful` is the share of images that were below a threshold
    which images of other groups had set, `right` that of the others that were named rightly.
    """

    level: float
    threshold: float | None
    doubtful: float
    right: float | None


def calibrate(predictions: pd.DataFrame, groups: Integers, classes: list[str]) -> tuple[Calibration, pd.DataFrame]:
    """Return the calibration, and a row for each prediction: its highest probability, and whether that was right.

    `predictions` hold `image`, `label` and a `probability_<class>` for each class, `groups` has each image's group.
    The probabilities of a row are calibrated by images of other groups.
    """
    known, labels = get_probabilities(predictions, classes), predictions.label.to_numpy(np.int64)
    held = groups[predictions.image.to_numpy()]
    apart = np.empty_like(known)
    for others, these in split_groups(held):
        apart[these] = warm(known[these], find_temperature(known[others], labels[others]))
    told = predictions.assign(**{f"probability_{name}": apart[:, place] for place, name in enumerate(classes)})
    before, after = (tally(table, classes).sum(axis=0) for table in (predictions, told))
    nll, error = METRICS["negative_log_likelihood"], METRICS["expected_calibration_error"]
    found = Calibration(
        temperature=find_temperature(known, labels),
        nll_before=float(nll(before)),
        nll_after=float(nll(after)),
        calibration_error_before=float(error(before)),
        calibration_error_after=float(error(after)),
        images=len(known),
    )
    rows = pd.DataFrame({
        "id": predictions.id.to_numpy(),
        "probability": apart.max(1).round(6),
        "right": (apart.argmax(1) == labels).astype(int),
    })  # fmt: skip
    return found, rows


def find_temperature(probabilities: Floats, labels: Integers) -> float:
    """Return the temperature of least negative log-likelihood, from COLDEST to HOTTEST."""
    logs = _take_logs(probabilities)

    def lose(log_temperature: float) -> float:
        heated = logs / np.exp(log_temperature)
        heated -= heated.max(1, keepdims=True)
        return float((np.log(np.exp(heated).sum(1)) - heated[np.arange(len(labels)), labels]).mean())

    found = minimize_scalar(lose, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return round(float(np.exp(found.x)), 4)


def warm(probabilities: Floats, temperature: float) -> Floats:
    """Return the probabilities as they are with their logits divided by the temperature."""
    heated = _take_logs(probabilities) / temperature
    heated = np.exp(heated - heated.max(1, keepdims=True))
    warmed: Floats = heated / heated.sum(1, keepdims=True)
    return warmed


def _take_logs(probabilities: Floats) -> Floats:
    logs: Floats = np.log(np.clip(probabilities, np.finfo(np.float64).tiny, 1))
    return logs


def split_groups(groups: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Yield the rows that say something and the rows that it is said of: no group is in both, every row is judged."""
    parts = min(PARTS_HELD_OUT, len(np.unique(groups)))
    yield from GroupKFold(parts).split(groups, groups=groups)


def find_doubt(rows: pd.DataFrame, groups: Integers, level: float = LEVEL) -> Doubt:
    """Return what is doubtful at the level, by the rows of `calibrate` and the group of each."""
    probability, right = rows.probability.to_numpy(np.float64), rows.right.to_numpy(np.float64)
    is_sure = np.zeros(len(rows), bool)
    for others, these in split_groups(groups):
        threshold = find_threshold(probability[others], right[others], level)
        is_sure[these] = threshold is not None and probability[these] >= (threshold or 0)
    accuracy = float(right[is_sure].mean()) if is_sure.any() else None
    return Doubt(level, find_threshold(probability, right, level), float(1 - is_sure.mean()), accuracy)


def find_threshold(probability: Floats, right: Floats, level: float) -> float | None:
    """Return the least probability from which on at least a share of `level` is right, or None where there is none."""
    order = np.argsort(-probability, kind="stable")
    sorted_probability, hits = probability[order], np.cumsum(right[order])
    is_last = np.append(np.diff(sorted_probability) != 0, True)  # of those with the same probability
    reaches = is_last & (hits >= level * np.arange(1, len(hits) + 1) - 1e-9)
    return float(sorted_probability[np.flatnonzero(reaches)[-1]]) if reaches.any() else None


def describe_calibration(found: Calibration, doubt: Doubt) -> dict[str, Any]:
    """Return both as model.json has them."""
    return {"calibration": asdict(found), "doubtful": asdict(doubt)}
