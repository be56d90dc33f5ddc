"""Intervals and spreads against worked examples and other people's arithmetic."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t, ttest_rel

from frostline.stats.intervals import (
    LEAST_LUCK,
    Crossed,
    Redrawn,
    compute_half_width,
    count_draws,
    measure,
    split_variance,
)
from frostline.stats.metrics import METRICS, Scored, compute_replicate_values, score_predictions, tally_split
from tests.simulated import CLASSES, Design, predictions, simulate

RESAMPLES = 499


def scored(right: list[list[list[int]]], images: list[list[int]] | None = None, train: float = 100.0) -> Scored:
    """Return runs x replicates x images of hits; all images are of class a."""
    tables = []
    for run in right:
        shown = images or [list(range(len(run[0])))] * len(run)
        replicates = [
            predictions(replicate, np.array(rows), np.zeros(len(rows), dtype=int), np.array(hits) == 1)
            for replicate, (rows, hits) in enumerate(zip(shown, run, strict=True))
        ]
        tables.append(pd.concat(replicates))
    groups = np.arange(1 + max(max(rows) for rows in images or [list(range(len(right[0][0])))]))
    return tally_split(tables, CLASSES, groups, train)


def hits(rng: np.random.Generator, replicates: int, images: int, accuracy: float) -> list[list[int]]:
    return (rng.random((replicates, images)) < accuracy).astype(int).tolist()


def test_the_estimate_is_the_mean_over_replicates_of_each_metric_as_scikit_learn_has_it() -> None:
    rng = np.random.default_rng(0)
    of_a = rng.random((3, 40))
    labels = rng.integers(0, 2, 40)
    tables = [
        pd.DataFrame(
            {"replicate": s, "image": np.arange(40), "label": labels, "probability_a": p, "probability_b": 1 - p}
        )
        for s, p in enumerate(of_a)
    ]
    figures = measure(tally_split([pd.concat(tables)], CLASSES, np.arange(40), 100.0), RESAMPLES).figures[0]
    scores = [score_predictions(table, CLASSES) for table in tables]
    for name in METRICS.keys() - {"top_5_accuracy"}:  # of two classes it is 1, and not told
        assert figures[name].estimate == pytest.approx(np.mean([score[name] for score in scores]))
        assert figures[name].low < figures[name].estimate < figures[name].high


def test_images_are_counted_as_often_as_their_weights_say() -> None:
    made = scored([[[1, 0, 0, 0]]])
    weights = np.array([[1, 1, 1, 1], [3, 1, 0, 0], [0, 0, 2, 2.0]])
    assert compute_replicate_values(made, weights)[0, list(METRICS).index("accuracy"), 0].tolist() == [0.25, 0.75, 0.0]


def test_a_draw_is_a_count_of_what_was_chosen() -> None:
    assert count_draws(np.array([[0, 2, 2], [1, 1, 1]]), 4).tolist() == [[1, 0, 2, 0], [0, 3, 0, 0]]


def test_groups_are_resampled_whole() -> None:
    """Ten images of which each is there twenty times tell no more than ten images do."""
    rng = np.random.default_rng(1)
    once = rng.random(10) < 0.6
    many = np.repeat(once, 20)
    rows = np.arange(200)
    table = predictions(0, rows, np.zeros(200, dtype=int), many)
    together = measure(tally_split([table], CLASSES, np.repeat(np.arange(10), 20), 100.0), RESAMPLES).figures[0]
    alone = measure(
        tally_split([predictions(0, rows[:10], np.zeros(10, dtype=int), once)], CLASSES, rows[:10], 100.0), RESAMPLES
    ).figures[0]
    assert together["accuracy"].low == pytest.approx(alone["accuracy"].low)
    assert together["accuracy"].high == pytest.approx(alone["accuracy"].high)


def test_the_variance_of_redrawn_splits_is_that_of_nadeau_and_bengio() -> None:
    spread = Redrawn(variance=0.04, overlap=0.5)
    assert spread.estimate_error(4) == (pytest.approx((1 / 4 + 0.5) * 0.04), 3)
    assert compute_half_width(spread, 4) == pytest.approx(t.ppf(0.975, 3) * np.sqrt(0.03))


def test_redrawn_splits_are_known_by_their_images_and_their_overlap_is_counted() -> None:
    rng = np.random.default_rng(2)
    shown = [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9], [0, 2, 4, 6, 8, 9]]
    redrawn = scored([hits(rng, 3, 6, 0.5)], shown, train=12.0)
    assert redrawn.redrawn
    (figures,) = measure(redrawn, RESAMPLES).figures
    spread = figures["accuracy"].spread
    assert isinstance(spread, Redrawn)
    assert spread.overlap == 0.5
    assert not scored([hits(rng, 3, 6, 0.5)]).redrawn


def test_the_spread_of_one_replicate_is_that_of_its_images() -> None:
    values = np.array([[1.0, 0.0, 1.0, 1.0, 0.0]])
    variance, degrees = split_variance(values).estimate_error(1)
    assert (variance, degrees) == (pytest.approx(values.var(ddof=1) / 5), 4)


def test_crossed_variances_are_those_of_a_two_way_analysis() -> None:
    """Worked by hand: effects of replicates (-1, 1) and of images (-2, 0, 2) about 5, and nothing else."""
    values = 5 + np.array([[-1.0], [1.0]]) + np.array([-2.0, 0.0, 2.0])
    found = split_variance(values)
    assert (found.replicate, found.image, found.both) == (pytest.approx(2.0), pytest.approx(4.0), pytest.approx(0.0))
    assert found.estimate_error(2)[0] == pytest.approx(2 / 2 + 4 / 3)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1), st.integers(2, 20), st.integers(2, 300))
def test_more_replicates_or_images_never_make_a_crossed_mean_less_sure(
    replicate: float, image: float, both: float, replicates: int, groups: int
) -> None:
    spread = Crossed(replicate, image, both, groups)
    assert spread.estimate_error(replicates + 1)[0] <= spread.estimate_error(replicates)[0]
    assert spread.estimate_error(replicates, 2.0)[0] <= spread.estimate_error(replicates)[0]
    assert spread.estimate_error(replicates)[0] == pytest.approx(
        replicate / replicates + image / groups + both / (replicates * groups)
    )


def test_a_difference_is_paired_and_turns_round_with_its_pair() -> None:
    """Two plans that differ in nothing but a few images are told apart far better than either is known."""
    rng = np.random.default_rng(3)
    first = np.array(hits(rng, 4, 200, 0.7))
    second = first.copy()
    second[:, :12] = 1
    found = measure(scored([first.tolist(), second.tolist()]), RESAMPLES)
    difference, turned = found.get_difference(1, 0), found.get_difference(0, 1)
    assert (difference.estimate, difference.low, difference.high) == (-turned.estimate, -turned.high, -turned.low)
    alone = found.figures[0]["accuracy"]
    assert difference.high - difference.low < 0.6 * (alone.high - alone.low)


def test_redrawn_replicates_without_overlap_are_as_sure_as_a_paired_t_test() -> None:
    rng = np.random.default_rng(4)
    replicates, images = 40, 30
    shown = [list(range(images * replicate, images * (replicate + 1))) for replicate in range(replicates)]
    runs = [hits(rng, replicates, images, accuracy) for accuracy in (0.6, 0.7)]
    found = measure(scored(runs, shown, train=1e9), 4_999).differences[0, 1]
    means = [np.mean(run, axis=1) for run in runs]
    expected = ttest_rel(*means).confidence_interval()
    assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=1e-6)
    assert found.low == pytest.approx(expected.low, abs=0.01)


def test_redrawn_replicates_that_agree_by_chance_are_no_surer_than_their_images_allow() -> None:
    """Two replicates with 80 of 100 right each differ in nothing, yet 100 images cannot know an accuracy to a point."""
    right = [1] * 80 + [0] * 20
    shown = [list(range(100)), list(range(50, 150))]
    found = measure(scored([[right, right]], shown, train=300.0), RESAMPLES).figures[0]["accuracy"]
    assert isinstance(found.spread, Redrawn)
    assert found.spread.variance == pytest.approx(LEAST_LUCK * 0.8 * 0.2 / 100, rel=0.03)
    assert (found.low, found.high) == (pytest.approx(0.38, abs=0.2), pytest.approx(1.0))


def test_differences_stay_within_what_a_difference_can_be() -> None:
    rng = np.random.default_rng(8)
    shown = [[0, 1, 2, 3], [2, 3, 4, 5]]
    found = measure(scored([hits(rng, 2, 4, 0.9), hits(rng, 2, 4, 0.2)], shown, train=4.0), RESAMPLES)
    assert -1 <= found.differences[0, 1].low <= found.differences[0, 1].high <= 1


def test_a_plan_that_is_always_right_may_yet_be_wrong_about_images_that_were_not_seen() -> None:
    """Of an event that was not seen in 128 images, up to 2.8 % may be such (exact binomial, 97.5 % one-sided)."""
    found = measure(scored([[[1] * 128] * 3, [[1] * 128] * 3]), RESAMPLES)
    accuracy, difference = found.figures[0]["accuracy"], found.differences[0, 1]
    assert (accuracy.low, accuracy.high) == (pytest.approx(1 - 0.0284, abs=1e-4), 1.0)
    assert (difference.low, difference.high) == (pytest.approx(-0.0284, abs=1e-4), pytest.approx(0.0284, abs=1e-4))


def test_no_interval_leaves_what_its_metric_can_be() -> None:
    made = simulate(
        np.random.default_rng(5), [0.99, 0.995], Design(redrawn=True, replicates=3, images=120, luck=0.3)
    ).test
    for figures in measure(made, RESAMPLES).figures:
        for name, found in figures.items():
            assert 0 <= found.low <= found.estimate <= found.high
            assert found.high <= 1 or name == "negative_log_likelihood"


def test_the_same_scores_give_the_same_intervals() -> None:
    made = simulate(
        np.random.default_rng(6), [0.8, 0.85], Design(redrawn=False, replicates=4, images=200, luck=0.1)
    ).test
    one, other = measure(made, RESAMPLES), measure(made, RESAMPLES)
    assert one.figures == other.figures
    assert one.differences == other.differences


def test_draws_spread_as_widely_as_the_differences_of_their_plans_do() -> None:
    made = simulate(
        np.random.default_rng(7), [0.8, 0.85], Design(redrawn=True, replicates=5, images=800, luck=0.2)
    ).test
    found = measure(made, 2_999)
    variance, _ = found.differences[0, 1].spread.estimate_error(5)
    drawn = found.draws[0] - found.draws[1]
    assert drawn.std() == pytest.approx(np.sqrt(variance), rel=0.02)
