"""Outcomes: what all plans score in one metric, image by image of a repeat, and with images left out or drawn again."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Outcomes:
    """What the plans score in one metric. A repeat tests each group of images once; its replicates are its folds.

    `pooled` (plans x repeats): the metric of all images that a repeat tests. `by_replicate` (plans x replicates): that
    of the images that one replicate tests, repeat after repeat. `without` (plans x repeats x groups): that of all
    images of a repeat but one group's. `pool` gives, as a mean over repeats, plans x draws, with each group counted as
    often as the draws (draws x groups) say. `images` is how many a repeat tests.
    """

    pooled: Floats
    by_replicate: Floats
    without: Floats
    pool: Callable[[Floats], Floats]
    images: int

    @property
    def repeats(self) -> int:
        """How often every image is tested."""
        return int(self.pooled.shape[1])

    @property
    def replicates(self) -> int:
        """How often each plan is trained."""
        return int(self.by_replicate.shape[1])

    @property
    def folds(self) -> int:
        """How many replicates a repeat has: one with official splits."""
        return self.replicates // self.repeats

    @property
    def groups(self) -> int:
        """How many groups of images there are."""
        return int(self.without.shape[2])


def average_scores(scores: Floats, groups: Integers, folds: Integers) -> Outcomes:
    """Return the outcomes where the metric is the mean of what each image scores, as accuracy is of 0 and 1.

    `scores` are plans x repeats x images; `groups` (images) are 0, 1, ...; `folds` (repeats x images) say which fold of
    a repeat tests the image, and are all 0 with official splits.
    """
    count, images = int(groups.max()) + 1, scores.shape[2]
    sums = np.zeros((*scores.shape[:2], count))
    for place in np.ndindex(scores.shape[:2]):
        sums[place] = np.bincount(groups, scores[place], count)
    held = np.bincount(groups, minlength=count)
    by_replicate = [
        scores[:, repeat, of_repeat == fold].mean(1)
        for repeat, of_repeat in enumerate(folds)
        for fold in range(int(of_repeat.max()) + 1)
    ]

    def pool(draws: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            means: Floats = sums.mean(1) @ draws.T / (draws @ held)
        return means

    without = (sums.sum(2, keepdims=True) - sums) / (images - held)
    return Outcomes(scores.mean(2), np.transpose(by_replicate), without, pool, images)
