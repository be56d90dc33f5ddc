"""The pictures of what is inside name all they show, and stay small."""

from pathlib import Path

import numpy as np
import pytest

from frostline.interpret.captions import list_notes
from frostline.interpret.figures import draw_pictures
from frostline.interpret.inspection import choose_cases
from frostline.interpret.output import write_look
from frostline.plotting import use_style
from frostline.report.comparison import read_comparison
from frostline.report.page import render_report
from tests import insides, toys
from tests.figures import find_overlaps
from tests.insides import made_up, without_places
from tests.reports import write_study
from tests.stages.looked_into import predictions

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_worst_mistake_is_the_test_image_with_the_highest_probability_of_a_wrong_class() -> None:
    table = predictions(
        (0, "test", 10, 0, 0.6), (0, "test", 11, 1, 0.97), (0, "test", 12, 0, 0.9), (0, "test", 13, 1, 0.3),
        (0, "test", 14, 0, 0.02), (1, "test", 16, 0, 0.99),
    )  # fmt: skip
    wrong, hits = choose_cases(toys.prepared(), table, replicate=0, count=2)
    assert [(each.name, each.actual, each.predicted, each.confidence) for each in wrong] == [
        ("12", 0, 1, 0.9), ("13", 1, 0, 0.7),
    ]  # fmt: skip
    assert [each.name for each in hits] == ["14", "11"]
    assert np.array_equal(hits[0].pixels, toys.pictures()[14])


def test_there_are_as_many_mistakes_as_were_made() -> None:
    wrong, hits = choose_cases(toys.prepared(), predictions((0, "test", 3, 1, 0.8)), replicate=0, count=4)
    assert (len(wrong), len(hits)) == (0, 1)


@pytest.mark.parametrize(
    "inside",
    [made_up(), without_places(), made_up(("microcrack across both busbars", "electrically insulated cell part"))],
    ids=["usual", "without places", "long names"],
)
def test_no_two_texts_of_a_picture_overlap(inside: insides.Inside) -> None:
    with use_style():
        for name, picture in draw_pictures(inside).items():
            assert not find_overlaps(picture), name


def test_pictures_of_noise_from_large_images_stay_small(tmp_path: Path) -> None:
    write_look(tmp_path / "look", made_up(side=224, filters=64, filter_side=64))
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "look").iterdir()}
    assert len(sizes) == 4 * 2 + 2
    assert max(sizes.values()) < 400_000, sizes


def test_the_page_says_what_a_network_without_places_cannot_show(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    write_look(folder / "look", without_places())
    for name in ("curves", "confusion"):
        (tmp_path / f"{name}.svg").write_text("<svg/>")
    page = render_report(read_comparison(folder, folder / "source.json"), tmp_path, folder / "look", folder / "model")
    assert all(f"<p>{note}</p>" in page for note in list_notes(without_places()))
    assert [title in page for title in ("What it looks for", "What it finds", "What it goes by")] == [
        False,
        False,
        True,
    ]
