"""Racing: which learning rates and plans stop early, by what validation has shown of them so far.

Two rules, after Jamieson and Talwalkar 2016 (successive halving). Of a plan's learning rates the better half goes on:
after half of the first seed's epochs, at its end, and whenever the seeds have doubled, until one is left. A plan stops
when a cheaper one is shown to be not worse than it by more than the margin, at 90 %: it can no longer be advised, and
no longer decides. The two plans that are most accurate so far never stop, so that the advice has a rival to meet. A
plan whose suffix computes next to nothing beside the dearest one's is spared: all its rates get all seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from stages.vocabulary import Rates

CONFIDENCE = 0.9
"""How sure a plan must be seen to be no better, on one side, before it stops."""


@dataclass(frozen=True)
class Standing:
    """A plan in the race: what it has cost so far, and which validation images of each seed it names rightly.

    `hits` holds 1 or 0 for each seed and image, seed after seed; `groups` which images belong together.
    """

    name: str
    cost: float
    hits: NDArray[np.int64]


@dataclass(frozen=True)
class Stop:
    """Why a plan stops: by how much a cheaper one is better (share of images), and how little that may be at 90 %."""

    against: str
    difference: float
    least: float


def rungs(seeds: int) -> list[int]:
    """Return after how many seeds standings are compared: 1, 2, 4 and so on, the last being all of them."""
    return [count for count in (2**power for power in range(seeds.bit_length())) if count < seeds] + [seeds]


def better_half(losses: Mapping[Rates, float]) -> list[Rates]:
    """Return the half of the rates (rounded up) with the lower validation loss, in the order in which they came."""
    finite = {rates: loss if isfinite(loss) else inf for rates, loss in losses.items()}
    kept = sorted(finite, key=lambda rates: finite[rates])[: (len(finite) + 1) // 2]
    return [rates for rates in losses if rates in kept]


def find_stops(standings: Sequence[Standing], groups: NDArray[np.int64], margin: float) -> dict[str, Stop]:
    """Return which plans stop, and why; `groups` says of each entry of their hits which belong together.

    `margin` is a share of images. A plan stops only because of one that goes on itself.
    """
    leaders = {each.name for each in sorted(standings, key=lambda each: (-each.hits.mean(), each.cost))[:2]}
    stops: dict[str, Stop] = {}
    going_on: list[Standing] = []
    for each in sorted(standings, key=lambda each: each.cost):
        found = [not_worse(other, each, groups, margin) for other in going_on if other.cost < each.cost]
        reasons = [stop for stop in found if stop is not None]
        if reasons and each.name not in leaders:
            stops[each.name] = max(reasons, key=lambda stop: stop.least)
        else:
            going_on.append(each)
    return stops


def not_worse(cheaper: Standing, dearer: Standing, groups: NDArray[np.int64], margin: float) -> Stop | None:
    """Return how the cheaper plan stands to the dearer one, if it is shown to be not worse by more than the margin.

    Images are paired, and those of a group may be alike, so that groups are what is counted (a cluster-robust standard
    error); what other seeds would do is left to the rounds that are to come.
    """
    differences = (cheaper.hits - dearer.hits).astype(np.float64)
    mean = float(differences.mean())
    _, member = np.unique(groups, return_inverse=True)
    of_group = np.bincount(member, weights=differences - mean)
    count = len(of_group)
    error = float(np.sqrt((of_group**2).sum() * count / max(count - 1, 1))) / len(differences)
    least = mean - NormalDist().inv_cdf(CONFIDENCE) * error
    return Stop(cheaper.name, mean, least) if count > 1 and least > -margin else None
