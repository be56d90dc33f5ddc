"""Splits: which image is train, validation or test for a seed."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupShuffleSplit, StratifiedShuffleSplit

from frostline.errors import InputError

Integers = NDArray[np.int64]
Names = NDArray[np.str_]
# Of ELPV's 44 blocks a random quarter can miss a stratum's share by far. The best of 200 draws missed the worst
# stratum by 3.2 percent points, the best of 1,000 by 2.0, in a tenth of a second (seeds 0 to 7).
DRAWS = 1000


def join_groups(blocks: Integers, contents: Integers) -> Integers:
    """Return a group for each image: images that share a block or a content, directly or by way of others."""
    images = np.arange(len(blocks))
    rows, columns = np.concatenate([images, images]), np.concatenate([blocks, contents + blocks.max() + 1])
    nodes = int(columns.max()) + 1
    shares = coo_array((np.ones(len(rows)), (rows, columns + len(images))), shape=(len(images) + nodes,) * 2)
    return np.asarray(connected_components(shares, directed=False)[1][: len(images)], dtype=np.int64)


def draw_splits(groups: Integers, strata: Integers, validation_share: float, test_share: float, seed: int) -> Names:
    """Return "train", "validation" or "test" for each image, drawn by seed.

    No group is torn, and each stratum (0, 1, ...) has about the same share everywhere. Where every group lies within
    one stratum, the groups are stratified exactly; where groups are mixed, the best balanced of many draws is taken.
    (scikit-learn's StratifiedGroupKFold gave the same folds for different seeds on such groups.)
    """
    splits = np.full(len(groups), "train", dtype="U10")
    everything = np.arange(len(groups))
    rest, test = _draw(everything, groups, strata, test_share, seed)
    _, validation = _draw(rest, groups, strata, validation_share / (1 - test_share), seed)
    splits[test], splits[validation] = "test", "validation"
    return splits


def _draw(rows: Integers, groups: Integers, strata: Integers, share: float, seed: int) -> tuple[Integers, Integers]:
    """Return the rows in two: what stays, and about `share` of each stratum, which is drawn."""
    _, first, group_of = np.unique(groups[rows], return_index=True, return_inverse=True)
    stratum_of = strata[rows][first]
    pure = bool((stratum_of[group_of] == strata[rows]).all())
    count = max(1, round(share * len(first)))
    try:
        if pure:
            drawn = _stratify(stratum_of, count, seed)
        else:
            drawn = _choose_best_balanced(group_of, strata[rows], share, count, seed)
    except ValueError:  # scikit-learn's, when a stratum or what stays would be empty
        must = f"have enough groups of images to draw {share:.0%} of them with every class"
        fix = "Add images, lower data.block_files, or use data.groups: none."
        raise InputError.of("data", must, f"only {len(first)}", fix) from None
    taken = np.isin(group_of, drawn)
    return rows[~taken], rows[taken]


def _stratify(stratum_of: Integers, count: int, seed: int) -> Integers:
    _, drawn = next(StratifiedShuffleSplit(1, test_size=count, random_state=seed).split(stratum_of, stratum_of))
    return np.asarray(drawn)


def _choose_best_balanced(group_of: Integers, strata: Integers, share: float, count: int, seed: int) -> Integers:
    """Return the groups of the draw that misses `share` least, in the stratum where it misses most of it."""
    wanted = np.bincount(strata) * share

    def measure_imbalance(drawn: Integers) -> float:
        missed = np.abs(np.bincount(strata[drawn], minlength=len(wanted)) - wanted)
        return float((missed / np.maximum(wanted, 1)).max())

    draws = GroupShuffleSplit(DRAWS, test_size=count, random_state=seed).split(strata, groups=group_of)
    best = min((drawn for _, drawn in draws), key=measure_imbalance)
    return np.unique(group_of[best])


def complete_official(
    official: Names, groups: Integers, strata: Integers, validation_share: float, test_share: float, seed: int
) -> Names:
    """Return the official splits; where they have no test or no validation, its share of train is drawn for it."""
    splits = official.astype("U10")  # room for "validation", where train and test alone need five letters
    for split, share in (("test", test_share), ("validation", validation_share)):
        if not (splits == split).any():
            train = np.flatnonzero(splits == "train")
            _, drawn = _draw(train, groups, strata, share, seed)
            splits[drawn] = split
    return splits


def encode_values(values: Iterable[object]) -> Integers:
    """Return the values as integers 0, 1, ... in the order in which they first appear."""
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values], dtype=np.int64)
