"""When a race looks, and which rates go on."""

from math import nan

import pytest

from frostline.running.racing import choose_better_half, list_rungs


@pytest.mark.parametrize(
    ("replicates", "folds", "expected"),
    [(1, 1, []), (5, 5, [2, 3, 4]), (2, 2, []), (10, 5, [2, 3, 4, 5]), (15, 5, [2, 3, 4, 5, 10]), (4, 1, [2, 3])],
)
def test_plans_are_compared_after_each_fold_from_the_second_and_then_after_whole_repeats(
    replicates: int, folds: int, expected: list[int]
) -> None:
    assert list_rungs(replicates, folds) == expected


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ([0.5], [0]),
        ([0.5, 0.4], [1]),
        ([0.5, 0.4, 0.3], [1, 2]),
        ([0.3, 0.5, 0.4, 0.6], [0, 2]),
        ([nan, 0.5], [1]),
        ([0.5, nan, nan], [0, 1]),
    ],
)
def test_the_half_of_the_rates_with_the_lower_loss_goes_on(losses: list[float], kept: list[int]) -> None:
    rates = [(float(place),) for place in range(len(losses))]
    assert choose_better_half(dict(zip(rates, losses, strict=True))) == [rates[place] for place in kept]
