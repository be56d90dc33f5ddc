"""The pictures: no two words overlap, every class has its place, and the same tables give the same bytes."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from frostline.constants import COSTS
from frostline.files import SUMS
from frostline.plotting import use_style
from frostline.report.figures import draw_confusion, draw_curves
from stages import plot
from tests.figures import find_overlaps, find_text_boxes
from tests.reports import VARIANTS, Study, make_table, write_study


@pytest.mark.parametrize("name", VARIANTS)
def test_no_two_texts_of_curves_and_confusion_overlap(name: str) -> None:
    study = VARIANTS[name]
    with use_style():
        assert not find_overlaps(draw_curves(make_table("history", study), make_table("plans", study)))
        its = make_table("confusion", study).query(f"plan == '{study.advised}' and backbone == '{study.backbones[0]}'")
        assert not find_overlaps(draw_confusion(its, "the_last_two_blocks_of_stage4_and_the_head", study.replicates))


def test_a_bar_stands_on_each_line_where_a_phase_begins() -> None:
    study = VARIANTS["phases"]
    history, plans = make_table("history", study), make_table("plans", study)
    figure = draw_curves(history, plans)
    assert "bar: a phase begins" in figure.get_suptitle()
    for axes, plan in zip(figure.axes, plans.plan, strict=False):
        bars = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "|"]
        assert bars == [[2, 3] if plan in study.phased else []] * study.replicates
    usual = VARIANTS["usual"]
    assert "bar" not in draw_curves(make_table("history", usual), make_table("plans", usual)).get_suptitle()


def test_no_two_texts_of_many_classes_overlap() -> None:
    wide = pd.DataFrame([(f"a long name {i}", f"a long name {j}", 99) for i in range(9) for j in range(9)])
    wide.columns = pd.Index(["actual", "predicted", "images"])
    with use_style():
        assert not find_overlaps(draw_confusion(wide, "stage3", 2))


def test_a_confusion_matrix_shows_shares_of_the_true_class() -> None:
    rows = [("a", "a", 9), ("a", "b", 1), ("b", "a", 3), ("b", "b", 7)]
    with use_style():
        drawn = draw_confusion(pd.DataFrame(rows, columns=["actual", "predicted", "images"]), "stage3", 2)
        shown = [text for text, _ in find_text_boxes(drawn)]
    assert {"90 %\n9", "10 %\n1", "30 %\n3", "70 %\n7"} <= set(shown)


def test_a_class_that_no_test_image_has_leaves_its_row_empty() -> None:
    rows = [("a", "a", 9), ("a", "b", 1), ("b", "a", 0), ("b", "b", 0)]
    with use_style():
        drawn = draw_confusion(pd.DataFrame(rows, columns=["actual", "predicted", "images"]), "stage3", 2)
        assert "0 %\n0" in [text for text, _ in find_text_boxes(drawn)]


def drawn(folder: Path, study: Study) -> Path:
    """Return the folder in which the stage drew the study."""
    write_study(folder, study)
    plot.main(
        reports=folder,
        look=folder / "look",
        source=folder / "source.json",
        model=folder / "model",
        told=folder / "model.json",
        figures=folder / "figures",
        report=folder / "report.html",
    )
    return folder


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = (drawn(tmp_path / name, VARIANTS["usual"]) for name in ("one", "other"))
    files = sorted(path.name for path in (one / "figures").iterdir())
    scored = [f"{kind}{cost}" for kind in ("difference", "accuracy") for cost in ("", *(f"_{cost}" for cost in COSTS))]
    names = [*scored, "curves", "confusion"]
    assert files == sorted([SUMS, *(f"{name}.{kind}" for name in names for kind in ("svg", "png"))])
    for name in ("report.html", *(f"figures/{file}" for file in files)):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_the_first_picture_is_that_of_the_cost_of_the_advice(tmp_path: Path) -> None:
    figures = drawn(tmp_path, VARIANTS["cost_is_memory"]) / "figures"
    for kind in ("difference", "accuracy"):
        shown = (figures / f"{kind}.png").read_bytes()
        assert shown == (figures / f"{kind}_peak_memory_bytes.png").read_bytes()
        assert shown != (figures / f"{kind}_train_flops.png").read_bytes()


def test_classes_whose_names_look_like_numbers_nothing_or_formulas_are_drawn_by_their_names(tmp_path: Path) -> None:
    with plt.rc_context({"svg.fonttype": "none"}):
        figures = drawn(tmp_path, Study(classes=("007", "NA", "$x_1$"))) / "figures"
    shown = (figures / "confusion.svg").read_text()
    for name in ("007", "NA", "$x_1$"):
        assert f">{name}<" in shown
