"""Tests of pairs, Holm's correction and the Pareto front, against counts that can be made by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from frostline.stats.intervals import Interval, Redrawn
from frostline.stats.significance import (
    compute_pair_p,
    compute_sign_flip_p,
    compute_student_p,
    correct_by_holm,
    find_smallest_p,
)
from frostline.stats.tables import compute_front_probabilities


@pytest.mark.parametrize(("replicates", "p"), [(2, 0.5), (3, 0.25), (4, 0.125), (5, 0.0625), (6, 0.03125)])
def test_replicates_that_all_agree_reach_the_smallest_p_and_no_less(replicates: int, p: float) -> None:
    assert compute_sign_flip_p(np.full(replicates, 0.01)) == find_smallest_p(replicates) == p
    assert compute_sign_flip_p(-np.linspace(0.01, 0.02, replicates)) == p


def test_the_p_value_is_the_share_of_sign_patterns_that_are_as_extreme() -> None:
    """Of +-3 +-2 +-1, the sums at least as far from 0 as 3 + 2 - 1 = 4 are 6, 4, -4 and -6: four of eight."""
    assert compute_sign_flip_p(np.array([0.03, 0.02, -0.01])) == 0.5


def test_plans_that_are_equal_in_every_replicate_are_not_told_apart() -> None:
    assert compute_sign_flip_p(np.zeros(6)) == 1.0


def test_one_replicate_cannot_be_tested() -> None:
    assert compute_sign_flip_p(np.array([0.1])) is None


def test_many_replicates_are_tested_by_drawn_patterns_the_same_each_time() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, 30)
    p_value = compute_sign_flip_p(differences)
    assert p_value == compute_sign_flip_p(differences)
    assert p_value == pytest.approx(ttest_1samp(differences, 0).pvalue, abs=0.03)


def test_of_two_tests_the_larger_p_counts() -> None:
    """Six replicates that agree have p 0.031 by their signs; if they share most of their images, t is less sure."""
    differences = np.array([0.010, 0.012, 0.009, 0.011, 0.013, 0.008])
    alone = Interval(0.0105, 0.0, 0.0, Redrawn(variance=differences.var(ddof=1), overlap=0.0))
    shared = Interval(0.0105, 0.0, 0.0, Redrawn(variance=differences.var(ddof=1), overlap=40.0))
    assert compute_student_p(alone, 6) == pytest.approx(ttest_1samp(differences, 0).pvalue)
    assert compute_pair_p(differences, alone) == find_smallest_p(6)
    assert compute_pair_p(differences, shared) == compute_student_p(shared, 6) > 0.3
    assert compute_pair_p(differences[:1], alone) is None


def test_plans_that_never_differ_have_no_p_but_1() -> None:
    assert compute_pair_p(np.zeros(6), Interval(0.0, 0.0, 0.0, Redrawn(variance=0.0, overlap=0.4))) == 1.0


def test_holm_multiplies_the_smallest_by_all_and_keeps_the_order() -> None:
    assert correct_by_holm([0.01, 0.04, 0.03, None]) == [
        pytest.approx(0.03),
        pytest.approx(0.06),
        pytest.approx(0.06),
        None,
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrected_p_values_are_no_smaller_no_more_than_1_and_in_the_same_order(p_values: list[float]) -> None:
    corrected = correct_by_holm(list(p_values))
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True) if q is not None)
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(corrected, dtype=float)[order]) >= 0).all()


def test_a_plan_is_on_the_front_in_the_draws_in_which_no_cheaper_one_is_as_accurate() -> None:
    accuracies = np.array([[0.8, 0.8, 0.8, 0.8], [0.9, 0.9, 0.8, 0.7]])
    assert compute_front_probabilities(accuracies, np.array([1.0, 2.0])).tolist() == [1.0, 0.5]


def test_of_plans_that_cost_the_same_the_more_accurate_are_on_the_front() -> None:
    accuracies = np.array([[0.8, 0.9, 0.8], [0.9, 0.8, 0.8]])
    assert compute_front_probabilities(accuracies, np.array([5.0, 5.0])).tolist() == [pytest.approx(2 / 3)] * 2


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 3)), min_size=1, max_size=8))
def test_in_every_draw_some_plan_is_on_the_front_and_the_cheapest_best_one_always_is(
    plans: list[tuple[float, int]],
) -> None:
    accuracies, costs = np.array([[each[0]] for each in plans]), np.array([each[1] for each in plans], dtype=float)
    on_front = compute_front_probabilities(accuracies, costs)
    cheapest = costs == costs.min()
    best = accuracies[:, 0] == accuracies[cheapest, 0].max()
    assert (on_front[cheapest & best] == 1).all()
