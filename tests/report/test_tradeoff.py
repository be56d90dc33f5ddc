"""Scores over a cost: every plan is named with its numbers, nothing overlaps, and what is drawn is what was found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from frostline.constants import COSTS
from frostline.plotting import COLOURS, save_figure, use_style
from frostline.report.points import MARKERS, View, list_views
from frostline.report.tradeoff import (
    begin_columns,
    draw_tradeoff,
    fade,
    span_costs,
    spread,
)
from frostline.units import format_cost
from tests.figures import find_overlaps, find_text_boxes
from tests.report.pages import KINDS
from tests.reports import VARIANTS, Study, make_comparison


def made_up(study: Study, cost: str = "train_flops", kind: str = "accuracy") -> View:
    return next(view for view in list_views(make_comparison(study), cost) if view.kind == kind)


POINT = made_up(VARIANTS["usual"]).points[0]
SEVERAL = [name for name, study in VARIANTS.items() if len(study.cells) > 1]
DRAWN = [(name, kind) for kind in KINDS for name in (VARIANTS if kind == "accuracy" else SEVERAL)]


def test_differences_come_first_where_there_are_several_plans() -> None:
    for name, study in VARIANTS.items():
        kinds = [view.kind for view in list_views(make_comparison(study), "train_flops")]
        assert kinds == (["difference", "accuracy"] if name in SEVERAL else ["accuracy"])


def test_a_difference_is_to_full_fine_tuning_which_stands_at_0_and_at_the_whole_of_its_cost() -> None:
    view = made_up(VARIANTS["usual"], kind="difference")
    (whole,) = (point for point in view.points if point.name == "all")
    assert (whole.score, whole.low, whole.high, whole.cost) == (0, 0, 0, 1)
    assert view.cost == "share of full fine-tuning's training computation"
    assert view.margin == 1.0
    plans = make_comparison(VARIANTS["usual"]).plans
    assert [point.score for point in view.points] == pytest.approx((100 * plans.difference).tolist())


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("name", "kind"), DRAWN)
def test_the_picture_names_every_plan_and_no_two_texts_overlap(name: str, kind: str, cost: str, narrow: bool) -> None:
    made = made_up(VARIANTS[name], cost, kind)
    with use_style():
        figure = draw_tradeoff(made, "toys", narrow=narrow)
        shown = [text for text, _ in find_text_boxes(figure)]
        assert not find_overlaps(figure)
    for point in made.points:
        assert any(f"{point.shown}\n{point.told}" in text for text in shown)
    assert sum(", advised" in text for text in shown) == 1


@pytest.mark.parametrize(("name", "kind"), DRAWN)
def test_no_label_of_the_picture_lies_on_a_mark_or_an_interval(name: str, kind: str) -> None:
    made = made_up(VARIANTS[name], kind=kind)
    with use_style():
        figure = draw_tradeoff(made, "toys")
        labels = [box for text, box in find_text_boxes(figure) if any(point.told in text for point in made.points)]
    assert len(labels) == len(made.points)
    (axes,) = figure.axes
    bars = [bar.get_window_extent() for bar in axes.collections if bar.get_alpha() != 0]
    marks = [line.get_window_extent() for line in axes.lines if line.get_alpha() != 0 and len(line.get_xdata()) == 1]
    for label in labels:
        for other in (*bars, *marks):
            assert not (label.x0 < other.x1 and other.x0 < label.x1 and label.y0 < other.y1 and other.y0 < label.y1)


def test_plans_of_equal_cost_stand_side_by_side() -> None:
    made = made_up(VARIANTS["equal_costs"])
    assert len({point.cost for point in made.points}) == 1
    with use_style():
        (axes,) = draw_tradeoff(made, "toys").axes
    places = sorted(
        line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1 and line.get_marker() != "o"
    )
    assert (np.diff(places) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_is_drawn_and_each_replicate_is_a_dash(kind: str) -> None:
    made = made_up(VARIANTS["usual"], kind=kind)
    with use_style():
        (axes,) = draw_tradeoff(made, "toys").axes
    spans = [bar.get_segments()[0][:, 1].tolist() for bar in axes.collections if bar.get_alpha() != 0]
    assert spans == [[point.low, point.high] for point in made.points]
    dashes = [line.get_ydata().tolist() for line in axes.lines if line.get_marker() == "_"]
    assert dashes == [list(point.replicates) for point in made.points]


def test_the_margin_is_a_band_about_no_difference() -> None:
    with use_style():
        (axes,) = draw_tradeoff(made_up(VARIANTS["usual"], kind="difference"), "toys").axes
    (band,) = axes.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == (-1.0, 1.0)


def test_a_mark_is_the_fuller_the_likelier_it_is() -> None:
    assert to_hex(fade("#0072B2", 0)) == "#ffffff"
    assert to_hex(fade("#0072B2", 1)) == "#0072b2"
    assert to_hex(fade("#000000", 0.4)) == "#999999"


def test_no_two_of_49_plans_share_both_colour_and_shape() -> None:
    names = tuple(f"plan{index}" for index in range(len(COLOURS) * len(MARKERS)))
    made = made_up(Study(plans=names, advised="plan0", reference="plan0"))
    assert len({(point.colour, point.marker) for point in made.points}) == len(names)


@given(st.lists(st.floats(1, 1e15), min_size=1, max_size=9))
def test_a_cost_axis_holds_every_cost_and_has_a_few_ticks(costs: list[float]) -> None:
    axis = span_costs([replace(POINT, cost=cost) for cost in costs])
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
        picture = draw_tradeoff(made_up(VARIANTS["usual"]), "toys")
        save_figure(picture, tmp_path, "one")
        save_figure(picture, tmp_path, "other")
    for kind in ("svg", "png"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"other.{kind}").read_bytes()
