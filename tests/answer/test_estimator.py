"""What the estimator says of plans, from what they score on each image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.answer.estimator import Estimate, estimate
from frostline.answer.outcomes import Floats, Integers, Outcomes, average_scores

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, repeats: int = 1, folds: int = 5, groups: int = 40, in_group: int = 3, plans: int = 3) -> Outcomes:
    """Return the outcomes of plans that name about 7 of 10 images rightly."""
    rng, images = np.random.default_rng(seed), groups * in_group
    member = np.repeat(np.arange(groups), in_group)
    tested = np.stack([rng.permutation(np.arange(groups) % folds)[member] for _ in range(repeats)])
    return average_scores((rng.random((plans, repeats, images)) < 0.7).astype(float), member, tested)


@given(seed=SEEDS)
def test_where_each_image_is_alone_the_luck_of_images_is_the_covariance_of_scores_over_their_number(seed: int) -> None:
    scores = np.random.default_rng(seed).random((3, 1, 60))
    found = estimate(average_scores(scores, np.arange(60), np.zeros((1, 60), int)))
    one_more = np.eye(3) / (2 * 60 * 60)
    np.testing.assert_allclose(found.of_images - one_more, np.cov(scores[:, 0]) / 60)
    np.testing.assert_allclose(found.means, scores.mean((1, 2)))


@given(seed=SEEDS, in_group=st.integers(2, 9))
def test_images_that_belong_together_count_as_one(seed: int, in_group: int) -> None:
    """The same group again and again tells nothing new."""
    scores = np.random.default_rng(seed).random((2, 1, 30))
    alone = estimate(average_scores(scores, np.arange(30), np.zeros((1, 30), int)))
    repeated, groups = np.repeat(scores, in_group, axis=2), np.repeat(np.arange(30), in_group)
    together = estimate(average_scores(repeated, groups, np.zeros((1, 30 * in_group), int)))
    np.testing.assert_allclose(together.get_difference(0, 1).estimate, alone.get_difference(0, 1).estimate)
    np.testing.assert_allclose(together.of_images[0, 1], alone.of_images[0, 1])


@given(seed=SEEDS, repeats=st.integers(1, 3), folds=st.sampled_from([1, 2, 5]))
def test_covariances_are_covariances_and_differences_have_two_sides(seed: int, repeats: int, folds: int) -> None:
    found = estimate(drawn(seed, repeats, folds))
    for covariance in (found.of_images, found.of_training, found.covariance):
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-15)
        assert np.linalg.eigvalsh(covariance).min() > -1e-12
    there, back = found.get_difference(0, 1), found.get_difference(1, 0)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert found.compute_p(0, 1) == pytest.approx(found.compute_p(1, 0))
    assert (found.compute_p(0, 1) <= 0.05) == (there.low > 0 or there.high < 0)


@given(seed=SEEDS)
def test_the_order_of_images_and_of_plans_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, groups = rng.random((3, 2, 50)), rng.permutation(np.arange(50) % 20)
    folds = np.stack([rng.permutation(np.arange(20) % 5)[groups] for _ in range(2)])
    found = estimate(average_scores(scores, groups, folds))
    images, plans = rng.permutation(50), np.array([2, 0, 1])
    other = estimate(average_scores(scores[plans][..., images], groups[images], folds[:, images]))
    np.testing.assert_allclose(other.means, found.means[plans])
    np.testing.assert_allclose(other.covariance, found.covariance[np.ix_(plans, plans)], atol=1e-12)


def test_the_luck_of_training_is_seen_where_replicates_differ_more_than_their_images_do() -> None:
    """In one fold of five a training failed: all of that fold's images are named wrongly."""
    folds = np.arange(500) % 5
    calm = np.ones((2, 1, 500))
    calm[1, 0, ::7] = 0  # every fold alike
    assert estimate(average_scores(calm, np.arange(500), folds[None])).of_training.max() < 1e-4
    failed = calm.copy()
    failed[1, 0, folds == 3] = 0
    found = estimate(average_scores(failed, np.arange(500), folds[None]))
    assert found.of_training[1, 1] > 0.1
    assert found.count_degrees(np.array([1.0, -1.0])) < 6
    assert found.get_difference(0, 1).low < 0


def test_with_official_splits_the_luck_of_training_is_the_spread_over_repeats() -> None:
    outcomes = drawn(0, repeats=4, folds=1)
    found = estimate(outcomes)
    spread = np.cov(outcomes.by_replicate)
    assert found.replicates == 4
    np.testing.assert_allclose(found.of_training, spread, atol=1e-12)


def test_one_training_on_official_splits_tells_nothing_of_its_luck() -> None:
    found = estimate(drawn(0, repeats=1, folds=1))
    assert found.of_training.max() == 0
    assert found.count_degrees(np.array([1.0, -1.0, 0.0])) == pytest.approx(39)


@pytest.mark.parametrize(("images", "most"), [(30, 0.08), (900, 0.003)])
def test_plans_that_answer_alike_may_still_differ_by_what_one_more_image_would_show(images: int, most: float) -> None:
    scores = np.ones((2, 1, images))
    found = estimate(average_scores(scores, np.arange(images), (np.arange(images) % 5)[None])).get_difference(0, 1)
    assert found.estimate == 0
    assert 1 / images < found.high < most


def test_a_small_study_of_186_images_has_an_interval_that_is_no_joke() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((2, 1, 186)) < np.array([0.4, 0.5])[:, None, None]
    found = estimate(average_scores(right.astype(float), np.arange(186), (np.arange(186) % 5)[None]))
    difference = found.get_difference(1, 0)
    assert difference.high - difference.low < 0.4


def test_more_repeats_leave_the_images_luck_and_take_of_the_trainings() -> None:
    found = Estimate(np.array([0.8, 0.9]), np.eye(2) * 0.0004, np.eye(2) * 0.002, 100, 5)
    often = found.foresee(20)
    np.testing.assert_allclose(often.covariance, np.eye(2) * 0.0005)
    assert often.get_difference(0, 1).high < found.get_difference(0, 1).high


def weights(seed: int, groups: int) -> Floats:
    return np.random.default_rng(seed).integers(0, 3, (4, groups)).astype(float)


@given(seed=SEEDS)
def test_outcomes_pool_what_each_image_scores_as_often_as_its_group_is_counted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, groups = rng.random((2, 3, 24)), np.arange(24) // 4
    folds: Integers = np.stack([rng.permutation(np.arange(6) % 3)[groups] for _ in range(3)])
    outcomes, counted = average_scores(scores, groups, folds), weights(seed, 6)
    counted[:, 0] += 1  # never none at all
    for draw, of_groups in enumerate(counted):
        expected = np.average(scores, axis=2, weights=of_groups[groups]).mean(1)
        np.testing.assert_allclose(outcomes.pool(counted)[:, draw], expected)
    for group in range(6):
        np.testing.assert_allclose(outcomes.without[..., group], scores[..., groups != group].mean(2))
    assert outcomes.by_replicate.shape == (2, 9)
    np.testing.assert_allclose(outcomes.by_replicate[:, 4], scores[:, 1, folds[1] == 1].mean(1))
