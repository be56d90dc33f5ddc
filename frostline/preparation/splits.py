"""Splits: which image is train, validation or test in a replicate.

A repeat tests every image once, in one of its folds, or in the source's own test split. A replicate is one fold of one
repeat (repeat x folds + fold).
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
DRAWS = 200
"""How many draws there are to choose from where groups are mixed. Of ELPV's 44 blocks one draw into five folds missed a
stratum's fifth by up to 7.8 percent points (repeats 0 to 3), the best of 200 by 4.8, the best of 1,000 by 4.0. One draw
of 15 % to validate missed them by up to 10.4, the best of 200 by 2.4, in 0.04 s."""
LEFT_AT_LEAST = 2
"""Groups of each class that a fold must leave untested: one to train on and one to validate."""
PLACED_AT_MOST = 20_000
"""Groups that are placed in all draws together, so that many groups, which come out balanced anyway, are drawn fewer
times."""


def join_groups(blocks: Integers, contents: Integers) -> Integers:
    """Return a group for each image: images that share a block or a content, directly or by way of others."""
    images = np.arange(len(blocks))
    rows, columns = np.concatenate([images, images]), np.concatenate([blocks, contents + blocks.max() + 1])
    nodes = int(columns.max()) + 1
    shares = coo_array((np.ones(len(rows)), (rows, columns + len(images))), shape=(len(images) + nodes,) * 2)
    return np.asarray(connected_components(shares, directed=False)[1][: len(images)], dtype=np.int64)


def draw_folds(groups: Integers, strata: Integers, classes: Integers, folds: int, repeat: int) -> Integers:
    """Return the fold, 0 to folds - 1, that tests each image in the repeat. The number of repeats has no part in it.

    No group is torn. Each group goes to the fold that has least of its strata (0, 1, ...), and of these to the one with
    least of its class, the groups in random order, so that where each lies within one stratum, no two folds differ in a
    stratum by more than its largest group. Where groups are mixed, the best balanced of many draws is taken.
    (scikit-learn's StratifiedGroupKFold gave the same folds for different random states on such groups.)
    """
    of_strata, of_classes = _count_by_group(groups, strata), _count_by_group(groups, classes)
    held = np.hstack([of_strata, of_classes])
    weights, split = 1 / held.sum(0) ** 2, of_strata.shape[1]

    def draw(rng: np.random.Generator) -> Integers:
        fold_of, filled = np.zeros(len(held), np.int64), np.zeros((folds, held.shape[1]))
        for group in rng.permutation(len(held)):
            fullness = np.round(filled * weights * held[group], 15)
            keys = (filled.sum(1), fullness[:, split:].sum(1), fullness[:, :split].sum(1))
            fold_of[group] = np.lexsort(keys)[0]
            filled[fold_of[group]] += held[group]
        return fold_of

    def measure_imbalance(fold_of: Integers) -> float:
        filled, tested = np.zeros((folds, split)), np.zeros((folds, of_classes.shape[1]))
        np.add.at(filled, fold_of, of_strata)
        np.add.at(tested, fold_of, of_classes > 0)
        left = (of_classes > 0).sum(0) - tested
        return float((filled / of_strata.sum(0)).std(0).max()) + float((left < LEFT_AT_LEAST).sum())

    return _draw_best(draw, measure_imbalance, of_strata, [repeat])[_number_groups(groups)]


def draw_validation(groups: Integers, strata: Integers, classes: Integers, share: float, seed: list[int]) -> Booleans:
    """Return for each image whether it is to validate: about `share` of each stratum, and of each class one group.

    No group is torn. Of a class of too few groups it may take all.
    """
    held, of_class = _count_by_group(groups, strata), _count_by_group(groups, classes) > 0
    wanted, scale = share * held.sum(0), held.sum(0)

    def draw(rng: np.random.Generator) -> Integers:
        order, taken, filled = rng.permutation(len(held)), np.zeros(len(held), np.int64), np.zeros(held.shape[1])
        for group in order:
            before, after = ((((filled + more - wanted) / scale) ** 2).sum() for more in (0, held[group]))
            if after < before:
                taken[group], filled = 1, filled + held[group]
        for label in np.flatnonzero(~of_class[taken == 1].any(0)):
            taken[next(group for group in order if of_class[group, label])] = 1
        return taken

    def measure_imbalance(taken: Integers) -> float:
        missed = float((np.abs(held[taken == 1].sum(0) - wanted) / scale).max())
        return missed + float((~of_class[taken == 0].any(0)).sum())  # a class that cannot be trained on is worst

    taken: Booleans = _draw_best(draw, measure_imbalance, held, seed)[_number_groups(groups)] == 1
    return taken


def _draw_best(
    draw: Callable[[np.random.Generator], Integers],
    measure_imbalance: Callable[[Integers], float],
    held: Integers,
    seed: list[int],
) -> Integers:
    """Return the draw of least imbalance: of many, or the first below 1 where each group lies within one stratum."""
    pure = bool(((held > 0).sum(1) == 1).all())
    draws = min(DRAWS, max(1, PLACED_AT_MOST // len(held)))
    best = draw(np.random.default_rng([*seed, 0]))
    least = measure_imbalance(best)
    for number in range(1, draws):
        if pure and least < 1:
            break
        drawn = draw(np.random.default_rng([*seed, number]))
        if (imbalance := measure_imbalance(drawn)) < least:
            best, least = drawn, imbalance
    return best


def _count_by_group(groups: Integers, values: Integers) -> Integers:
    """Return how many images of each value each group holds, groups x values."""
    counted = np.zeros((len(np.unique(groups)), int(values.max()) + 1), dtype=np.int64)
    np.add.at(counted, (_number_groups(groups), values), 1)
    return counted[:, counted.any(0)]


def _number_groups(groups: Integers) -> Integers:
    return np.asarray(np.unique(groups, return_inverse=True)[1], dtype=np.int64)


def count_groups_needed(folds: int) -> int:
    """Return how many groups a class must have, so that each replicate can train on it and validate it.

    Two folds may test two of three groups at once, and leave one for two ends.
    """
    return 4 if folds == 2 else 3


def encode_values(values: Iterable[object]) -> Integers:
    """Return the values as integers 0, 1, ... in the order in which they first appear."""
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values], dtype=np.int64)
