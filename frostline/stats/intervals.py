"""Spreads: where the luck in a mean over seeds and images comes from, and how much of it more of both would leave."""

import warnings
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, t

from frostline.stats.metrics import METRICS, Floats, Scored, compute_seed_values, leave_each_out

TAIL = 0.025
"""What an interval of 95 % leaves out on each side."""


class Spread(Protocol):
    """Where the luck in a quantity comes from."""

    def estimate_error(self, seeds: int, times_images: float = 1.0) -> tuple[float, float]:
        """Return the variance of the mean, and its degrees of freedom, with so many seeds and times as many images."""


@dataclass(frozen=True)
class Redrawn:
    """Seeds that draw their own splits of the same images, so that what they find is not independent.

    Nadeau and Bengio (2003): the variance of the mean is (1 / seeds + scored / trained on) times that over seeds.
    `variance` is over seeds; `overlap` is images scored over images trained on.
    """

    variance: float
    overlap: float

    def estimate_error(self, seeds: int, times_images: float = 1.0) -> tuple[float, float]:
        """Return variance and degrees of freedom; more images make the variance of each seed smaller."""
        return (1 / seeds + self.overlap) * self.variance / times_images, seeds - 1


@dataclass(frozen=True)
class Crossed:
    """All seeds scored on the same images: variances of seeds, of groups of images, and of both together.

    Estimated by a two-way analysis of variance; degrees of freedom by Satterthwaite (1946).
    """

    seed: float
    image: float
    both: float
    groups: int

    def estimate_error(self, seeds: int, times_images: float = 1.0) -> tuple[float, float]:
        """Return variance and degrees of freedom."""
        groups = self.groups * times_images
        if seeds == 1:
            return (self.image + self.both) / groups, groups - 1
        squares = np.array([groups * self.seed + self.both, seeds * self.image + self.both, self.both])
        degrees = np.array([seeds - 1, groups - 1, (seeds - 1) * (groups - 1)])
        variance = float(squares @ [1, 1, -1]) / (seeds * groups)
        uncertainty = float((squares**2 / degrees).sum()) / (seeds * groups) ** 2
        return variance, variance**2 / uncertainty if uncertainty else float(degrees[0])


def split_variance(values: Floats) -> Crossed:
    """Return the variances in a table of seeds x groups."""
    seeds, groups = values.shape
    mean, of_seed, of_group = values.mean(), values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    image_square = seeds * ((of_group - mean) ** 2).sum() / (groups - 1)
    if seeds == 1:
        return Crossed(0.0, float(image_square), 0.0, groups)
    seed_square = groups * ((of_seed - mean) ** 2).sum() / (seeds - 1)
    rest = ((values - of_seed - of_group + mean) ** 2).sum() / ((seeds - 1) * (groups - 1))
    seed, image = max(0.0, (seed_square - rest) / groups), max(0.0, (image_square - rest) / seeds)
    return Crossed(float(seed), float(image), float(rest), groups)


def compute_half_width(spread: Spread, seeds: int, times_images: float = 1.0) -> float:
    """Return half the width of the 95 % interval of Student's t."""
    variance, degrees = spread.estimate_error(seeds, times_images)
    return float(t.ppf(1 - TAIL, degrees)) * float(np.sqrt(variance))


RESAMPLES = 4_999
AT_ONCE = 250
"""Resamples that are computed together: memory grows with it."""
LOPSIDED = (1 / 3, 2 / 3)
"""The share of an interval that may lie below its estimate. BCa would believe four seeds that all of it lies above."""
MOST = {"negative_log_likelihood": np.inf}
"""The most that a metric can be, where that is not 1."""
LEAST_LUCK = 0.25
"""The least that the variance over seeds can be of what a seed's images alone make: Student's t allows for a variance
that came out small by chance, but not for none."""
NO_WIDTH = 1e-9
"""Widths below it are the rounding of sums."""
ACCURACY = list(METRICS).index("accuracy")


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval, and where its luck comes from."""

    estimate: float
    low: float
    high: float
    spread: Spread


@dataclass(frozen=True)
class Measured:
    """A study's figures: each metric of each run, and each pair's difference in accuracy (first minus second).

    `draws` are accuracies that the study might as well have found, runs x draws.
    """

    figures: list[dict[str, Interval]]
    differences: dict[tuple[int, int], Interval]
    draws: Floats

    def get_difference(self, run: int, other: int) -> Interval:
        """Return how much more accurate the one run is than the other."""
        if run < other:
            return self.differences[run, other]
        found = self.differences[other, run]
        return Interval(-found.estimate, -found.high, -found.low, found.spread)


def measure(scored: Scored, resamples: int = RESAMPLES) -> Measured:
    """Return the figures of all runs on the split, with intervals that cover seeds (where several) and images."""
    per_seed = stack_quantities(compute_seed_values(scored, np.ones((1, scored.groups))))[..., 0]
    estimates = per_seed.mean(1)
    spreads = estimate_spreads(scored, per_seed)
    lows, highs, drawn = resample(scored, resamples)
    intervals = [shape_interval(*parts, scored) for parts in zip(estimates, lows, highs, spreads, strict=True)]
    count, pairs = len(METRICS), list(combinations(range(scored.runs), 2))
    figures = [
        {
            name: limit_interval(intervals[run * count + place], 0.0, MOST.get(name, 1.0))
            for place, name in enumerate(METRICS)
        }
        for run in range(scored.runs)
    ]
    between = [limit_interval(found, -1.0, 1.0) for found in intervals[scored.runs * count :]]
    differences = dict(zip(pairs, between, strict=True))
    accuracies = slice(ACCURACY, scored.runs * count, count)
    draws = widen_draws(estimates[accuracies], drawn[accuracies], list(differences.values()), scored.seeds)
    return Measured(figures, differences, draws)


def stack_quantities(values: Floats) -> Floats:
    """Return all that gets an interval, along the first axis, of metrics (runs x metrics x ...).

    First every metric of the first run, of the second and so on, then the pairs' differences in accuracy.
    """
    accuracies = values[:, ACCURACY]
    pairs = [accuracies[one] - accuracies[other] for one, other in combinations(range(len(values)), 2)]
    return np.concatenate([values.reshape(-1, *values.shape[2:]), *[pair[None] for pair in pairs]])


def resample(scored: Scored, resamples: int) -> tuple[Floats, Floats, Floats]:
    """Return the BCa bounds of all quantities, and their values in every resample (quantities x resamples).

    Where all resamples lie on one side of the estimate, or are alike, BCa has no bounds: then they are no numbers.
    """
    axes = [np.arange(scored.seeds), np.arange(scored.groups)]

    def statistic(*chosen: NDArray[Any], axis: int = -1) -> Floats:  # noqa: ARG001 - scipy asks for it
        *seeds, groups = (np.atleast_2d(draws).astype(int) for draws in chosen)
        values = stack_quantities(compute_seed_values(scored, count_draws(groups, scored.groups)))
        share = count_draws(seeds[0], scored.seeds).T if seeds else np.ones((1, len(groups)))
        share = np.where(np.isfinite(values), share, 0)
        means: Floats = (np.nan_to_num(values) * share).sum(1) / share.sum(1)
        return means if chosen[0].ndim > 1 else means[:, 0]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = bootstrap(
            axes if scored.seeds > 1 else axes[1:], statistic, n_resamples=resamples, batch=AT_ONCE, vectorized=True,
            rng=np.random.default_rng(0),
        )  # fmt: skip
    low, high = found.confidence_interval
    return low, high, found.bootstrap_distribution


def count_draws(chosen: NDArray[np.int64], among: int) -> Floats:
    """Return how often each of `among` things was chosen in each draw, draws x among."""
    rows = np.arange(len(chosen))[:, None] * among
    times: Floats = np.bincount((rows + chosen).ravel(), minlength=len(chosen) * among).astype(np.float64)
    return times.reshape(-1, among)


def estimate_spreads(scored: Scored, per_seed: Floats) -> list[Spread]:
    """Return where the luck of each quantity comes from."""
    if scored.redrawn:
        variances = np.maximum(per_seed.var(axis=1, ddof=1), LEAST_LUCK * estimate_image_variance(scored, per_seed))
        overlap = scored.images / scored.train_images
        return [Redrawn(float(variance), overlap) for variance in variances]
    left_out = np.stack(
        [stack_quantities(leave_each_out(scored.tallies, seed)) for seed in range(scored.seeds)], axis=1
    )
    # Jackknife pseudo-values: their mean over groups is the quantity, and what each group adds to it.
    pseudo = scored.groups * per_seed[..., None] - (scored.groups - 1) * left_out
    return [split_variance(values) for values in pseudo]


def estimate_image_variance(scored: Scored, per_seed: Floats) -> Floats:
    """Return the variance that a seed's own images alone make in each quantity (jackknife), as a mean over seeds.

    It is in the variance over seeds too, which for few seeds may come out as nothing where they agree by chance.
    Images count one by one: those that belong together make it larger, and the classes' fixed shares smaller.
    """
    luck = []
    for seed in range(scored.seeds):
        left_out = stack_quantities(leave_each_out(scored.singles, seed))
        luck.append(((left_out - per_seed[:, seed, None]) ** 2).sum(-1))
    return np.asarray(np.mean(luck, axis=0))


def shape_interval(estimate: float, low: float, high: float, spread: Spread, scored: Scored) -> Interval:
    """Return the interval that is as wide as Student's t, and as lopsided as the BCa bounds, within limits.

    Where nothing varied, neither over seeds nor over images, a share is as far off as an event may be common that was
    not seen in so many groups: the exact binomial bound.
    """
    half = compute_half_width(spread, scored.seeds)
    if half < NO_WIDTH:
        unseen = 1 - TAIL ** (1 / scored.groups)
        return Interval(estimate, estimate - unseen, estimate + unseen, spread)
    bounded = np.isfinite(low) and np.isfinite(high) and high > low
    below = float(np.clip((estimate - low) / (high - low), *LOPSIDED)) if bounded else 0.5
    return Interval(estimate, estimate - 2 * half * below, estimate + 2 * half * (1 - below), spread)


def limit_interval(found: Interval, least: float, most: float) -> Interval:
    """Return the interval within what its figure can be."""
    return Interval(found.estimate, max(least, float(found.low)), min(most, float(found.high)), found.spread)


def widen_draws(estimates: Floats, drawn: Floats, differences: list[Interval], seeds: int) -> Floats:
    """Return the resampled accuracies, spread about their estimates as widely as their differences really are."""
    if not differences:
        return drawn
    deviations = drawn - estimates[:, None]
    pairs = combinations(range(len(drawn)), 2)
    resampled_variance = np.mean([(deviations[one] - deviations[other]).var() for one, other in pairs])
    variance = np.mean([difference.spread.estimate_error(seeds)[0] for difference in differences])
    scale = np.sqrt(variance / resampled_variance) if resampled_variance else 1.0
    return np.clip(estimates[:, None] + scale * deviations, 0, 1)
