"""The pictures: nothing overlaps, every plan is named with its numbers, and the same tables give the same bytes."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import ImageFont

from frostline.constants import COSTS
from frostline.plotting import COLOURS, save, shortened, styled, text_width, wrapped
from frostline.report.figures import confusion, curves, faded, tradeoff
from frostline.report.points import SHAPES, Point, columns, cost_axis, points_of, spread
from frostline.units import format_cost, typeset_points
from stages import plot
from tests.reports import (
    VARIANTS,
    Study,
    confusion_of,
    costs_of,
    history_of,
    plans_of,
    runs_of,
    write_study,
)


def made_up(study: Study, cost: str) -> list[Point]:
    return points_of(plans_of(study), costs_of(study), runs_of(study), cost, "advised")


def text_boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return every text that the figure shows and where it lies, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    hidden = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        or not axes.get_visible()
    }
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text not in hidden]
    # An annotation's own extent would hold its leader line too.
    boxes = [(text.get_text(), Text.get_window_extent(text, canvas.get_renderer())) for text in texts]
    return [(text, box) for text, box in boxes if text.strip()]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    boxes = text_boxes(figure)
    return [
        (first, second)
        for index, (first, box) in enumerate(boxes)
        for second, other in boxes[index + 1 :]
        if min(box.x1, other.x1) - max(box.x0, other.x0) > 1 and min(box.y1, other.y1) - max(box.y0, other.y0) > 1
    ]


# --- Accuracy against a cost ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_tradeoff_names_every_plan_and_no_two_texts_overlap(name: str, cost: str) -> None:
    made = made_up(VARIANTS[name], cost)
    with styled():
        figure = tradeoff(made, cost, "toys")
        shown = [text for text, _ in text_boxes(figure)]
        assert not overlaps(figure)
    for point in made:
        assert any(f"{point.accuracy:.3f}\non front {100 * point.front:.0f} %" in text for text in shown)
    assert sum(", advised" in text for text in shown) == 1


@pytest.mark.parametrize("name", VARIANTS)
def test_no_label_of_the_tradeoff_lies_on_a_mark_or_an_interval(name: str) -> None:
    made = made_up(VARIANTS[name], "train_flops")
    with styled():
        figure = tradeoff(made, "train_flops", "toys")
        labels = [box for text, box in text_boxes(figure) if "on front" in text]
    (axes,) = figure.axes
    bars = [bar.get_window_extent() for bar in axes.collections]
    marks = [line.get_window_extent() for line in axes.lines]
    for label in labels:
        for other in (*bars, *marks):
            assert not (label.x0 < other.x1 and other.x0 < label.x1 and label.y0 < other.y1 and other.y0 < label.y1)


def test_plans_of_equal_cost_stand_side_by_side() -> None:
    made = made_up(VARIANTS["equal_costs"], "train_flops")
    assert len({point.cost for point in made}) == 1
    with styled():
        (axes,) = tradeoff(made, "train_flops", "toys").axes
    places = sorted(
        line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1 and line.get_marker() != "o"
    )
    assert (np.diff(places) > 0).all()


def test_the_interval_is_drawn_and_each_seed_is_a_dash() -> None:
    made = made_up(VARIANTS["usual"], "train_flops")
    with styled():
        (axes,) = tradeoff(made, "train_flops", "toys").axes
    spans = [bar.get_segments()[0][:, 1].tolist() for bar in axes.collections]
    assert spans == [[point.low, point.high] for point in made]
    dashes = [line.get_ydata().tolist() for line in axes.lines if line.get_marker() == "_"]
    assert dashes == [list(point.seeds) for point in made]


def test_a_mark_is_the_fuller_the_likelier_its_plan_is_on_the_front() -> None:
    assert to_hex(faded("#0072B2", 0)) == "#ffffff"
    assert to_hex(faded("#0072B2", 1)) == "#0072b2"
    assert to_hex(faded("#000000", 0.4)) == "#999999"


def test_no_two_of_49_plans_share_both_colour_and_shape() -> None:
    names = tuple(f"plan{index}" for index in range(len(COLOURS) * len(SHAPES)))
    made = made_up(Study(plans=names, advised="plan0"), "train_flops")
    assert len({(point.colour, point.shape) for point in made}) == len(names)


@given(st.lists(st.floats(1, 1e15), min_size=1, max_size=9))
def test_a_cost_axis_holds_every_cost_and_has_a_few_ticks(costs: list[float]) -> None:
    made = [Point("a", cost, 0.5, 0.8, 0.7, 0.9, (0.8,), False, "#000000", "circle") for cost in costs]
    axis = cost_axis(made)
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
    begin = columns(np.array([0.1, 0.15, 0.8, 0.5]), np.array([0.2, 0.2, 0.3, 0.2]))
    assert begin.tolist() == [0.15, 0.15, 1.0, 0.5]


# --- Words in pictures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["head  0.816", "on front 97 %, advised", "stage4_last_block", "WWWW MMMM", "illicit"])
def test_words_are_taken_to_be_as_wide_as_they_are_or_a_little_wider(text: str) -> None:
    folder = Path(plt.matplotlib.get_data_path()) / "fonts" / "ttf"
    for file, bold in (("DejaVuSans.ttf", False), ("DejaVuSans-Bold.ttf", True)):
        width = ImageFont.truetype(str(folder / file), 100).getlength(text)
        assert 0.97 * width <= text_width(text, 100, bold=bold) <= 1.5 * width


def test_a_name_too_long_keeps_its_beginning_and_its_end() -> None:
    short = shortened("efficientnet_lite0 stage4", 100, 10)
    assert short.startswith("eff")
    assert short.endswith("stage4")
    assert text_width(short, 10, bold=True) <= 100


@given(st.text(min_size=1).filter(str.strip), st.floats(40, 400))
def test_wrapped_words_stay_within_the_width_and_lose_nothing(text: str, width: float) -> None:
    lines = wrapped(text, width, 10)
    assert all(text_width(line, 10) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_costs_are_told_in_units_that_people_use() -> None:
    told = [
        (2_562, "trainable_parameters", "2.56 k"), (999_999, "trainable_parameters", "1 M"),
        (1.31e14, "train_flops", "131 TFLOP"), (0.342, "train_seconds", "0.342 s"),
        (9_999, "train_seconds", "9,999 s"), (1_292_689_408, "peak_memory_bytes", "1.29 GB"),
        (float("nan"), "peak_memory_bytes", "\N{EN DASH}"),
    ]  # fmt: skip
    assert [format_cost(value, cost) for value, cost, _ in told] == [words for *_, words in told]
    assert typeset_points(-0.0123) == "\N{MINUS SIGN}1.2"


# --- The other pictures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_no_two_texts_of_curves_and_confusion_overlap(name: str) -> None:
    study = VARIANTS[name]
    with styled():
        assert not overlaps(curves(history_of(study), plans_of(study)))
        its = confusion_of(study).query(f"plan == '{study.advised}' and backbone == '{study.backbones[0]}'")
        assert not overlaps(confusion(its, "the_last_two_blocks_of_stage4_and_the_head", study.seeds))


def test_a_bar_stands_on_each_line_where_a_phase_begins() -> None:
    study = VARIANTS["phases"]
    history, plans = history_of(study), plans_of(study)
    figure = curves(history, plans)
    assert "bar: a phase begins" in figure.get_suptitle()
    for axes, plan in zip(figure.axes, plans.plan, strict=False):
        bars = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "|"]
        assert bars == [[2, 3] if plan in study.phased else []] * study.seeds
    usual = VARIANTS["usual"]
    assert "bar" not in curves(history_of(usual), plans_of(usual)).get_suptitle()


def test_no_two_texts_of_many_classes_overlap() -> None:
    wide = pd.DataFrame([(f"a long name {i}", f"a long name {j}", 99) for i in range(9) for j in range(9)])
    wide.columns = pd.Index(["actual", "predicted", "images"])
    with styled():
        assert not overlaps(confusion(wide, "stage3", 2))


def test_a_confusion_matrix_shows_shares_of_the_true_class() -> None:
    rows = [("a", "a", 9), ("a", "b", 1), ("b", "a", 3), ("b", "b", 7)]
    with styled():
        drawn = confusion(pd.DataFrame(rows, columns=["actual", "predicted", "images"]), "stage3", 2)
        shown = [text for text, _ in text_boxes(drawn)]
    assert {"90 %\n9", "10 %\n1", "30 %\n3", "70 %\n7"} <= set(shown)


def test_a_class_that_no_test_image_has_leaves_its_row_empty() -> None:
    rows = [("a", "a", 9), ("a", "b", 1), ("b", "a", 0), ("b", "b", 0)]
    with styled():
        drawn = confusion(pd.DataFrame(rows, columns=["actual", "predicted", "images"]), "stage3", 2)
        assert "0 %\n0" in [text for text, _ in text_boxes(drawn)]


# --- All of them, written -------------------------------------------------------------------------------------------


def drawn(folder: Path, study: Study) -> Path:
    """Return the folder in which the stage drew the study."""
    write_study(folder, study)
    plot.main(
        reports=folder,
        look=folder / "look",
        source=folder / "source.json",
        figures=folder / "figures",
        report=folder / "report.html",
    )
    return folder


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = (drawn(tmp_path / name, VARIANTS["usual"]) for name in ("one", "other"))
    files = sorted(path.name for path in (one / "figures").iterdir())
    names = ["tradeoff", *(f"tradeoff_{cost}" for cost in COSTS), "curves", "confusion"]
    assert files == sorted(f"{name}.{kind}" for name in names for kind in ("svg", "png"))
    for name in ("report.html", *(f"figures/{file}" for file in files)):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_the_first_picture_is_that_of_the_cost_of_the_advice(tmp_path: Path) -> None:
    figures = drawn(tmp_path, VARIANTS["cost_is_memory"]) / "figures"
    assert (figures / "tradeoff.png").read_bytes() == (figures / "tradeoff_peak_memory_bytes.png").read_bytes()
    assert (figures / "tradeoff.png").read_bytes() != (figures / "tradeoff_train_flops.png").read_bytes()


def test_classes_whose_names_look_like_numbers_nothing_or_formulas_are_drawn_by_their_names(tmp_path: Path) -> None:
    with plt.rc_context({"svg.fonttype": "none"}):
        figures = drawn(tmp_path, Study(classes=("007", "NA", "$x_1$"))) / "figures"
    shown = (figures / "confusion.svg").read_text()
    for name in ("007", "NA", "$x_1$"):
        assert f">{name}<" in shown


def test_saving_one_picture_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    with styled():
        picture = tradeoff(made_up(VARIANTS["usual"], "train_flops"), "train_flops", "toys")
        save(picture, tmp_path, "one")
        save(picture, tmp_path, "other")
    for kind in ("svg", "png"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"other.{kind}").read_bytes()
