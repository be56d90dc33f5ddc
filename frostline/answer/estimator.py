"""The estimator: how well each plan does on new images of the same kind, and how sure that is.

One for cross-validation and for official splits. Luck has two causes: which images there are (`images`), and how a
training came out on them (`training`). Nobody can estimate the variance of a cross-validation without bias (Bengio and
Grandvalet 2004); this sum of the two holds what it says in simulated studies of known truth (docs/statistics).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import stdtr, stdtrit  # scipy.stats takes a second to import, and has the same functions

from frostline.answer.outcomes import Floats, Outcomes

LEVEL = 0.05
"""What an interval leaves out, on both sides together."""


@dataclass(frozen=True)
class Interval:
    """A figure with its interval of 95 %."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """The plans' means, and the covariances (plans x plans) of what luck made of them.

    `of_images`: of the images that there are, from G groups. `of_training`: of one replicate's training, from so many
    replicates; of their mean it is that divided by their number.
    """

    means: Floats
    of_images: Floats
    of_training: Floats
    groups: int
    replicates: int

    @cached_property
    def covariance(self) -> Floats:
        """The covariance of the means."""
        return self.of_images + self.of_training / self.replicates

    def count_degrees(self, contrasts: Floats) -> float:
        """Return the degrees of freedom of one weighted sum of the means, or of several (Satterthwaite 1946)."""
        weights = np.atleast_2d(contrasts)
        of_images = float(np.trace(weights @ self.of_images @ weights.T))
        of_training = float(np.trace(weights @ self.of_training @ weights.T)) / self.replicates
        uncertainty = of_images**2 / (self.groups - 1) + of_training**2 / max(1, self.replicates - 1)
        return (of_images + of_training) ** 2 / uncertainty if uncertainty else float(self.groups - 1)

    def find_interval(self, contrast: Floats) -> Interval:
        """Return a weighted sum of the means with its interval by Student's t."""
        middle, variance = float(contrast @ self.means), float(contrast @ self.covariance @ contrast)
        half = float(stdtrit(self.count_degrees(contrast), 1 - LEVEL / 2)) * float(np.sqrt(variance))
        return Interval(middle, middle - half, middle + half)

    def get_mean(self, plan: int) -> Interval:
        """Return the plan's mean."""
        return self.find_interval(np.eye(len(self.means))[plan])

    def get_difference(self, plan: int, other: int) -> Interval:
        """Return by how much the one plan scores more than the other."""
        ones = np.eye(len(self.means))
        return self.find_interval(ones[plan] - ones[other])

    def compute_p(self, plan: int, other: int) -> float:
        """Return the two-sided p-value of the difference between two plans (Student's t)."""
        contrast = np.eye(len(self.means))[plan] - np.eye(len(self.means))[other]
        error = float(np.sqrt(contrast @ self.covariance @ contrast))
        return float(2 * stdtr(self.count_degrees(contrast), -abs(float(contrast @ self.means)) / error))

    def pick(self, plans: Sequence[int]) -> "Estimate":
        """Return what was found of these plans alone."""
        both = np.ix_(plans, plans)
        return replace(
            self, means=self.means[list(plans)], of_images=self.of_images[both], of_training=self.of_training[both]
        )

    def foresee(self, replicates: int) -> "Estimate":
        """Return the estimate as it would be with so many replicates, if their mean stayed what it is."""
        return replace(self, replicates=replicates)


def estimate(outcomes: Outcomes) -> Estimate:
    """Return what the outcomes say of the plans.

    The luck of images is a jackknife over groups of what all repeats find together (for a mean over images and groups
    of one size, the covariance of the groups' sums). That of training is the covariance of the replicates, less what
    their own images explain of it, which is the folds' number times the whole's; what is negative there is luck, and
    set to 0. With official splits all replicates test the same images, which explain nothing of it.
    """
    means = outcomes.pooled.mean(1)
    of_images = _jackknife(outcomes.without.mean(1))
    of_images += np.eye(len(means)) / (2 * outcomes.images * outcomes.groups)
    of_training = np.zeros_like(of_images)
    if outcomes.replicates > 1:
        of_training = np.atleast_2d(np.cov(outcomes.by_replicate))
        if outcomes.folds > 1:
            alone = [_jackknife(outcomes.without[:, repeat]) for repeat in range(outcomes.repeats)]
            of_training = of_training - outcomes.folds * np.mean(alone, axis=0)
    return Estimate(means, of_images, _drop_negative(of_training), outcomes.groups, outcomes.replicates)


def _jackknife(without: Floats) -> Floats:
    """Return the covariance of plans (plans x groups: a figure with each group left out in turn)."""
    groups = without.shape[1]
    deviations = without - without.mean(1, keepdims=True)
    covariance: Floats = (groups - 1) / groups * deviations @ deviations.T
    return covariance


def _drop_negative(covariance: Floats) -> Floats:
    """Return the nearest covariance: its negative eigenvalues are set to 0."""
    values, vectors = np.linalg.eigh(covariance)
    nearest: Floats = (vectors * np.maximum(values, 0)) @ vectors.T
    return nearest
