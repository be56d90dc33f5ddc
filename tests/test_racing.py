"""What stops, and what never does."""

from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from frostline.racing import Standing, choose_better_half, find_stops, list_rungs

MARGIN = 0.01


def hits(right: int, of: int = 400) -> NDArray[np.int64]:
    """Return that the first so many of the images are named rightly."""
    return (np.arange(of) < right).astype(np.int64)


def stopped(*standings: tuple[str, float, NDArray[np.int64]], groups: NDArray[np.int64] | None = None) -> set[str]:
    entered = [Standing(*each) for each in standings]
    return set(find_stops(entered, np.arange(400) if groups is None else groups, MARGIN))


@pytest.mark.parametrize(
    ("replicates", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])]
)
def test_standings_are_compared_whenever_the_replicates_have_doubled(replicates: int, expected: list[int]) -> None:
    assert list_rungs(replicates) == expected


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


def test_a_plan_stops_where_a_cheaper_one_is_as_good() -> None:
    assert stopped(("head", 1, hits(320)), ("stage4", 2, hits(320)), ("all", 3, hits(321))) == {"stage4"}


def test_it_says_which_one_and_by_how_much() -> None:
    entered = [Standing("head", 1, hits(360)), Standing("stage4", 2, hits(300)), Standing("all", 3, hits(370))]
    stop = find_stops(entered, np.arange(400), MARGIN)["stage4"]
    assert stop.against == "head"
    assert stop.difference == pytest.approx(0.15)
    error = np.sqrt(60 * 340 / 400 / 399) / np.sqrt(400)  # of 400 differences, of which 60 are 1 and the others 0
    assert stop.least == pytest.approx(0.15 - 1.2816 * error, abs=1e-3)


def test_a_plan_goes_on_while_it_may_be_better_by_more_than_the_margin() -> None:
    """Two images of 400 are half a point, which 400 images cannot tell from one and a half."""
    apart = hits(322)
    apart[:40] = 0
    apart[330:370] = 1
    assert stopped(("head", 1, hits(320)), ("stage4", 2, apart), ("all", 3, hits(330)), ("deep", 4, hits(331))) == set()


def test_the_two_most_accurate_never_stop() -> None:
    assert stopped(("head", 1, hits(380)), ("stage4", 2, hits(200)), ("all", 3, hits(100))) == {"all"}


def test_a_cheaper_plan_does_not_stop_because_of_a_dearer_one() -> None:
    assert stopped(("head", 1, hits(100)), ("stage4", 2, hits(380)), ("all", 3, hits(381))) == set()


def test_nobody_stops_because_of_one_that_stops_itself() -> None:
    """head is as good as stage4 to within the margin, and stage4 as stage3, but head is not as good as stage3."""
    places = {"head": 320, "stage4": 322, "stage3": 324, "all": 390, "scratch": 391}
    standings = [(name, cost, hits(right)) for cost, (name, right) in enumerate(places.items())]
    assert stopped(*standings) == {"stage4"}


def test_images_that_are_alike_count_as_few() -> None:
    other = hits(300)
    other[300:340] = 1
    other[:20] = 0
    plans = (("head", 1, hits(300)), ("stage4", 2, hits(280)), ("all", 3, hits(390)), ("x", 4, hits(391)))
    assert stopped(*plans) == {"stage4"}
    alike = (("head", 1, other), ("stage4", 2, hits(310)), ("all", 3, hits(390)), ("x", 4, hits(391)))
    assert stopped(*alike) == {"stage4"}
    assert stopped(*alike, groups=np.arange(400) // 40) == set()


@given(
    right=st.lists(st.integers(0, 400), min_size=1, max_size=8),
    costs=st.lists(st.integers(1, 5), min_size=8, max_size=8),
)
def test_at_least_two_go_on_and_the_cheapest_is_among_them_or_beaten_by_nobody(
    right: list[int], costs: list[int]
) -> None:
    plans = [(str(place), float(costs[place]), hits(count)) for place, count in enumerate(right)]
    out = stopped(*plans)
    assert len(plans) - len(out) >= min(2, len(plans))
    cheapest = min(costs[: len(right)])
    assert not {name for name, cost, _ in plans if cost == cheapest} & out
