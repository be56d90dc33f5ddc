"""Measures: what every plan scores on the images that were tested, in each metric, and how sure that is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from frostline.answer.estimator import Estimate, Interval, estimate
from frostline.answer.outcomes import Floats, Integers, Outcomes, pool_tallies
from frostline.answer.stopping import join_stopped, pick
from frostline.errors import InputError
from frostline.stats.metrics import METRICS, has_top_5, tally

MOST = {"negative_log_likelihood": np.inf}
"""The most that a metric can be, where that is not 1."""
ADVISED_BY = {
    "accuracy": ("accuracy", 1),
    "balanced_accuracy": ("balanced_accuracy", 1),
    "macro_f1": ("macro_f1", 1),
    "nll": ("negative_log_likelihood", -1),
}
"""What `advice.metric` may name: the metric, and whether more of it is better."""


@dataclass(frozen=True)
class Tested:
    """What plans named the images that were tested.

    `tallies` has for each plan and repeat what `metrics.tally` returns, images x sums. `groups` (images) are 0, 1, ...;
    `folds` (repeats x images) say which fold of a repeat tested the image, and are all 0 with official splits.
    """

    tallies: list[list[csr_array]]
    groups: Integers
    folds: Integers
    stopped: list["Stopped"] = field(default_factory=list)

    def get_outcomes(self, metric: str) -> Outcomes:
        """Return the outcomes in one of METRICS, of those that a race stopped too, in the order of the plans."""
        outcomes, places = self.pool(metric), self.list_places()
        for stopped in self.stopped:
            outcomes = join_stopped(outcomes, stopped.tested.pool(metric), stopped.member)
        return pick(outcomes, np.argsort(places).tolist()) if self.stopped else outcomes

    def pool(self, metric: str) -> Outcomes:
        """Return the outcomes of the plans that were tested in every replicate."""
        return pool_tallies(self.tallies, self.groups, self.folds, METRICS[metric])

    def list_places(self) -> list[int]:
        """Return the places of all plans in the study: of those that were tested in every replicate first."""
        late = [place for stopped in self.stopped for place in stopped.places]
        going = [place for place in range(len(self.tallies) + len(late)) if place not in late]
        return going + late


@dataclass(frozen=True)
class Stopped:
    """Plans that a race stopped after the same replicates, at these places of the study.

    `tested` holds what the plans that went on named in those replicates, and then what these did; `member` gives each
    of its groups its number among all.
    """

    places: list[int]
    tested: Tested
    member: Integers


def gather_tests(
    tables: Sequence[pd.DataFrame],
    classes: list[str],
    groups: Integers,
    folds: int,
    stopped: Collection[int] = (),
) -> Tested:
    """Return what the plans' predictions say; `groups` gives each row of images.npy its group.

    Raises `InputError` unless all plans have the same replicates and images, those at the places in `stopped` of the
    first replicates, two at least.
    """
    ordered = [table.sort_values(["replicate", "image"], kind="stable") for table in tables]
    going = [table for place, table in enumerate(ordered) if place not in stopped]
    whole = _gather(going, classes, groups, folds)
    lasts = {place: int(ordered[place].replicate.max()) for place in sorted(stopped)}
    early = []
    for last in sorted(set(lasts.values())):
        places = [place for place in lasts if lasts[place] == last]
        shown = [table[table.replicate <= last] for table in going] + [ordered[place] for place in places]
        tested = _gather(shown, classes, groups, folds)
        all_groups, its_groups = (np.unique(groups[each[0].image]) for each in (going, shown))
        early.append(Stopped(places, tested, np.searchsorted(all_groups, its_groups).astype(np.int64)))
    return replace(whole, stopped=early)


def _gather(ordered: Sequence[pd.DataFrame], classes: list[str], groups: Integers, folds: int) -> Tested:
    """Return what these predictions, which must be of the same replicates and images, say."""
    asked = [(table.replicate.to_numpy(), table.image.to_numpy()) for table in ordered]
    if any(not np.array_equal(one, other) for its in asked for one, other in zip(asked[0], its, strict=True)):
        must = "hold predictions of the same replicates and images for every run of the study"
        raise InputError.of("data/scores", must, "others for some", "`dvc repro` scores them anew.")
    by_repeat = [
        [its.sort_values("image", kind="stable") for _, its in table.groupby(table.replicate // folds)]
        for table in ordered
    ]
    tested = by_repeat[0]
    return Tested(
        tallies=[[tally(its, classes) for its in of_plan] for of_plan in by_repeat],
        groups=np.unique(groups[tested[0].image], return_inverse=True)[1].astype(np.int64),
        folds=np.array([(its.replicate % folds).to_numpy(np.int64) for its in tested]),
    )


def name_by_chance(table: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Return the predictions of one who knows only how common each class is, and so always names the commonest."""
    shares = np.bincount(table.label, minlength=len(classes)) / len(table)
    return table.assign(**{f"probability_{name}": share for name, share in zip(classes, shares, strict=True)})


@dataclass(frozen=True)
class Measured:
    """What was found of the plans, by metric."""

    estimates: dict[str, Estimate]

    def get(self, plan: int, metric: str = "accuracy") -> Interval:
        """Return what the plan scores, with its interval of 95 %, within what the metric can be."""
        return limit_interval(self.estimates[metric].get_mean(plan), 0.0, MOST.get(metric, 1.0))

    def get_difference(self, plan: int, other: int) -> Interval:
        """Return how much more accurate the one plan is than the other."""
        return limit_interval(self.estimates["accuracy"].get_difference(plan, other), -1.0, 1.0)

    def compute_p(self, plan: int, other: int) -> float:
        """Return the two-sided p-value of that difference."""
        return self.estimates["accuracy"].compute_p(plan, other)


def measure(tested: Tested, classes: list[str]) -> Measured:
    """Return what was found in all metrics that can differ between plans."""
    return Measured({name: estimate(tested.get_outcomes(name)) for name in list_telling_metrics(classes)})


def list_telling_metrics(classes: list[str]) -> list[str]:
    """Return the names of the metrics that can differ between plans."""
    return [name for name in METRICS if name != "top_5_accuracy" or has_top_5(classes)]


def limit_interval(found: Interval, least: float, most: float) -> Interval:
    """Return the interval within what its figure can be."""
    return replace(found, low=max(least, found.low), high=min(most, found.high))


def turn(outcomes: Outcomes, sign: int) -> Outcomes:
    """Return outcomes of which more is better: the same, or all of them negative."""

    def pool(draws: Floats) -> Floats:
        pooled: Floats = sign * outcomes.pool(draws)
        return pooled

    return replace(
        outcomes,
        pooled=sign * outcomes.pooled,
        by_replicate=sign * outcomes.by_replicate,
        without=sign * outcomes.without,
        pool=pool,
    )
