"""Which pictures a study draws beside, and what they say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from frostline.answer.estimator import Estimate
from frostline.files import read_csv
from frostline.report.comparison import Comparison, read_comparison
from frostline.report.lessons import Lesson, list_lessons
from frostline.stats.ablations import compare_sizes, describe_share
from frostline.stats.advice import Option
from frostline.stats.measured import Measured
from tests.reports import VARIANTS, write_study


def study_of(folder: Path, name: str) -> Comparison:
    return read_comparison(write_study(folder, VARIANTS[name]), folder / "source.json")


def lesson(folder: Path, name: str, which: str) -> Lesson:
    return next(each for each in list_lessons(study_of(folder, name)) if each.name == which)


def lines(figure: Figure) -> dict[str, Any]:
    """Return the lines of the picture by their names in its legend."""
    (axes,) = figure.axes
    return {str(line.get_label()): line for line in axes.lines}


@pytest.mark.parametrize(
    ("name", "lessons"),
    [("usual", []), ("two_backbones", ["losses"]), ("networks", ["losses", "shifts"]), ("sizes", ["sizes"])],
)
def test_a_study_draws_what_it_has_to_show_and_nothing_else(tmp_path: Path, name: str, lessons: list[str]) -> None:
    assert [each.name for each in list_lessons(study_of(tmp_path, name))] == lessons


def test_training_losses_are_means_over_replicates_at_the_rate_that_was_kept(tmp_path: Path) -> None:
    drawn = lines(lesson(tmp_path, "networks", "losses").draw())
    assert list(drawn) == ["mlp", "cnn2", "residual20"]
    history = read_csv(tmp_path / "history.csv")
    means = history[(history.backbone == "mlp") & history.chosen].groupby("epoch").train_loss.mean()
    assert drawn["mlp"].get_xdata().tolist() == means.index.tolist()
    np.testing.assert_allclose(drawn["mlp"].get_ydata(), means)


def test_accuracy_is_drawn_over_the_shift_from_none_on_and_told_in_words(tmp_path: Path) -> None:
    shown = lesson(tmp_path, "networks", "shifts")
    drawn = lines(shown.draw())
    assert list(drawn) == ["mlp, 821 k parameters", "cnn2, 545 k parameters", "residual20, 270 k parameters"]
    line = drawn["mlp, 821 k parameters"]
    its = read_csv(tmp_path / "shifted.csv").query("backbone == 'mlp'")
    assert line.get_xdata().tolist() == its.shift_px.tolist() == sorted(its.shift_px)
    np.testing.assert_allclose(line.get_ydata(), its.accuracy)
    told = ", ".join(f"{100 * row.accuracy:.0f} % at {row.shift_px}" for row in its.itertuples())
    assert f"mlp, 821 k parameters: {told};" in shown.told


def test_each_depth_is_a_line_over_the_images_that_it_was_trained_on(tmp_path: Path) -> None:
    shown = lesson(tmp_path, "sizes", "sizes")
    drawn = lines(shown.draw())
    assert list(drawn) == ["head", "from stage4", "all"]
    for line in drawn.values():
        np.testing.assert_allclose(line.get_xdata(), [91, 452, 1802], rtol=0.03)
    assert shown.sentences[0].startswith("91 images (5 %)")


@pytest.mark.parametrize(("name", "which"), [("networks", "losses"), ("networks", "shifts"), ("sizes", "sizes")])
def test_no_two_texts_of_a_lesson_overlap(tmp_path: Path, name: str, which: str) -> None:
    figure = lesson(tmp_path, name, which).draw()
    figure.canvas.draw()
    (axes,) = figure.axes
    texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]
    boxes = [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


def measured(*accuracies: float) -> Measured:
    """Return accuracies that are known to half a point."""
    known = np.eye(len(accuracies)) * 0.0025**2
    return Measured({"accuracy": Estimate(np.array(accuracies), known, np.zeros_like(known), 10_000, 5)})


def sizes_of(runs: list[dict[str, Any]], options: list[Option], found: Measured) -> list[dict[str, Any]]:
    return compare_sizes(runs, options, found, found.estimates["accuracy"], 0.01)


def option(named: str, learns: str) -> Option:
    return Option(named, "unfreeze", learns, 1.0, "efficientnet_lite0")


def run_of(plan: str, percent: float | None, images: int) -> dict[str, Any]:
    definition = {} if percent is None else {"train_percent": percent}
    return {"backbone": "b", "plan": plan, "definition": definition, "replicates": {"0": {"train_images": images}}}


RUNS = [run_of("head_10", 10, 150), run_of("all_10", 10, 150), run_of("head", None, 1_500), run_of("all", None, 1_500)]
OPTIONS = [option("head_10", "head"), option("all_10", "all"), option("head", "head"), option("all", "all")]


def test_of_every_size_the_depth_to_take_is_told_with_its_probability_beside_the_rule_of_thumb() -> None:
    told = sizes_of(RUNS, OPTIONS, measured(0.72, 0.7, 0.8, 0.9))
    assert [each["sentence"] for each in told] == [
        "150 images (10 %): head_10, 100 % sure that it is within 1 point of the best. The rule of thumb says only the "
        "head too.",
        "1,500 images (100 %): all, 100 % sure that it is within 1 point of the best. The rule of thumb says the last "
        "parts, which no plan does.",
    ]


def test_where_another_depth_is_advised_it_says_by_how_much_the_rule_of_thumb_is_off() -> None:
    (small, _) = sizes_of(RUNS, OPTIONS, measured(0.7, 0.72, 0.8, 0.9))
    assert small["sentence"].endswith(
        "The rule of thumb says only the head: head_10 is -2.0 points, 95 % interval -2.7 to -1.3 from it."
    )
    assert (small["learns"], small["rule"]) == ("all", "head")


def test_a_study_of_one_size_has_nothing_to_tell_of_sizes() -> None:
    assert sizes_of(RUNS[2:], OPTIONS[2:], measured(0.8, 0.9)) == []


def test_advice_says_on_how_many_of_the_images_where_plans_differ_in_it() -> None:
    assert describe_share(RUNS[0], RUNS) == " (on 10 % of the training images)"
    assert describe_share(RUNS[2], RUNS[2:]) == ""
