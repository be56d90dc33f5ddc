"""Hold what studies say of their own certainty against a known truth: `python -m docs.statistics.measure --help`.

Each design is simulated many times, each time with a truth of its own (`problems.py`). Written are `calibration.csv`,
which has for each design what was stated, what was true, and of how many cases, and the picture of it.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from docs.racing.measure import ROOT
from docs.statistics.figure import draw
from docs.statistics.problems import KINDS, Design, Study, draw_problem, hold_studies, hold_study
from frostline.answer.decision import decide
from frostline.answer.estimator import LEVEL, estimate
from frostline.answer.outcomes import Floats
from frostline.answer.stopping import LEAST_CHANCE, find_chances, join_stopped
from frostline.errors import InputError, end_in_one_line
from frostline.files import write_csv
from frostline.plotting import save_figure, use_style
from frostline.running.racing import list_rungs
from frostline.stats.significance import correct_by_holm

DESIGNS = {
    "5 folds, 300 images": Design(300, 300, 5, 1),
    "5 folds, 1,000 images in 200 groups": Design(1_000, 200, 5, 1),
    "5 folds, 2,640 images in 44 groups": Design(2_640, 44, 5, 1),
    "5 folds, 3,000 images": Design(3_000, 3_000, 5, 1),
    "5 folds twice, 300 images": Design(300, 300, 5, 2),
    "5 folds four times, 1,000 images in 200 groups": Design(1_000, 200, 5, 4),
    "official split, 1,200 images, 3 repeats": Design(1_200, 1_200, 1, 3),
    "official split, 3,000 images in 300 groups, 5 repeats": Design(3_000, 300, 1, 5),
}
MARGIN = 0.01
SAME = 0.95
"""The share of studies in which a race is to advise what all fits together advise."""
BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)
"""Of stated probabilities."""


@dataclass
class Found:
    """What studies of a design said, and what was true.

    `stated` and `within`: for each plan of each study the probability to be within the margin, and whether it was;
    `advised` picks the advised one. `shortfalls`: stated and real ones of the advised plans. `held`: for each pair of
    plans whether its interval held the truth. `better`: for each study of plans that are the same whether any pair was
    called better. `raced`: for each study whether a race advises the same plan, and the share of all fits' costs that
    it took.
    """

    stated: list[float] = field(default_factory=list)
    within: list[bool] = field(default_factory=list)
    advised: list[bool] = field(default_factory=list)
    shortfalls: list[tuple[float, float]] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    better: list[bool] = field(default_factory=list)
    raced: list[tuple[bool, float]] = field(default_factory=list)

    def add(self, truth: Floats, study: Study) -> None:
        """Add a study; its plans cost the more, the later they come."""
        plans = range(len(truth))
        found = estimate(study.see(plans))
        decision = decide(found, count_costs(len(truth)), MARGIN)
        short = truth.max() - truth
        self.stated += decision.probabilities.tolist()
        self.within += (short <= MARGIN).tolist()
        self.advised += [plan == decision.plan for plan in plans]
        self.shortfalls.append((decision.expected_shortfall, float(short[decision.plan])))
        for one, other in combinations(plans, 2):
            difference = found.get_difference(one, other)
            self.held.append(bool(difference.low <= truth[one] - truth[other] <= difference.high))
            self.widths.append((difference.high - difference.low) / 2)

    def add_race(self, study: Study) -> None:
        """Add whether a race advises what all fits do, where the design has something to race."""
        plans = range(len(study.scores))
        if list_rungs(study.replicates, int(study.folds.max()) + 1):
            advised, share = race(study)
            whole = decide(estimate(study.see(plans)), count_costs(len(plans)), MARGIN).plan
            self.raced.append((advised == whole, share))

    def add_same(self, study: Study) -> None:
        """Add whether any of plans that are the same is called better than another."""
        found = estimate(study.see(range(len(study.scores))))
        p_values = [found.compute_p(*pair) for pair in combinations(range(len(study.scores)), 2)]
        self.better.append(any(p <= LEVEL for p in correct_by_holm(p_values)))


def hold(design: Design, studies: int, seed: int) -> Found:
    """Return what so many studies of the design said, and what was true; and of as many others what needs no truth."""
    found = Found()
    for _, truth, study in hold_studies(np.random.default_rng(seed), design, studies):
        found.add(truth, study)
    add_without_truth(found, design, studies, seed)
    return found


def add_without_truth(found: Found, design: Design, studies: int, seed: int) -> None:
    """Add what so many races came to, and so many studies of plans that are the same."""
    rng, grouped = np.random.default_rng([seed, 1]), design.groups < design.images
    for place in range(studies):
        kind = list(KINDS)[place % len(KINDS)]
        found.add_race(hold_study(rng, draw_problem(rng, kind, grouped=grouped), design))
        found.add_same(hold_study(rng, draw_problem(rng, "equal", grouped=grouped, same=True), design))


def count_costs(plans: int) -> Floats:
    """Return what the plans cost: each twice as much as the one before."""
    return np.asarray(2.0 ** np.arange(plans), np.float64)


def race(study: Study) -> tuple[int, float]:
    """Return which plan a race advises, and what it took, as a share of what all fits would take."""
    plans = len(study.scores)
    costs, went = count_costs(plans), dict.fromkeys(range(plans), study.replicates)
    for count in list_rungs(study.replicates, int(study.folds.max()) + 1):
        running = [plan for plan, last in went.items() if last == study.replicates]
        share = float(np.mean(study.folds[0] < count))
        chances = find_chances(study.see(running, count), costs[running], MARGIN, study.replicates, share)
        went |= {plan: count for plan, chance in zip(running, chances, strict=True) if chance < LEAST_CHANCE}
    going = [plan for plan, last in went.items() if last == study.replicates]
    outcomes, order = study.see(going), list(going)
    for count in sorted(set(went.values()) - {study.replicates}):
        late = [plan for plan, last in went.items() if last == count]
        outcomes = join_stopped(outcomes, study.see([*going, *late], count), study.find_member(count))
        order += late
    decision = decide(estimate(outcomes), costs[order], MARGIN)
    took = sum(costs[plan] * last for plan, last in went.items()) / (costs.sum() * study.replicates)
    return order[decision.plan], float(took)


def tabulate(name: str, found: Found) -> pd.DataFrame:
    """Return the design's rows: what was stated, what was true, as shares or accuracy points, and of how many."""
    rows: list[tuple[str, str, float, float, int]] = []
    stated, within, advised = np.array(found.stated), np.array(found.within, bool), np.array(found.advised, bool)

    def add(measure: str, said: Iterable[float], true: Iterable[float]) -> None:
        ours, theirs = np.array(said, np.float64), np.array(true, np.float64)
        if len(ours):
            rows.append((name, measure, float(ours.mean()), float(theirs.mean()), len(ours)))

    for low, high in pairwise(BINS):
        chosen = (stated >= low) & ((stated < high) | (high == 1))
        add(f"probability {low:g} to {high:g}", stated[chosen], within[chosen])
    sure = advised & (stated >= BINS[-2])
    add("sure", stated[sure], within[sure])
    add("advised", stated[advised], within[advised])
    add(
        "shortfall in points",
        [100 * said for said, _ in found.shortfalls],
        [100 * real for _, real in found.shortfalls],
    )
    add("interval of a difference", [1 - LEVEL] * len(found.held), found.held)
    add("half width in points", [100 * width for width in found.widths], [np.nan] * len(found.widths))
    add("same advice in a race", [SAME] * len(found.raced), [same for same, _ in found.raced])
    add("cost of a race", [1.0] * len(found.raced), [took for _, took in found.raced])
    add("called better though the same", [LEVEL] * len(found.better), found.better)
    return pd.DataFrame(rows, columns=["design", "measure", "stated", "true", "cases"])


def measure(studies: int, seed: int = 0, designs: Sequence[str] = tuple(DESIGNS)) -> pd.DataFrame:
    """Return the rows of all designs, several of which are simulated at once."""
    with ProcessPoolExecutor() as pool:
        found = pool.map(hold, [DESIGNS[name] for name in designs], [studies] * len(designs), [seed] * len(designs))
        return pd.concat([tabulate(name, its) for name, its in zip(designs, found, strict=True)], ignore_index=True)


def main(studies: int, out: Path) -> None:
    """Simulate, and write the table and its picture into the folder `out`."""
    table = measure(studies)
    write_csv(out / "calibration.csv", table)
    with use_style():
        save_figure(draw(table), out, "calibration")


if __name__ == "__main__":
    with end_in_one_line():
        made = argparse.ArgumentParser(prog="python -m docs.statistics.measure", description=__doc__)
        made.add_argument("--studies", type=int, default=200, help="of each design")
        made.add_argument("--out", type=Path, default=ROOT / "docs" / "statistics", help="folder for the results")
        asked = made.parse_args(sys.argv[1:])
        if asked.studies < 3:
            raise InputError.of("--studies", "be at least 3", str(asked.studies))
        main(asked.studies, asked.out)
