"""Significance: whether the difference between two plans could be the luck of the seeds."""

import numpy as np
from scipy.stats import permutation_test, t

from frostline.stats.intervals import NO_WIDTH, Interval
from frostline.stats.metrics import Floats

LEVEL = 0.05
EXACT_UP_TO = 99_999
"""Sign patterns that are all looked at (16 seeds); of more, as many are drawn."""


def compute_pair_p(differences: Floats, found: Interval) -> float | None:
    """Return the two-sided p-value of a pair's differences, one for each seed; None for one seed.

    It is the larger of two, each of which sees what the other does not, so that both must be small. Flipping signs
    takes no normal distribution, but takes seeds for independent; Student's t, as in the pair's interval, covers the
    images and the overlap of redrawn splits as well.
    """
    flipped = compute_sign_flip_p(differences)
    return None if flipped is None else max(flipped, compute_student_p(found, len(differences)))


def compute_student_p(found: Interval, seeds: int) -> float:
    """Return the two-sided p-value of Student's t with the interval's variance and degrees of freedom."""
    variance, degrees = found.spread.estimate_error(seeds)
    if variance < NO_WIDTH**2:
        return 1.0 if abs(found.estimate) < NO_WIDTH else 0.0
    return float(2 * t.sf(abs(found.estimate) / np.sqrt(variance), degrees))


def compute_sign_flip_p(differences: Floats) -> float | None:
    """Return the two-sided p-value of paired differences, one for each seed; None for one seed.

    If two plans were as good as each other, each seed's difference might as well have had the other sign: the p-value
    is the share of sign patterns with a mean at least as far from 0, of all patterns up to 16 seeds and of 99,999 drawn
    ones beyond (Fisher 1935, The Design of Experiments). It takes
    no normal distribution and, unlike McNemar's test on the images of a seed, it asks about the plans and not about
    the models that these seeds happened to train.
    """
    if len(differences) < 2:
        return None
    # scipy flips the sign of a difference by exchanging the two of a pair.
    pairs = (differences, np.zeros(len(differences)))
    tested = permutation_test(
        pairs, _average_difference, permutation_type="samples", n_resamples=EXACT_UP_TO, vectorized=True,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(tested.pvalue)


def _average_difference(one: Floats, other: Floats, axis: int = -1) -> Floats:
    # Rounded, so that patterns whose means are equal count as equal, whatever the order in which they were added up.
    mean: Floats = np.round((one - other).mean(axis=axis), 12)
    return mean


def find_smallest_p(seeds: int) -> float:
    """Return the smallest p-value that so many seeds can reach: all differences of one sign."""
    patterns = 2**seeds
    return float(min(1.0, 2 / min(patterns, EXACT_UP_TO + 1)))


def count_seeds_needed(pairs: int) -> int:
    """Return how many seeds it takes for one of so many pairs to be significant after Holm's correction."""
    return next(seeds for seeds in range(2, 64) if 2 / 2**seeds * pairs <= LEVEL)


def correct_by_holm(p_values: list[float | None]) -> list[float | None]:
    """Return the p-values of a family of tests, made larger so that even one false claim stays unlikely (Holm 1979)."""
    given = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(given):
        largest = max(largest, min(1.0, p * (len(given) - rank)))
        corrected[place] = largest
    return corrected
