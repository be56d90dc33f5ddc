"""Who stops in a race, and how it counts afterwards."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.answer.decision import decide
from frostline.answer.estimator import estimate
from frostline.answer.outcomes import Floats, Integers, Outcomes, average_scores
from frostline.answer.stopping import LEAST_CHANCE, find_chances, join_stopped, pick

COSTS = np.array([1.0, 2.0, 4.0])
FOLDS = 5


def scored(
    seed: int, accuracies: list[float], images: int = 400, in_group: int = 2
) -> tuple[Floats, Integers, Integers]:
    """Return what plans of these accuracies score, with the images' groups and folds."""
    rng = np.random.default_rng(seed)
    hard = rng.random(images)  # an image is hard for all plans
    scores = np.array([(0.5 * hard + 0.5 * rng.random(images)) < np.quantile(hard, each) for each in accuracies])
    groups = np.arange(images) // in_group
    return scores[:, None].astype(float), groups, (groups % FOLDS)[None]


def seen(scores: Floats, groups: Integers, folds: Integers, count: int = FOLDS) -> Outcomes:
    shown = folds[0] < count
    member = np.unique(groups[shown], return_inverse=True)[1].astype(np.int64)
    return average_scores(scores[..., shown], member, folds[:, shown])


def chances(outcomes: Outcomes, margin: float = 0.01) -> list[float]:
    return find_chances(outcomes, COSTS, margin, FOLDS, outcomes.replicates / FOLDS).tolist()


def test_a_plan_that_is_far_behind_has_no_chance_and_a_cheap_one_that_is_as_good_has_them_all() -> None:
    apart = seen(*scored(0, [0.5, 0.9, 0.91]), count=2)
    cheap, middle, deep = chances(apart)
    assert cheap < LEAST_CHANCE
    assert middle + deep == pytest.approx(1.0, abs=LEAST_CHANCE)
    alike = seen(*scored(0, [0.9, 0.9, 0.6]), count=4)
    assert chances(alike, margin=0.2)[0] > 0.99


def test_what_would_stop_is_seldom_advised_in_the_end_and_what_is_advised_had_its_chance() -> None:
    """Over many studies that have seen three folds of five."""
    would_stop, of_advised = [], []
    for seed in range(60):
        study = scored(seed, [0.80, 0.9, 0.92], images=300, in_group=1)
        said = find_chances(seen(*study, count=3), COSTS, 0.02, FOLDS, 0.6)
        advised = decide(estimate(seen(*study)), COSTS, 0.02).plan
        would_stop += [plan == advised for plan in range(3) if said[plan] < LEAST_CHANCE]
        of_advised.append(said[advised])
    assert len(would_stop) >= 40
    assert np.mean(would_stop) <= 0.03
    assert np.mean(of_advised) > 0.5


def test_when_all_is_seen_but_a_last_repeat_there_is_little_left_to_change() -> None:
    outcomes = seen(*scored(0, [0.7, 0.8, 0.9]))
    assert find_chances(outcomes, COSTS, 0.01, FOLDS, 1.0).max() == 1.0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000), count=st.integers(2, FOLDS - 1), in_group=st.sampled_from([1, 4]))
def test_what_stopped_counts_as_the_others_and_its_difference_from_them(seed: int, count: int, in_group: int) -> None:
    scores, groups, folds = scored(seed, [0.8, 0.9, 0.7], in_group=in_group)
    going, early = seen(scores[:2], groups, folds), seen(scores, groups, folds, count)
    member = np.unique(groups[folds[0] < count]).astype(np.int64)
    joined = join_stopped(going, early, member)
    found, whole, part = (estimate(each) for each in (joined, going, early))
    np.testing.assert_allclose(found.means[:2], whole.means)
    np.testing.assert_allclose(found.of_images[:2, :2], whole.of_images, atol=1e-12)
    difference = part.means[2] - part.means[:2].mean()
    assert found.means[2] == pytest.approx(whole.means.mean() + difference)
    contrast = np.array([-0.5, -0.5, 1.0])
    assert contrast @ found.means == pytest.approx(contrast @ part.means)
    of_images = (contrast @ each.of_images @ contrast for each in (found, part))
    assert np.divide(*of_images) == pytest.approx(1.0, abs=0.2)  # it is as unsure as so few images leave it


def test_draws_of_groups_count_what_stopped_where_its_images_came_up_and_else_as_it_was() -> None:
    scores, groups, folds = scored(3, [0.8, 0.9, 0.7])
    going, early = seen(scores[:2], groups, folds), seen(scores, groups, folds, 2)
    member = np.unique(groups[folds[0] < 2]).astype(np.int64)
    joined = join_stopped(going, early, member)
    np.testing.assert_allclose(joined.pool(np.ones((1, joined.groups)))[:, 0], joined.pooled[:, 0])
    nothing_of_it = np.ones((1, joined.groups))
    nothing_of_it[:, member] = 0
    (other,) = joined.pool(nothing_of_it)[2:]
    difference = early.pooled[2] - early.pooled[:2].mean(0)
    assert other[0] == pytest.approx(going.pool(nothing_of_it).mean() + difference[0])


def test_plans_are_picked_in_the_order_that_is_asked_for() -> None:
    outcomes = seen(*scored(1, [0.8, 0.9, 0.7]))
    picked, draws = pick(outcomes, [2, 0]), np.ones((2, outcomes.groups))
    np.testing.assert_array_equal(picked.pooled, outcomes.pooled[[2, 0]])
    np.testing.assert_array_equal(picked.by_replicate, outcomes.by_replicate[[2, 0]])
    np.testing.assert_array_equal(picked.without, outcomes.without[[2, 0]])
    np.testing.assert_array_equal(picked.pool(draws), outcomes.pool(draws)[[2, 0]])


def test_the_luck_of_training_of_what_stopped_is_that_of_so_few_replicates() -> None:
    """Fits differ by more than their images explain; over many studies their mean is as unsure as it says."""
    said, real = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        groups = np.arange(1_000)
        folds = (groups % FOLDS)[None]
        level = 0.8 + 0.04 * rng.standard_normal((3, FOLDS))
        scores = (rng.random((3, 1, 1_000)) < level[:, None, folds[0]]).astype(float)
        member = np.flatnonzero(folds[0] < 2).astype(np.int64)
        joined = join_stopped(seen(scores[:2], groups, folds), seen(scores, groups, folds, 2), member)
        found, contrast = estimate(joined), np.array([-0.5, -0.5, 1.0])
        said.append(contrast @ found.covariance @ contrast)
        real.append((contrast @ found.means) ** 2)
    assert np.mean(said) == pytest.approx(np.mean(real), rel=0.3)
