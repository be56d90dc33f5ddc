"""The decision: always one plan, with the probability that it is good enough, and what it gives up on average.

Which plan is best is not known, so that a plan is judged in draws of what the plans' true means may be: multivariate t
about what was found. A plan's shortfall in a draw is how far it lies below the best of that draw.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from frostline.answer.estimator import Estimate
from frostline.answer.outcomes import Floats

SURE, LIKELY = 0.95, 0.80
DRAWS = 20_000
"""The standard error of a probability of 0.95 is 0.0015 with so many."""
MOST_REPEATS = 20
"""More of them are not foreseen: nobody would wait for them."""


@dataclass(frozen=True)
class Decision:
    """The advised plan's place, and for each plan the probability to be within the margin of the best, and shortfall.

    `resolution` is the smallest margin at which the plan that is then advised would be advised as sure. Shortfalls,
    margin and resolution are in the metric's own unit (0.01 is one accuracy point).
    """

    plan: int
    probabilities: Floats
    shortfalls: Floats
    resolution: float

    @property
    def probability(self) -> float:
        """The probability that the advised plan is within the margin of the best."""
        return float(self.probabilities[self.plan])

    @property
    def expected_shortfall(self) -> float:
        """By how much the advised plan lies below the best one, on average."""
        return float(self.shortfalls[self.plan])

    @property
    def confidence(self) -> str:
        """The probability as a word: "sure", "likely" or "leaning"."""
        return "sure" if self.probability >= SURE else "likely" if self.probability >= LIKELY else "leaning"


def decide(found: Estimate, costs: Floats, margin: float) -> Decision:
    """Return the cheapest plan that gives up at most half the margin on average; if there is none, that of the least.

    `costs` are the plans', in any unit. Of plans that cost the same the one that gives up less is taken.
    """
    drawn = draw_shortfalls(found)
    shortfalls, probabilities = drawn.mean(1), (drawn <= margin).mean(1)
    return Decision(choose(shortfalls, costs, margin), probabilities, shortfalls, find_resolution(drawn, costs))


def choose(shortfalls: Floats, costs: Floats, margin: float) -> int:
    """Return the place of the plan that is advised by the plans' expected shortfalls."""
    enough = [place for place, shortfall in enumerate(shortfalls) if shortfall <= margin / 2]
    if not enough:
        return int(np.argmin(shortfalls))
    return min(enough, key=lambda place: (costs[place], shortfalls[place]))


def draw_shortfalls(found: Estimate, draws: int = DRAWS) -> Floats:
    """Return how far each plan lies below the best of each draw, plans x draws. The same estimate gives the same."""
    means = found.means[:, None] + draw_deviations(found, draws)
    shortfalls: Floats = means.max(0) - means
    return shortfalls


def draw_deviations(found: Estimate, draws: int = DRAWS) -> Floats:
    """Return draws of how far the plans' true means may lie from what was found, plans x draws."""
    rng, plans = np.random.default_rng(0), len(found.means)
    values, vectors = np.linalg.eigh(found.covariance)
    normal = (vectors * np.sqrt(np.maximum(values, 0))) @ rng.standard_normal((plans, draws))
    degrees = found.count_degrees(np.eye(plans) - 1 / plans)  # of what plans do not share
    deviations: Floats = normal * np.sqrt(degrees / rng.chisquare(degrees, draws))
    return deviations


def find_resolution(drawn: Floats, costs: Floats) -> float:
    """Return the smallest margin at which the plan that is then advised is within it in 95 % of the draws.

    The advised plan changes only where the margin is twice a plan's expected shortfall, so that between two of these
    margins one plan is held against its own 95 % quantile.
    """
    shortfalls, reach = drawn.mean(1), np.quantile(drawn, SURE, axis=1)
    turns = [0.0, *sorted(2 * shortfalls), np.inf]
    for low, high in pairwise(turns):
        at = max(low, float(reach[choose(shortfalls, costs, low)]))
        if at < high:
            return float(at)
    raise AssertionError("beyond the last turn every margin is tried")


def foresee(found: Estimate, repeats: int) -> Iterator[tuple[int, Estimate]]:
    """Yield what would be found with more repeats than so many there are, up to 20 of them, if the means stayed."""
    folds = found.replicates // repeats
    for more in range(repeats + 1, MOST_REPEATS + 1):
        yield more, found.foresee(folds * more)


def count_repeats_needed(found: Estimate, repeats: int, costs: Floats, margin: float) -> int | None:
    """Return how many repeats in all would make the advice sure if the means stayed; None where 20 would not.

    There are `repeats` of them now.
    """
    return next(
        (more for more, then in foresee(found, repeats) if decide(then, costs, margin).confidence == "sure"),
        None,
    )
