"""The plan that is advised, and how sure that is said to be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.answer.after_choice import estimate_after_choice
from frostline.answer.decision import choose, count_repeats_needed, decide
from frostline.answer.estimator import Estimate, estimate
from frostline.answer.outcomes import Outcomes, average_scores

MARGIN = 0.01


def studied(accuracies: list[float], images: int, seed: int = 0, folds: int = 5) -> Outcomes:
    """Return the outcomes of plans with these true accuracies, on images of which some are harder for all."""
    rng = np.random.default_rng(seed)
    hard = rng.random(images)
    right = 0.5 * (hard + rng.random((len(accuracies), 1, images))) < np.array(accuracies)[:, None, None]
    return average_scores(right.astype(float), np.arange(images), (np.arange(images) % folds)[None])


def costing(*costs: float) -> np.ndarray:
    return np.array(costs)


estimates = st.builds(
    lambda means, images, training: Estimate(
        np.array(means), np.diag(images[: len(means)]), np.diag(training[: len(means)]), 200, 5
    ),
    st.lists(st.floats(0.5, 0.95), min_size=2, max_size=5),
    st.lists(st.floats(1e-6, 1e-3), min_size=5, max_size=5),
    st.lists(st.floats(0, 1e-3), min_size=5, max_size=5),
)


def test_fifteen_points_on_900_images_are_sure() -> None:
    decision = decide(estimate(studied([0.81, 0.96], 900)), costing(1, 10), MARGIN)
    assert (decision.plan, decision.confidence) == (1, "sure")
    assert decision.expected_shortfall < 1e-6


@pytest.mark.parametrize("seed", range(10))
def test_of_two_equal_plans_the_cheaper_one_is_advised_where_the_images_can_tell(seed: int) -> None:
    for costs, cheaper in (((1, 10), 0), ((10, 1), 1)):
        decision = decide(estimate(studied([0.8, 0.8], 40_000, seed)), costing(*costs), MARGIN)
        assert decision.plan == cheaper


def test_a_dearer_plan_is_never_surely_better_than_one_that_answers_alike() -> None:
    alike = studied([0.8], 900)
    twice = average_scores(
        np.repeat(alike.pool(np.eye(900))[:, None], 2, axis=0), np.arange(900), (np.arange(900) % 5)[None]
    )
    decision = decide(estimate(twice), costing(1, 10), MARGIN)
    assert (decision.plan, decision.confidence) == (0, "sure")
    assert decision.probabilities.min() > 0.99  # either would do


def test_the_cheapest_of_the_plans_that_give_up_little_is_advised_and_else_the_one_that_gives_up_least() -> None:
    short, costs = np.array([0.02, 0.004, 0.001, 0.0]), costing(1, 2, 3, 4)
    assert choose(short, costs, 0.01) == 1
    assert choose(short, costs, 0.006) == 2
    assert choose(short, costs, 0.04) == 0
    assert choose(short + 0.02, costs, 0.01) == 3
    assert choose(short, costing(1, 2, 2, 2), 0.01) == 3  # at the same cost what gives up less


@given(found=estimates, margin=st.floats(0.001, 0.1))
def test_probabilities_are_shares_and_shortfalls_no_gifts(found: Estimate, margin: float) -> None:
    decision = decide(found, np.arange(len(found.means), dtype=float), margin)
    assert ((decision.probabilities >= 0) & (decision.probabilities <= 1)).all()
    assert decision.probabilities.sum() >= 1 - 1e-9  # in every draw one plan is the best
    assert (decision.shortfalls >= 0).all()
    assert decision.plan == choose(decision.shortfalls, np.arange(len(found.means), dtype=float), margin)


@given(found=estimates)
def test_at_the_resolution_advice_is_sure_and_just_below_it_is_not(found: Estimate) -> None:
    costs = np.arange(len(found.means), dtype=float)
    resolution = decide(found, costs, MARGIN).resolution
    assert decide(found, costs, resolution * (1 + 1e-9) + 1e-12).confidence == "sure"
    if resolution > 1e-9:
        assert decide(found, costs, resolution * (1 - 1e-3)).confidence != "sure"


@given(found=estimates, cost=st.floats(100, 1000))
def test_what_dearer_plans_cost_beyond_the_advised_one_changes_no_advice(found: Estimate, cost: float) -> None:
    costs = np.arange(len(found.means), dtype=float)
    before = decide(found, costs, MARGIN).plan
    costs[before + 1 :] += cost
    assert decide(found, costs, MARGIN).plan == before


def test_the_same_study_is_decided_alike() -> None:
    found = estimate(studied([0.8, 0.81, 0.82], 300))
    one, other = (decide(found, costing(1, 2, 3), MARGIN) for _ in range(2))
    assert one.probabilities.tolist() == other.probabilities.tolist()


def test_repeats_that_would_make_it_sure_are_counted_and_one_less_would_not() -> None:
    found = Estimate(np.array([0.80, 0.82]), np.eye(2) * 1e-5, np.eye(2) * 1.2e-3, 2_000, 5)
    costs = costing(1, 2)
    needed = count_repeats_needed(found, 1, costs, MARGIN)
    assert needed is not None
    assert decide(found, costs, MARGIN).confidence != "sure"
    assert decide(found.foresee(5 * needed), costs, MARGIN).confidence == "sure"
    assert decide(found.foresee(5 * (needed - 1)), costs, MARGIN).confidence != "sure"


def test_no_number_of_repeats_makes_up_for_images() -> None:
    found = Estimate(np.array([0.80, 0.81]), np.eye(2) * 1e-3, np.eye(2) * 1e-4, 60, 5)
    assert count_repeats_needed(found, 1, costing(1, 2), MARGIN) is None


def test_what_was_chosen_by_luck_scores_less_where_it_was_not_chosen() -> None:
    """Of 20 equal plans one comes out best; no plan is cheaper than it."""
    flattered, corrected = [], []
    for seed in range(20):
        outcomes = studied([0.7] * 20, 150, seed)
        found, costs = estimate(outcomes), np.zeros(20)
        advised = decide(found, costs, 0.0).plan
        flattered.append(found.means[advised])
        corrected.append(estimate_after_choice(outcomes, found, costs, 0.0))
    truth = np.mean([estimate(studied([0.7], 100_000)).means[0]])
    assert np.mean(flattered) > truth + 0.02
    assert abs(np.mean(corrected) - truth) < 0.01


def test_a_plan_without_others_is_not_corrected() -> None:
    outcomes = studied([0.7], 400)
    found = estimate(outcomes)
    assert estimate_after_choice(outcomes, found, costing(1), MARGIN) == pytest.approx(found.means[0], abs=0.005)
