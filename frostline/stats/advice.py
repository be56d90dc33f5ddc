"""Advice: the plan to take, how sure that is, what it costs, and what would make it surer."""

from dataclasses import dataclass

import numpy as np

from frostline.answer.after_choice import estimate_after_choice
from frostline.answer.decision import Decision, count_repeats_needed, decide, draw_shortfalls, find_resolution
from frostline.answer.estimator import Estimate, Interval, estimate
from frostline.answer.outcomes import Outcomes


@dataclass(frozen=True)
class Option:
    """A plan on a backbone as advice speaks of it.

    `named` is its name in tables, `depth` what to do ("unfreeze from stage4"), `learns` "head", "parts" or "all" (of
    pretrained weights, "scratch" of random ones, or "other"), and `cost` what it costs, in the cost's own unit.
    """

    named: str
    depth: str
    learns: str
    cost: float
    backbone: str


@dataclass(frozen=True)
class Study:
    """What advice is drawn from: the options and what they came to, in a metric of which more is better.

    `margin` is in the metric's own unit (0.01 is one accuracy point); `metric` and `cost` are names; `repeat_seconds`
    is what one more repeat of all plans takes; `by_chance` are the outcomes of one who always names the commonest
    class; `train_images` is a replicate's. With `several_sizes` the plans are shown different shares of the training
    images.
    """

    options: list[Option]
    outcomes: Outcomes
    by_chance: Outcomes
    metric: str
    margin: float
    cost: str
    repeat_seconds: float
    train_images: int
    several_sizes: bool = False


@dataclass(frozen=True)
class Advised:
    """A study's decision and all that is told of it.

    `repeats_needed` is how many repeats in all would make it sure, None where it is, or where no number of them would;
    `finest` the finest margin that any number of repeats could settle with these images. `chance` is by how much the
    advised plan is better than always naming the commonest class.
    """

    decision: Decision
    found: Estimate
    repeats: int
    repeats_needed: int | None
    finest: float
    after_choice: float
    chance: Interval

    @property
    def plan(self) -> int:
        """The place of the advised plan."""
        return self.decision.plan

    @property
    def is_sure(self) -> bool:
        """Whether nothing more is needed."""
        return self.decision.confidence == "sure"


def decide_study(study: Study) -> Advised:
    """Return the decision of the study, and what more repeats would make of it."""
    costs = np.array([option.cost for option in study.options], dtype=np.float64)
    found, repeats = estimate(study.outcomes), study.outcomes.repeats
    decision = decide(found, costs, study.margin)
    sure = decision.confidence == "sure"
    return Advised(
        decision=decision,
        found=found,
        repeats=repeats,
        repeats_needed=None if sure else count_repeats_needed(found, repeats, costs, study.margin),
        finest=find_resolution(draw_shortfalls(found.foresee(FOREVER)), costs),
        after_choice=estimate_after_choice(study.outcomes, found, costs, study.margin),
        chance=compare_with_chance(study, decision.plan),
    )


FOREVER = 10**9
"""Replicates of which none is left to luck."""


def compare_with_chance(study: Study, plan: int) -> Interval:
    """Return by how much the plan scores more than always naming the commonest class."""
    mine, chance = study.outcomes, study.by_chance

    def beside(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.concatenate([one[[plan]], other])

    both = Outcomes(
        beside(mine.pooled, chance.pooled),
        beside(mine.by_replicate, chance.by_replicate),
        beside(mine.without, chance.without),
        mine.pool,
        mine.images,
    )
    return estimate(both).get_difference(0, 1)
