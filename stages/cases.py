"""Cases: single images, what they are, and what a network takes them for."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.prepared import Prepared


@dataclass(frozen=True)
class Case:
    """An image (uint8, H x W x 3) by its name, with the probability of each class, and its true class where known."""

    name: str
    pixels: NDArray[np.uint8]
    probabilities: list[float]
    actual: int | None

    @property
    def predicted(self) -> int:
        """The class of the highest probability."""
        return int(np.argmax(self.probabilities))

    @property
    def confidence(self) -> float:
        """The probability of the predicted class."""
        return float(self.probabilities[self.predicted])

    def likeliest(self, count: int) -> list[int]:
        """Return the classes of the highest probabilities, at most so many, the highest first."""
        return [int(each) for each in np.argsort(-np.array(self.probabilities), kind="stable")[:count]]


def telling_cases(data: Prepared, predictions: pd.DataFrame, seed: int, count: int) -> tuple[list[Case], list[Case]]:
    """Return a seed's worst mistakes and its confident hits on test, the surest first, at most so many of each.

    A worst mistake is a test image with a high probability of a wrong class. Of equally sure ones the first comes
    first.
    """
    its = predictions[(predictions.seed == seed) & (predictions.split == "test")]
    probabilities = its[[f"probability_{name}" for name in data.classes]].to_numpy(np.float64)
    right = probabilities.argmax(1) == its.label.to_numpy()
    surest = np.argsort(-probabilities.max(1), kind="stable")

    def chosen(places: Iterable[int]) -> list[Case]:
        rows = its.image.to_numpy()
        found = [(int(rows[place]), probabilities[place]) for place in places]
        return [Case(data.ids[row], np.array(data.images[row]), [*each], int(data.labels[row])) for row, each in found]

    wrong, hits = surest[~right[surest]], surest[right[surest]]
    return chosen(wrong[:count]), chosen(hits[:count])
