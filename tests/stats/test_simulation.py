"""Studies whose truth is known: how often intervals hold it, advice is right, and a plan is wrongly called better.

In the normal run a few studies with wide bounds; `make test-slow` takes 200 of each kind, as a referee would.
"""

import numpy as np
import pytest
from scipy.stats import binom

from frostline.stats.advice import Option, Study
from frostline.stats.advice_text import advise
from frostline.stats.intervals import Measured, measure
from frostline.stats.metrics import METRICS, Scored, compute_replicate_values
from frostline.stats.significance import LEVEL, compute_pair_p, correct_by_holm
from tests.simulated import Design, Simulated, simulate

OFFICIAL = Design(redrawn=False, replicates=6, images=1_200, luck=0.15)
REDRAWN = Design(redrawn=True, replicates=6, images=800, luck=0.2)
DESIGNS = pytest.mark.parametrize("design", [OFFICIAL, REDRAWN], ids=["official", "redrawn"])
FEW, MANY = 25, 200
RESAMPLES = 999
MARGIN = 0.02
"""Of advice, as a share."""


def true_figure(metric: str, accuracy: float) -> float:
    """Return the true metric of a plan whose answers are equally good for both classes, with a confidence of 0.97."""
    if metric == "negative_log_likelihood":
        return float(-accuracy * np.log(0.97) - (1 - accuracy) * np.log(0.03))
    return 0.97 - accuracy if metric == "expected_calibration_error" else accuracy


def coverage(design: Design, studies: int) -> dict[str, float]:
    """Return the share of intervals that hold the truth: of each metric, and of differences between plans."""
    rng = np.random.default_rng(1)
    told = METRICS.keys() - {"top_5_accuracy"}  # of two classes it is 1, and nobody is told
    held: dict[str, list[bool]] = {name: [] for name in (*told, "difference")}
    for _ in range(studies):
        made = simulate(rng, [0.75, 0.8, 0.85], design)
        found = measure(made.test, RESAMPLES)
        for accuracy, figures in zip(made.truth, found.figures, strict=True):
            for name in told:
                held[name].append(figures[name].low <= true_figure(name, accuracy) <= figures[name].high)
        for (one, other), interval in found.differences.items():
            held["difference"].append(interval.low <= made.truth[one] - made.truth[other] <= interval.high)
    return {name: float(np.mean(each)) for name, each in held.items()}


@DESIGNS
def test_intervals_hold_the_truth_about_as_often_as_they_say(design: Design) -> None:
    covered = coverage(design, FEW)
    assert all(0.85 <= share <= 1 for share in covered.values()), covered


@pytest.mark.slow
@DESIGNS
def test_intervals_of_95_percent_hold_the_truth_in_93_to_97_percent(design: Design) -> None:
    covered = coverage(design, MANY)
    assert all(0.93 <= share <= 0.97 for share in covered.values()), covered


def advised(made: Simulated, costs: list[float]) -> tuple[int, bool]:
    """Return which plan is advised, and whether it is said to be shown."""
    options = [
        Option(f"plan {place}", f"unfreeze plan {place}", "parts", cost, "net") for place, cost in enumerate(costs)
    ]
    measured = [measure(each, RESAMPLES) for each in (made.validation, made.test)]
    replicates, images = made.test.replicates, round(made.test.train_images)
    advice = advise(Study(options, *measured, replicates, MARGIN, "train_flops", images, 2 * images))
    return advice["run"], advice["shown"]


def wrong_advice(design: Design, studies: int) -> tuple[float, float]:
    """Return of all studies the share whose advice is shown, and of these the share that is truly too bad.

    The cheap plans lie about the margin, where it is hardest to tell: most of them are worse than it by a little.
    """
    rng = np.random.default_rng(2)
    shown = wrong = 0
    for _ in range(studies):
        gaps = rng.uniform(0.0, 2 * MARGIN, 3)
        made = simulate(rng, [*(0.9 - gaps), 0.9], design)
        run, is_shown = advised(made, [1.0, 2.0, 3.0, 4.0])
        shown += is_shown
        wrong += is_shown and made.truth.max() - made.truth[run] > MARGIN
    return shown / studies, wrong / max(1, shown)


LARGE = [
    Design(redrawn=False, replicates=6, images=12_000, luck=0.02),
    Design(redrawn=True, replicates=10, images=20_000, luck=0.02),
]


@pytest.mark.parametrize("design", LARGE, ids=["official", "redrawn"])
def test_advice_that_is_shown_is_seldom_a_plan_that_is_too_bad(design: Design) -> None:
    shown, wrong = wrong_advice(design, 10)
    assert shown > 0.2
    assert wrong <= 0.2


@pytest.mark.slow
@pytest.mark.parametrize("design", LARGE, ids=["official", "redrawn"])
def test_advice_that_is_shown_is_a_truly_non_inferior_plan_in_95_percent(design: Design) -> None:
    shown, wrong = wrong_advice(design, MANY)
    assert shown > 0.5
    assert wrong <= 0.05


def any_called_better(scored: Scored, found: Measured) -> bool:
    """Return whether any plan is called better than another, by the rule of pairs.csv."""
    accuracies = compute_replicate_values(scored, np.ones((1, scored.groups)))[:, 0, :, 0]
    p_values = [
        compute_pair_p(accuracies[one] - accuracies[other], each) for (one, other), each in found.differences.items()
    ]
    return any(p is not None and p <= LEVEL for p in correct_by_holm(p_values))


def claims(design: Design, accuracies: list[float], studies: int) -> float:
    """Return the share of studies in which at least one plan is called better than another."""
    rng = np.random.default_rng(3)
    made = (simulate(rng, accuracies, design).test for _ in range(studies))
    return float(np.mean([any_called_better(each, measure(each, RESAMPLES)) for each in made]))


TEN_SEEDS = [
    Design(redrawn=False, replicates=10, images=1_200, luck=0.15),
    Design(redrawn=True, replicates=10, images=800, luck=0.15),
]


@pytest.mark.parametrize("design", TEN_SEEDS, ids=["official", "redrawn"])
def test_equal_plans_are_seldom_called_better_and_unequal_ones_are(design: Design) -> None:
    assert claims(design, [0.8, 0.8, 0.8], FEW) <= binom.ppf(0.999, FEW, 0.05) / FEW
    assert claims(design, [0.7, 0.8, 0.9], 5) == 1


@pytest.mark.slow
@pytest.mark.parametrize("design", TEN_SEEDS, ids=["official", "redrawn"])
def test_false_claims_stay_under_5_percent_after_holm(design: Design) -> None:
    assert claims(design, [0.8, 0.8, 0.8], MANY) <= 0.05
