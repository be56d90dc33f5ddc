"""Stopping: which plans can no longer be advised in a race, and how a plan that stopped counts among the others."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from frostline.answer.decision import choose, draw_deviations
from frostline.answer.estimator import estimate
from frostline.answer.outcomes import Floats, Integers, Outcomes

LEAST_CHANCE = 0.01
"""A plan stops when the probability that it is advised in the end is lower."""
ENDS, DRAWS = 2_000, 500
"""How often the end of the race is drawn, and the plans' true means at each end."""


def find_chances(outcomes: Outcomes, costs: Floats, margin: float, replicates: int, share: float) -> Floats:
    """Return each plan's probability of being advised at the end of the race, after so many replicates in all.

    `outcomes` are of the replicates so far, two at least, which tested that `share` of the images. What the others will
    find is drawn from what is known of the plans (the predictive distribution of their means), and advice from that as
    it would be. So few replicates say little of the luck of training, to which one standard error is added.
    """
    found, had = estimate(outcomes), outcomes.replicates
    unsure = np.sqrt(2 / (had - 1)) * np.atleast_2d(np.cov(outcomes.by_replicate))
    of_training = (1 - had / replicates) * (found.of_training + unsure)
    to_come = replace(found, of_images=(1 - share) * found.of_images, of_training=of_training)
    at_end = replace(found, of_images=share * found.of_images, replicates=replicates)
    deviations = draw_deviations(at_end, DRAWS)
    advised = np.zeros(len(found.means))
    for ends in (found.means[:, None] + draw_deviations(to_come, ENDS)).T:
        means = ends[:, None] + deviations
        advised[choose((means.max(0) - means).mean(1), costs, margin)] += 1
    return advised / ENDS


def join_stopped(going: Outcomes, early: Outcomes, member: Integers) -> Outcomes:
    """Return the outcomes of the plans that went on, and after them of those that stopped.

    `early` is of the replicates that these had: the plans that went on first, in the same order. `member` gives each
    of its groups its number in `going`. A plan that stopped counts as the mean of those that went on, on all images,
    and how it differed from that where it was tested; that difference is as unsure as so few images and replicates
    leave it.
    """
    count, all_groups = len(going.pooled), going.groups
    difference = _compare(early.pooled, count).mean(1)
    without = np.repeat(difference[:, None], all_groups, axis=1)
    without[:, member] = _compare(early.without, count).mean(1)
    had, of_all = early.replicates, going.replicates
    of_replicates = _compare(early.by_replicate, count)
    middle = of_replicates.mean(1, keepdims=True)
    by_replicate = np.repeat(middle, of_all, axis=1)
    widened = np.sqrt(of_all * (of_all - 1) / (had * (had - 1)))  # so that their mean is as unsure as that of so few
    by_replicate[:, :had] += widened * (of_replicates - middle)

    def pool(draws: Floats) -> Floats:
        pooled, then = going.pool(draws), _compare(early.pool(draws[:, member]), count)
        then = np.where(np.isfinite(then), then, difference[:, None])  # where none of its images was drawn
        return np.concatenate([pooled, pooled.mean(0) + then])

    return replace(
        going,
        pooled=np.concatenate([going.pooled, going.pooled.mean(0) + difference[:, None]]),
        by_replicate=np.concatenate([going.by_replicate, going.by_replicate.mean(0) + by_replicate]),
        without=np.concatenate([going.without, going.without.mean(0) + without[:, None]]),
        pool=pool,
    )


def _compare(figures: Floats, count: int) -> Floats:
    """Return how each plan but the first so many differs from their mean."""
    difference: Floats = figures[count:] - figures[:count].mean(0)
    return difference


def pick(outcomes: Outcomes, plans: Sequence[int]) -> Outcomes:
    """Return the outcomes of these plans, in this order."""
    places = list(plans)

    def pool(draws: Floats) -> Floats:
        pooled: Floats = outcomes.pool(draws)[places]
        return pooled

    return replace(
        outcomes,
        pooled=outcomes.pooled[places],
        by_replicate=outcomes.by_replicate[places],
        without=outcomes.without[places],
        pool=pool,
    )
