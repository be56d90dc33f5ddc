"""Advice: the cheapest plan that is not worse than any other by more than a margin, and what it would take to know."""

from dataclasses import dataclass

import numpy as np

from frostline.stats.intervals import NO_WIDTH, Interval, Measured, compute_half_width

MOST_SEEDS = 1_000
MOST_TIMES = 1_000


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
    """What advice is drawn from: the options, what was measured of them on validation and on test, and on how much.

    `margin` is a share (0.01 is one accuracy point); `cost` names the cost; `train_images` is a seed's, `images` all.
    With `several_sizes` the plans are shown different shares of the training images.
    """

    options: list[Option]
    validation: Measured
    test: Measured
    seeds: int
    margin: float
    cost: str
    train_images: int
    images: int
    several_sizes: bool = False


@dataclass(frozen=True)
class Choice:
    """What validation chose: a run, the run that it is held against, and whether validation shows it good enough."""

    run: int
    against: int
    good_enough: bool


@dataclass(frozen=True)
class Needed:
    """How many seeds in all, or images in all, would settle a question; None where no number of them would alone."""

    seeds: int | None
    images: int | None


def choose(study: Study) -> Choice:
    """Return the cheapest run that validation shows to be not worse than any other by more than the margin.

    Where it shows that of none, the run of the best mean validation accuracy. Test has no say in it.
    """
    runs = range(len(study.options))
    costs = [option.cost for option in study.options]
    accuracies = [study.validation.figures[run]["accuracy"].estimate for run in runs]
    best = min(runs, key=lambda run: (-accuracies[run], costs[run]))
    for run in sorted(runs, key=lambda run: (costs[run], -accuracies[run])):
        if is_not_worse(study.validation, run, study):
            return Choice(run, find_rival(study.validation, run, study) if run == best else best, good_enough=True)
    return Choice(best, find_rival(study.validation, best, study), good_enough=False)


def is_not_worse(measured: Measured, run: int, study: Study) -> bool:
    """Return whether the run is shown to be not worse than any other by more than the margin, at 95 %."""
    others = [other for other in range(len(study.options)) if other != run]
    return all(measured.get_difference(run, other).low >= -study.margin for other in others)


def find_rival(measured: Measured, run: int, study: Study) -> int:
    """Return the run that may be furthest above this one (the run itself where it is alone)."""
    others = [other for other in range(len(study.options)) if other != run]
    return min(others, key=lambda other: measured.get_difference(run, other).low, default=run)


def find_cheapest_open(study: Study, choice: Choice) -> int:
    """Return the cheapest run that on validation lies within the margin of the best one, though not surely."""
    runs = sorted(range(len(study.options)), key=lambda run: study.options[run].cost)
    near = [
        r for r in runs if r == choice.run or study.validation.get_difference(r, choice.run).estimate > -study.margin
    ]
    return near[0]


def estimate_needed(study: Study, open_: Interval) -> Needed:
    """Return how many seeds or images in all would make the interval leave out minus the margin, if its middle held.

    Then it lies above, and the run is good enough, or below, and it is too bad.
    """
    gap = open_.estimate + study.margin
    arm = open_.estimate - open_.low if gap > 0 else open_.high - open_.estimate
    room, now = abs(gap), compute_half_width(open_.spread, study.seeds)
    if not room:
        return Needed(None, None)
    if now < NO_WIDTH:  # nothing varied: the interval is the exact binomial one, which shrinks as images grow
        return Needed(None, _round_up(arm / room * study.images))
    least = room * now / arm  # the same part of it may lie on this side
    seeds = next((n for n in range(study.seeds + 1, MOST_SEEDS) if compute_half_width(open_.spread, n) <= least), None)
    times = np.geomspace(1, MOST_TIMES, 400)[1:]
    enough = (float(count) for count in times if compute_half_width(open_.spread, study.seeds, float(count)) <= least)
    factor = next(enough, None)
    return Needed(seeds, None if factor is None else _round_up(factor * study.images))


def _round_up(images: float) -> int:
    """Return the number with two significant digits: it is an estimate."""
    unit = 10 ** max(0, len(str(int(images))) - 2)
    return int(-(-images // unit) * unit)
