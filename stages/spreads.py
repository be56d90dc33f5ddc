"""Spreads: where the luck in a mean over seeds and images comes from, and how much of it more of both would leave."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.stats import t

from stages.metrics import Floats

TAIL = 0.025
"""What an interval of 95 % leaves out on each side."""


class Spread(Protocol):
    """Where the luck in a quantity comes from."""

    def error(self, seeds: int, times_images: float = 1.0) -> tuple[float, float]:
        """Return the variance of the mean, and its degrees of freedom, with so many seeds and times as many images."""


@dataclass(frozen=True)
class Redrawn:
    """Seeds that draw their own splits of the same images, so that what they find is not independent.

    Nadeau and Bengio (2003): the variance of the mean is (1 / seeds + scored / trained on) times that over seeds.
    `variance` is over seeds; `overlap` is images scored over images trained on.
    """

    variance: float
    overlap: float

    def error(self, seeds: int, times_images: float = 1.0) -> tuple[float, float]:
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

    def error(self, seeds: int, times_images: float = 1.0) -> tuple[float, float]:
        """Return variance and degrees of freedom."""
        groups = self.groups * times_images
        if seeds == 1:
            return (self.image + self.both) / groups, groups - 1
        squares = np.array([groups * self.seed + self.both, seeds * self.image + self.both, self.both])
        degrees = np.array([seeds - 1, groups - 1, (seeds - 1) * (groups - 1)])
        variance = float(squares @ [1, 1, -1]) / (seeds * groups)
        uncertainty = float((squares**2 / degrees).sum()) / (seeds * groups) ** 2
        return variance, variance**2 / uncertainty if uncertainty else float(degrees[0])


def crossed(values: Floats) -> Crossed:
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


def half_width(spread: Spread, seeds: int, times_images: float = 1.0) -> float:
    """Return half the width of the 95 % interval of Student's t."""
    variance, degrees = spread.error(seeds, times_images)
    return float(t.ppf(1 - TAIL, degrees)) * float(np.sqrt(variance))
