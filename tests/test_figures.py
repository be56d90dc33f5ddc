"""The pictures: nothing overlaps, every plan is named, and the same tables give the same bytes."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from stages import plot
from stages.figures import LABEL_GAP, confusion, curves, save, spread, styled, tradeoff
from stages.report import render_report

PLANS = ("head", "stage4", "stage3", "all", "scratch")
FACTS = {
    "origin": "<toys>", "images": 20, "revision": "1", "licence": "none", "labels": "a or b",
    "images_per_class": {"a": 10, "b": 10}, "sha256": {"images.parquet": "0"},
}  # fmt: skip


def plans_table(accuracies: list[float]) -> pd.DataFrame:
    counts = [2_562, 2_674_000, 3_319_000, 3_373_000, 3_373_000]
    seeds = np.array([-0.02, 0.0, 0.02])
    rows = [
        {
            "backbone": "net", "plan": plan, "trainable_parameters": count, "parameters": 3_373_000,
            "trainable_percent": 100 * count / 3_373_000, "learning_rate": 0.001, "seeds": 3, "val_accuracy": value,
            "accuracy": value, "accuracy_sd": 0.02, "accuracy_low": value + seeds[0], "accuracy_high": value + seeds[2],
            "macro_f1": value, "majority_accuracy": 0.5, "audit": "passed", "advised": plan == "stage3",
        }
        for plan, count, value in zip(PLANS, counts, accuracies, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def runs_table(plans: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {"backbone": "net", "plan": plan, "seed": seed, "accuracy": accuracy + shift, "test_images": 10}
        for plan, accuracy in zip(plans.plan, plans.accuracy, strict=True)
        for seed, shift in enumerate((-0.02, 0.0, 0.02))
    ]
    return pd.DataFrame(rows)


def history_table() -> pd.DataFrame:
    rows = [
        {"backbone": "net", "plan": plan, "seed": seed, "epoch": epoch, "train_loss": 1 / epoch, "val_loss": 0.5,
         "chosen": True}
        for plan in PLANS for seed in (0, 1) for epoch in (1, 2, 3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def confusion_table() -> pd.DataFrame:
    rows = [("a", "a", 9), ("a", "b", 1), ("b", "a", 3), ("b", "b", 7)]
    return pd.DataFrame(rows, columns=["actual", "predicted", "images"])


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


@pytest.mark.parametrize(
    "accuracies", [[0.78, 0.80, 0.81, 0.81, 0.70], [0.8, 0.8, 0.8, 0.8, 0.8], [0.1, 0.99, 0.98, 0.985, 0.2]]
)
def test_the_tradeoff_names_every_plan_and_no_two_texts_overlap(accuracies: list[float]) -> None:
    plans = plans_table(accuracies)
    with styled():
        figure = tradeoff(plans, runs_table(plans), "toys")
        shown = [text for text, _ in text_boxes(figure)]
        assert not overlaps(figure)
    for plan, accuracy in zip(PLANS, accuracies, strict=True):
        assert any(text.startswith(f"{plan}  {accuracy:.3f}") for text in shown)
    assert sum("(advised)" in text for text in shown) == 1


def test_no_two_texts_of_curves_and_confusion_overlap() -> None:
    with styled():
        assert not overlaps(curves(history_table(), plans_table([0.8] * 5)))
        assert not overlaps(confusion(confusion_table(), "stage3", 2))
        wide = pd.DataFrame([(f"a long name {i}", f"a long name {j}", 99) for i in range(9) for j in range(9)])
        wide.columns = pd.Index(["actual", "predicted", "images"])
        assert not overlaps(confusion(wide, "stage3", 2))


def test_a_confusion_matrix_shows_shares_of_the_true_class() -> None:
    with styled():
        shown = [text for text, _ in text_boxes(confusion(confusion_table(), "stage3", 2))]
    assert {"90%\n9", "10%\n1", "30%\n3", "70%\n7"} <= set(shown)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_spread_labels_keep_their_distance_and_their_order(heights: list[float]) -> None:
    placed = spread(np.array(heights), LABEL_GAP)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(placed[order]) >= LABEL_GAP - 1e-4).all()


def test_labels_that_are_far_enough_apart_stay_where_they_are() -> None:
    assert spread(np.array([0.9, 0.1, 0.5]), LABEL_GAP).tolist() == [0.9, 0.1, 0.5]


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    plans = plans_table([0.78, 0.80, 0.81, 0.81, 0.70])
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        with styled():
            save(tradeoff(plans, runs_table(plans), "toys"), tmp_path / name, "tradeoff")
        written.append([(tmp_path / name / f"tradeoff.{kind}").read_bytes() for kind in ("svg", "png")])
    assert written[0] == written[1]


def test_classes_whose_names_look_like_numbers_or_nothing_are_drawn_by_their_names(tmp_path: Path) -> None:
    plans = plans_table([0.78, 0.80, 0.81, 0.81, 0.70])
    tables = {"plans": plans, "runs": runs_table(plans), "history": history_table()}
    rows = [(actual, predicted, 5) for actual in ("007", "NA") for predicted in ("007", "NA")]
    named = pd.DataFrame(rows, columns=["actual", "predicted", "images"])
    tables["confusion"] = named.assign(backbone="net", plan="stage3")
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "source.json").write_text(json.dumps(FACTS))
    with plt.rc_context({"svg.fonttype": "none"}):
        plot.main(
            reports=tmp_path, source=tmp_path / "source.json", figures=tmp_path / "figures", report=tmp_path / "r.html"
        )
    drawn = (tmp_path / "figures" / "confusion.svg").read_text()
    assert ">007<" in drawn
    assert ">NA<" in drawn


def test_the_report_needs_no_network_escapes_names_and_tells_what_pictures_show(tmp_path: Path) -> None:
    plans = plans_table([0.78, 0.80, 0.81, 0.81, 0.70])
    with styled():
        for name in ("tradeoff", "curves", "confusion"):
            save(tradeoff(plans, runs_table(plans), "toys"), tmp_path, name)
    page = render_report(plans, runs_table(plans), FACTS, tmp_path)
    assert "&lt;toys&gt;" in page
    assert "<toys>" not in page
    assert 'src="http' not in page
    assert "href=" not in page
    assert page.count("<img ") == page.count(' alt="') == 3
    assert "stage3: 3,319,000 trainable parameters, accuracy 0.810" in page
