"""Outcomes: what all plans score in one metric, image by image of a repeat, and with images left out or drawn again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Tallies = Any
"""What images or groups of them add to sums, one row each: an array, or a sparse `csr_array`."""
AT_ONCE = 1_000
"""Groups or draws that are computed together: memory grows with it."""


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


def pool_tallies(
    tallies: Sequence[Sequence[Tallies]], groups: Integers, folds: Integers, metric: Callable[[Floats], Floats]
) -> Outcomes:
    """Return the outcomes in a metric that is a function of sums over images, such as macro F1 of counts by class.

    `tallies` has for each plan and repeat what each image adds to the sums, images x sums; `metric` takes sums along
    its last axis. `groups` (images) are 0, 1, ...; `folds` (repeats x images) say which fold of a repeat tests the
    image, and are all 0 with official splits.
    """
    images = np.arange(len(groups))
    gather = csr_array((np.ones(len(groups)), (groups, images)))
    by_group = [[gather @ tally for tally in of_plan] for of_plan in tallies]

    def compute(sums: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return metric(sums)

    def leave_each_out(sums: Tallies) -> Floats:
        total = sums.sum(axis=0)
        parts = [total - _to_dense(sums[begin : begin + AT_ONCE]) for begin in range(0, sums.shape[0], AT_ONCE)]
        return np.concatenate([compute(part) for part in parts])

    def pool(draws: Floats) -> Floats:
        means = [
            np.mean(
                [np.concatenate([compute((sums.T @ part.T).T) for part in _split(draws)]) for sums in of_plan],
                axis=0,
            )
            for of_plan in by_group
        ]
        return np.array(means)

    fold_of = [(repeat, fold) for repeat, its in enumerate(folds) for fold in range(int(its.max()) + 1)]
    return Outcomes(
        pooled=np.array([[compute(sums.sum(axis=0)) for sums in of_plan] for of_plan in by_group]),
        by_replicate=np.array(
            [
                [compute(of_plan[repeat][images[folds[repeat] == fold]].sum(axis=0)) for repeat, fold in fold_of]
                for of_plan in tallies
            ]
        ),
        without=np.array([[leave_each_out(sums) for sums in of_plan] for of_plan in by_group]),
        pool=pool,
        images=len(groups),
    )


def average_scores(scores: Floats, groups: Integers, folds: Integers) -> Outcomes:
    """Return the outcomes where the metric is the mean of what each image scores, as accuracy is of 0 and 1.

    `scores` are plans x repeats x images; `groups` and `folds` as above.
    """
    tallies = [[np.column_stack([of_repeat, np.ones_like(of_repeat)]) for of_repeat in of_plan] for of_plan in scores]
    return pool_tallies(tallies, groups, folds, lambda sums: sums[..., 0] / sums[..., 1])


def _split(draws: Floats) -> list[Floats]:
    return [draws[begin : begin + AT_ONCE] for begin in range(0, len(draws), AT_ONCE)]


def _to_dense(sums: Tallies) -> Floats:
    dense: Floats = sums.toarray() if isinstance(sums, csr_array) else sums
    return dense
