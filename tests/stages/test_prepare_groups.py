"""What belongs together stays together, whoever tells it: folders, names, or the order of files."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tests.stages.prepared import make_class, prepare_pictures, refuse_pictures

CATS, DOGS = make_class("cat", 12, green=0), make_class("dog", 12, green=200)


def _together(prepared: Path, group_of: Callable[[str], str]) -> None:
    """Check that images are in one group where they have the same name by this, and else not."""
    images = pd.read_csv(prepared / "images.csv")
    names = images.id.map(group_of)
    assert images.groupby(names).group.nunique().max() == 1
    assert images.groupby("group").id.agg(lambda ids: len({group_of(name) for name in ids})).max() == 1


PATIENTS = {
    f"{name}/P{number % 7:02d}_{number}.png": (number, 60 * place, 0)
    for place, name in enumerate(("ill", "well"))
    for number in range(28)
}


def test_images_of_one_patient_are_found_by_a_pattern_in_the_name_in_whichever_class_they_lie(tmp_path: Path) -> None:
    prepared = prepare_pictures(tmp_path, PATIENTS, groups="name: ^(P[0-9]+)_", folds=3)
    _together(prepared, lambda name: name.partition("/")[2][:3])


def test_images_in_one_folder_below_that_of_their_class_belong_together(tmp_path: Path) -> None:
    below = {name.replace("_", "/"): picture for name, picture in PATIENTS.items()}
    _together(prepare_pictures(tmp_path, below, groups="folders", folds=3), lambda name: name.split("/")[1])


def test_an_image_beside_such_folders_is_a_group_of_its_own(tmp_path: Path) -> None:
    below = {name.replace("_", "/"): picture for name, picture in PATIENTS.items()}
    loose = {"ill/a.png": (1, 2, 3), "well/b.png": (3, 2, 1)}
    images = pd.read_csv(prepare_pictures(tmp_path, below | loose, groups="folders", folds=3) / "images.csv")
    assert images.group.nunique() == 9


def test_a_pattern_that_misses_a_name_is_refused_with_the_names(tmp_path: Path) -> None:
    assert refuse_pictures(tmp_path, PATIENTS | {"ill/other.png": (9, 9, 9)}, groups="name: ^(P[0-9]+)_") == (
        "data.groups must find a group in every image's name. Got 'name: ^(P[0-9]+)_', and ill/other.png in which it "
        "finds nothing instead."
    )


def test_what_is_no_pattern_is_refused_with_the_reason(tmp_path: Path) -> None:
    assert refuse_pictures(tmp_path, CATS | DOGS, groups="name: (P") == (
        "data.groups must hold a regular expression after name:. Got 'name: (P' instead. "
        "Python says: missing ), unterminated subpattern at position 0."
    )


def test_folders_where_there_are_none_are_refused(tmp_path: Path) -> None:
    line = "data.groups must be told by something. Got folders, with no folder below those of the classes instead."
    assert refuse_pictures(tmp_path, CATS | DOGS, groups="folders") == line


def test_a_group_that_official_splits_tear_is_refused_by_its_name(tmp_path: Path) -> None:
    torn = {f"{split}/{name}": picture for name, picture in PATIENTS.items() for split in ("train",)}
    torn |= {f"test/{name}": (*picture[:2], 9) for name, picture in PATIENTS.items() if "P03" in name}
    assert refuse_pictures(tmp_path, torn, groups="name: ^(P[0-9]+)_") == (
        "data must keep each group of images in one split. Got P03 instead. data.splits: folds keeps them together."
    )
    prepare_pictures(tmp_path, torn, groups="name: ^(P[0-9]+)_", splits="folds", folds=3)


def test_blocks_are_of_files_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    frames = {
        f"{name}/frame{number}.png": (number, 90 * place, 0)
        for place, name in enumerate(("ill", "well"))
        for number in range(1, 25)
    }
    prepared = prepare_pictures(tmp_path, frames, groups="blocks", block_files=4, folds=3)
    _together(prepared, lambda name: f"{name[:4]}{(int(name.partition('frame')[2][:-4]) - 1) // 4}")
