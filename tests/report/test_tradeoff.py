"""Accuracy over a cost: every plan is named with its numbers, nothing overlaps, and what is drawn is what was found."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from frostline.constants import COSTS
from frostline.plotting import COLOURS, save_figure, use_style
from frostline.report.tradeoff import (
    MARKERS,
    Point,
    begin_columns,
    draw_tradeoff,
    fade,
    list_points,
    span_costs,
    spread,
)
from frostline.units import format_cost
from tests.figures import find_overlaps, find_text_boxes
from tests.reports import VARIANTS, Study, make_table


def made_up(study: Study, cost: str) -> list[Point]:
    return list_points(
        make_table("plans", study), make_table("costs", study), make_table("runs", study), cost, "advised"
    )


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_tradeoff_names_every_plan_and_no_two_texts_overlap(name: str, cost: str, narrow: bool) -> None:
    made = made_up(VARIANTS[name], cost)
    with use_style():
        figure = draw_tradeoff(made, cost, "toys", narrow=narrow)
        shown = [text for text, _ in find_text_boxes(figure)]
        assert not find_overlaps(figure)
    for point in made:
        assert any(f"{point.accuracy:.3f}\non front {100 * point.front:.0f} %" in text for text in shown)
    assert sum(", advised" in text for text in shown) == 1


@pytest.mark.parametrize("name", VARIANTS)
def test_no_label_of_the_tradeoff_lies_on_a_mark_or_an_interval(name: str) -> None:
    made = made_up(VARIANTS[name], "train_flops")
    with use_style():
        figure = draw_tradeoff(made, "train_flops", "toys")
        labels = [box for text, box in find_text_boxes(figure) if "on front" in text]
    (axes,) = figure.axes
    bars = [bar.get_window_extent() for bar in axes.collections if bar.get_alpha() != 0]
    marks = [line.get_window_extent() for line in axes.lines if line.get_alpha() != 0]
    for label in labels:
        for other in (*bars, *marks):
            assert not (label.x0 < other.x1 and other.x0 < label.x1 and label.y0 < other.y1 and other.y0 < label.y1)


def test_plans_of_equal_cost_stand_side_by_side() -> None:
    made = made_up(VARIANTS["equal_costs"], "train_flops")
    assert len({point.cost for point in made}) == 1
    with use_style():
        (axes,) = draw_tradeoff(made, "train_flops", "toys").axes
    places = sorted(
        line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1 and line.get_marker() != "o"
    )
    assert (np.diff(places) > 0).all()


def test_the_interval_is_drawn_and_each_replicate_is_a_dash() -> None:
    made = made_up(VARIANTS["usual"], "train_flops")
    with use_style():
        (axes,) = draw_tradeoff(made, "train_flops", "toys").axes
    spans = [bar.get_segments()[0][:, 1].tolist() for bar in axes.collections if bar.get_alpha() != 0]
    assert spans == [[point.low, point.high] for point in made]
    dashes = [line.get_ydata().tolist() for line in axes.lines if line.get_marker() == "_"]
    assert dashes == [list(point.replicates) for point in made]


def test_a_mark_is_the_fuller_the_likelier_its_plan_is_on_the_front() -> None:
    assert to_hex(fade("#0072B2", 0)) == "#ffffff"
    assert to_hex(fade("#0072B2", 1)) == "#0072b2"
    assert to_hex(fade("#000000", 0.4)) == "#999999"


def test_no_two_of_49_plans_share_both_colour_and_shape() -> None:
    names = tuple(f"plan{index}" for index in range(len(COLOURS) * len(MARKERS)))
    made = made_up(Study(plans=names, advised="plan0"), "train_flops")
    assert len({(point.colour, point.marker) for point in made}) == len(names)


@given(st.lists(st.floats(1, 1e15), min_size=1, max_size=9))
def test_a_cost_axis_holds_every_cost_and_has_a_few_ticks(costs: list[float]) -> None:
    made = [Point("a", cost, 0.5, 0.8, 0.7, 0.9, (0.8,), False, "#000000", "o") for cost in costs]
    axis = span_costs(made)
    assert ((axis.share(np.log10(costs)) > 0) & (axis.share(np.log10(costs)) < 1)).all()
    assert 2 <= len(axis.ticks) <= 6
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    assert len({format_cost(10**tick, "train_flops") for tick in axis.ticks}) == len(axis.ticks)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_what_is_spread_keeps_its_distance_its_order_and_its_bounds(heights: list[float]) -> None:
    placed = spread(np.array(heights), 0.1, 0, 1)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(placed[order]) >= 0.1 - 1e-9).all()
    assert (placed >= -1e-9).all()
    assert (placed <= 1 + 1e-9).all()


def test_what_is_far_enough_apart_stays_where_it_is() -> None:
    assert spread(np.array([0.9, 0.1, 0.5]), 0.1, 0, 1).tolist() == pytest.approx([0.9, 0.1, 0.5])


def test_what_has_too_little_room_shares_it() -> None:
    assert spread(np.array([0.5, 0.5, 0.5]), 0.9, 0, 1).tolist() == pytest.approx([0, 0.5, 1])


def test_points_that_stand_together_have_one_column_of_labels_behind_the_last_of_them() -> None:
    begin = begin_columns(np.array([0.1, 0.15, 0.8, 0.5]), np.array([0.2, 0.2, 0.3, 0.2]))
    assert begin.tolist() == [0.15, 0.15, 1.0, 0.5]


def test_saving_one_picture_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    with use_style():
        picture = draw_tradeoff(made_up(VARIANTS["usual"], "train_flops"), "train_flops", "toys")
        save_figure(picture, tmp_path, "one")
        save_figure(picture, tmp_path, "other")
    for kind in ("svg", "png"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"other.{kind}").read_bytes()
