"""Prepared images are split as the study says, for every replicate, or refused by their names."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from frostline.preparation import streaming
from tests.stages.prepared import Picture, encoded, make_class, prepare_pictures, refuse_pictures

MORE_GROUPS = "Add images, lower data.block_files, or use data.groups: none."


CATS = make_class("cat", 12, green=0)


DOGS = make_class("dog", 12, green=200)


def test_each_row_of_the_arrays_and_tables_is_of_the_same_image(tmp_path: Path) -> None:
    prepared = prepare_pictures(tmp_path, CATS | DOGS)
    images, labels = np.load(prepared / "images.npy", mmap_mode="r"), np.load(prepared / "labels.npy")
    table = pd.read_csv(prepared / "images.csv")
    assert table.id.tolist() == sorted(CATS | DOGS)
    assert images.shape == (24, 16, 16, 3)
    assert images.dtype == np.uint8
    for row, (name, colour) in enumerate(sorted((CATS | DOGS).items())):
        assert (images[row] == colour).all()
        assert table["class"][row] == ["cat", "dog"][labels[row]] == name.split("/")[0]
        assert table.label[row] == labels[row]


def test_every_replicate_says_of_every_image_what_it_is(tmp_path: Path) -> None:
    splits = pd.read_csv(prepare_pictures(tmp_path, CATS | DOGS, repeats=3, folds=4) / "splits.csv")
    assert list(splits.columns) == ["replicate", "image", "split"]
    assert [(replicate, rows.image.tolist()) for replicate, rows in splits.groupby("replicate")] == [
        (replicate, list(range(24))) for replicate in range(12)
    ]
    assert set(splits.split) == {"train", "validation", "test"}


def test_a_repeat_tests_each_image_once_and_differs_from_the_others(tmp_path: Path) -> None:
    splits = pd.read_csv(prepare_pictures(tmp_path, CATS | DOGS, repeats=3, folds=4) / "splits.csv")
    tested = splits[splits.split == "test"]
    by_repeat = [rows.sort_values("image") for _, rows in tested.groupby(tested.replicate // 4)]
    assert all(rows.image.tolist() == list(range(24)) for rows in by_repeat)
    assert len({tuple(rows.replicate % 4) for rows in by_repeat}) == 3


def test_a_repeat_is_the_same_whatever_their_number(tmp_path: Path) -> None:
    one, three = (
        pd.read_csv(prepare_pictures(tmp_path / str(repeats), CATS | DOGS, repeats=repeats) / "splits.csv")
        for repeats in (1, 3)
    )
    pd.testing.assert_frame_equal(one, three[three.replicate < 5])


def test_folds_can_be_asked_for_where_the_source_has_splits_of_its_own(tmp_path: Path) -> None:
    splits = pd.read_csv(prepare_pictures(tmp_path, _official(), splits="folds") / "splits.csv")
    assert splits[splits.split == "test"].image.value_counts().tolist() == [1] * 36


def test_without_a_test_split_of_its_own_the_source_is_split_in_folds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = {name.replace("test/", "validation/"): picture for name, picture in _official().items()}
    splits = pd.read_csv(prepare_pictures(tmp_path, pictures) / "splits.csv")
    assert splits[splits.split == "test"].image.value_counts().tolist() == [1] * 36
    told = "prepare: 36 images of 16 px, 5 folds that test every image once (the source's own splits have no test)"
    assert told in capsys.readouterr().out


def test_more_images_than_one_batch_keep_their_order(tmp_path: Path) -> None:
    many = {
        f"{name}/{number:03d}.png": (number, green, 0)
        for name, green in (("cat", 0), ("dog", 9))
        for number in range(150)
    }
    images = np.load(prepare_pictures(tmp_path, many) / "images.npy")
    assert len(images) > streaming.IMAGES_AT_ONCE
    assert images[:, 0, 0].tolist() == [list(colour) for _, colour in sorted(many.items())]


def test_prepared_json_counts_what_a_person_would_count(tmp_path: Path) -> None:
    twins = {"cat/99.png": CATS["cat/00.png"]}
    told = json.loads((prepare_pictures(tmp_path, CATS | twins | DOGS) / "prepared.json").read_text(encoding="utf-8"))
    assert told["classes"] == ["cat", "dog"]
    assert told["images"] == 25
    assert told["images_per_class"] == {"cat": 13, "dog": 12}
    assert told["exact_duplicates"] == 1
    assert told["groups"] == 24
    assert told["splits"] == "folds"
    assert {sum(counts.values()) for counts in told["images_per_split"].values()} == {25}


def test_what_fetch_understood_and_left_alone_and_what_prepare_had_to_do_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawing = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    drawing.putpixel((0, 0), (9, 9, 9, 255))
    extra = {"cat/drawn.png": encoded(drawing), "dog/notes.txt": b"seen twice"}
    told = json.loads((prepare_pictures(tmp_path, CATS | DOGS | extra) / "prepared.json").read_text(encoding="utf-8"))
    assert told["notes"] == {"transparent, and was laid on white": 1}
    source = json.loads((tmp_path / "raw" / "source.json").read_text(encoding="utf-8"))
    assert (source["understood"], source["left_alone"]) == ("folders of 2 classes", ["1 .txt (no image's ending)"])
    assert capsys.readouterr().out.splitlines()[:4] == [
        "fetch: 25 images of 2 classes from folder images",
        "fetch: folder images was understood as folders of 2 classes",
        "fetch: left alone were 1 .txt (no image's ending)",
        "prepare: 1 of 25 images: transparent, and was laid on white",
    ]


def test_preparing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        prepared = prepare_pictures(tmp_path, CATS | DOGS)
        contents.append({path.name: path.read_bytes() for path in prepared.iterdir()})
    assert contents[0] == contents[1]


def test_all_unreadable_files_are_named_in_one_line(tmp_path: Path) -> None:
    deep = encoded(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "tiff")
    line = refuse_pictures(tmp_path, CATS | DOGS | {"cat/bad.png": b"x", "dog/deep.png": deep, "dog/empty.jpg": b""})
    assert line == (
        "data must hold only images that can be read. Got cat/bad.png (cannot identify image file), "
        "dog/deep.png (it holds values that are no numbers), dog/empty.jpg (cannot identify image file) instead. "
        "Mend or remove them."
    )


def test_of_very_many_unreadable_files_some_are_named_and_a_file_lists_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    bad = [f"cat/bad{number:02d}.png" for number in range(23)]
    line = refuse_pictures(tmp_path, CATS | DOGS | dict.fromkeys(bad, b"x"))
    assert len(line) < 500
    assert [name for name in bad if name in line] == bad[:5]
    assert " and 18 more instead. Mend or remove them. logs/unreadable.txt lists them all." in line
    listed = (tmp_path / "logs" / "unreadable.txt").read_text().splitlines()
    assert [name.partition(" ")[0] for name in listed] == bad


def test_the_same_pixels_under_two_classes_are_refused_naming_the_files(tmp_path: Path) -> None:
    twins = {"dog/x.png": CATS["cat/03.png"], "dog/y.png": CATS["cat/05.png"]}
    assert refuse_pictures(tmp_path, CATS | DOGS | twins) == (
        "data must let the same image belong to one class. "
        "Got cat/03.png = dog/x.png, cat/05.png = dog/y.png instead. Keep one of each."
    )


def _official() -> dict[str, Picture]:
    """Return 12 images of each class to train on and 6 to test on, none twice."""
    train = {f"train/{name}": picture for name, picture in (CATS | DOGS).items()}
    test = make_class("cat", 6, green=50) | make_class("dog", 6, green=250)
    return train | {f"test/{name}": picture for name, picture in test.items()}


def test_the_same_pixels_in_two_official_splits_are_refused_naming_the_files(tmp_path: Path) -> None:
    line = refuse_pictures(tmp_path, _official() | {"test/cat/x.png": CATS["cat/07.png"]})
    assert line == (
        "data must let the same image lie in one split. "
        "Got test/cat/x.png = train/cat/07.png instead. "
        "data.duplicates: drop leaves out the twin of one that is scored."
    )


def test_the_same_pixels_in_two_official_splits_that_are_not_taken_stay_in_one_fold(tmp_path: Path) -> None:
    prepared = prepare_pictures(tmp_path, _official() | {"test/cat/x.png": CATS["cat/07.png"]}, splits="folds")
    images, splits = pd.read_csv(prepared / "images.csv"), pd.read_csv(prepared / "splits.csv")
    twins = images.index[images.id.isin(["test/cat/x.png", "train/cat/07.png"])]
    assert len(twins) == 2
    assert (splits[splits.image.isin(twins)].groupby("replicate").split.nunique() == 1).all()


def test_official_splits_are_kept_and_each_replicate_draws_its_validation_from_train(tmp_path: Path) -> None:
    prepared = prepare_pictures(tmp_path, _official(), repeats=4)
    folders = pd.read_csv(prepared / "images.csv").id.str.split("/").str[0].to_numpy()
    splits = pd.read_csv(prepared / "splits.csv")
    drawn = set()
    for _, rows in splits.groupby("replicate"):
        assert ((rows.split == "test").to_numpy() == (folders == "test")).all()
        drawn.add(tuple(np.flatnonzero(rows.split == "validation")))
    assert len(drawn) == 4


def test_duplicates_without_official_splits_stay_in_one_split_for_every_replicate(tmp_path: Path) -> None:
    twins = {name.replace(".png", "-again.png"): picture for name, picture in (CATS | DOGS).items()}
    prepared = prepare_pictures(tmp_path, CATS | DOGS | twins, repeats=2)
    stems = pd.read_csv(prepared / "images.csv").id.str.removesuffix(".png").str.removesuffix("-again")
    splits = pd.read_csv(prepared / "splits.csv")
    splits["stem"] = stems.to_numpy()[splits.image]
    assert (splits.groupby(["replicate", "stem"]).split.nunique() == 1).all()


def test_blocks_of_files_stay_in_one_split_for_every_replicate(tmp_path: Path) -> None:
    prepared = prepare_pictures(tmp_path, CATS | DOGS, repeats=2, groups="blocks", block_files=2)
    splits = pd.read_csv(prepared / "splits.csv")
    assert (splits.groupby(["replicate", splits.image // 2]).split.nunique() == 1).all()


def test_a_class_that_an_official_split_lacks_is_refused_naming_class_and_split(tmp_path: Path) -> None:
    pictures = {name: picture for name, picture in _official().items() if not name.startswith("test/dog")}
    assert refuse_pictures(tmp_path, pictures) == (
        "the test split must hold every class. Got no image of 'dog' instead. "
        "Add images of it there, or say data.splits: folds, which tests every image."
    )


def test_an_official_test_that_is_one_block_of_files_is_refused_because_nothing_is_sure_about_it(
    tmp_path: Path,
) -> None:
    """The train split fills two blocks of 24, the test split is within the first."""
    test = {f"test/{name}": picture for name, picture in (make_class("cat", 6, 50) | make_class("dog", 6, 250)).items()}
    train = {
        f"train/{name}": picture for name, picture in (make_class("cat", 30, 0) | make_class("dog", 30, 200)).items()
    }
    assert refuse_pictures(tmp_path, test | train, groups="blocks", block_files=12) == (
        "the test split must hold at least 2 groups of images. Got 1 instead. "
        "Add images of it there, or say data.splits: folds, which tests every image."
    )


@pytest.mark.parametrize(("folds", "count", "needed"), [(5, 1, 3), (5, 2, 3), (3, 2, 3), (2, 3, 4)])
def test_a_class_with_too_few_images_for_the_folds_is_refused_with_how_many_it_takes(
    tmp_path: Path, folds: int, count: int, needed: int
) -> None:
    noun = "image" if count == 1 else "images"
    assert refuse_pictures(tmp_path, CATS | make_class("dog", count, green=200), folds=folds) == (
        f"data must hold at least {needed} images of every class for {folds} folds. "
        f"Got {count} {noun} of 'dog' instead. Add images of it."
    )


@pytest.mark.parametrize(("folds", "count"), [(5, 3), (3, 3), (2, 4), (10, 3)])
def test_a_class_with_as_many_images_as_that_message_asks_for_is_taken(tmp_path: Path, folds: int, count: int) -> None:
    prepared = prepare_pictures(tmp_path, CATS | make_class("dog", count, green=200), repeats=3, folds=folds)
    splits, labels = pd.read_csv(prepared / "splits.csv"), np.load(prepared / "labels.npy")
    dogs = splits[labels[splits.image] == 1]
    assert (dogs[dogs.split == "train"].groupby("replicate").size().reindex(range(3 * folds), fill_value=0) > 0).all()
    validates = dogs[dogs.split == "validation"].groupby("replicate").size()
    assert (validates.reindex(range(3 * folds), fill_value=0) > 0).all()


@pytest.mark.parametrize(("block_files", "groups"), [(60, 1), (12, 1), (16, 1), (10, 2)])
def test_blocks_too_long_for_the_number_of_images_are_refused_in_plain_words(
    tmp_path: Path, block_files: int, groups: int
) -> None:
    """Of 24 images, blocks of 60 make one group; blocks of 12 or 10 leave the cats in 1 or 2."""
    assert refuse_pictures(tmp_path, CATS | DOGS, groups="blocks", block_files=block_files) == (
        "data must hold at least 3 groups of images of every class for 5 folds. "
        f"Got 12 images of 'cat' in {groups} instead. {MORE_GROUPS}"
    )


def test_when_something_is_wrong_the_earlier_folder_stays_and_nothing_unfinished_is_left(tmp_path: Path) -> None:
    prepared = prepare_pictures(tmp_path, CATS | DOGS)
    earlier = {path.name: path.read_bytes() for path in prepared.iterdir()}
    refuse_pictures(tmp_path, {"cat/bad.png": b"x"})
    assert {path.name: path.read_bytes() for path in prepared.iterdir()} == earlier
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "params.yaml", "prepared", "raw"]
