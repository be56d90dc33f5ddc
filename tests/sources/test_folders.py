"""Folders of images as people have them are understood, or refused with what may be meant."""

import os
import unicodedata
from pathlib import Path

import pytest

from frostline.constants import IMAGE_ENDINGS
from frostline.errors import InputError
from frostline.sources.folders import find_split, read_folders

ENDINGS = f"Known endings: {', '.join(IMAGE_ENDINGS)}."


def put(root: Path, *names: str) -> Path:
    """Write a file, whose content is its name, for each name, and a folder for each that ends in a slash."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name, encoding="utf-8")
    return root


def found(root: Path) -> list[tuple[str, str, str | None]]:
    images = read_folders(root).images
    return [(each.path.relative_to(root).as_posix(), each.class_name, each.split) for each in images]


def refusal(root: Path) -> str:
    with pytest.raises(InputError) as refused:
        read_folders(root)
    return str(refused.value)


def test_class_folders_give_each_image_the_name_of_its_folder_in_the_order_of_paths(tmp_path: Path) -> None:
    put(tmp_path, "dog/b.png", "cat/a.jpg", "dog/a.PNG")
    assert found(tmp_path) == [("cat/a.jpg", "cat", None), ("dog/a.PNG", "dog", None), ("dog/b.png", "dog", None)]


def test_images_in_folders_below_a_class_folder_belong_to_the_class(tmp_path: Path) -> None:
    put(tmp_path, "cat/2024/may/a.png", "dog/a.png")
    assert found(tmp_path) == [("cat/2024/may/a.png", "cat", None), ("dog/a.png", "dog", None)]


def test_other_endings_are_left_alone(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "cat/a.txt", "cat/Thumbs.db", "dog/a.png", "README.md")
    assert found(tmp_path) == [("cat/a.png", "cat", None), ("dog/a.png", "dog", None)]


def test_hidden_files_and_what_lies_in_hidden_folders_are_left_alone(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "cat/._a.png", "dog/a.png", ".cache/a.png", "dog/.ipynb_checkpoints/a-checkpoint.png")
    assert found(tmp_path) == [("cat/a.png", "cat", None), ("dog/a.png", "dog", None)]


def test_a_folder_in_a_hidden_folder_is_read_all_the_same(tmp_path: Path) -> None:
    put(tmp_path / ".mine", "cat/a.png", "dog/a.png")
    assert found(tmp_path / ".mine") == [("cat/a.png", "cat", None), ("dog/a.png", "dog", None)]


def test_split_folders_are_official_splits_by_any_of_their_usual_names(tmp_path: Path) -> None:
    put(tmp_path, "Train/cat/a.png", "Train/dog/b.png", "val/cat/c.png", "testing/dog/d.png")
    assert found(tmp_path) == [
        ("Train/cat/a.png", "cat", "train"),
        ("Train/dog/b.png", "dog", "train"),
        ("testing/dog/d.png", "dog", "test"),
        ("val/cat/c.png", "cat", "validation"),
    ]


def test_a_missing_folder_is_refused_by_its_path(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    line = f"data.folder must be a folder of class-named folders. Got no folder at {str(root)!r} instead."
    assert refusal(root) == line


def test_a_file_in_place_of_the_folder_is_refused_by_its_path(tmp_path: Path) -> None:
    root = put(tmp_path, "a.png") / "a.png"
    line = f"data.folder must be a folder of class-named folders. Got no folder at {str(root)!r} instead."
    assert refusal(root) == line


@pytest.mark.parametrize("names", [(), ("a.png", "b.png")], ids=["empty", "no class folders"])
def test_a_folder_without_class_folders_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    line = f"data.folder must hold one folder of images for each class. Got no folder in {str(tmp_path)!r} instead."
    assert refusal(put(tmp_path, *names)) == line


def test_class_folders_without_any_image_are_refused_with_the_known_endings(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.heic", "dog/")
    line = f"data.folder must hold images. Got none in {str(tmp_path)!r} instead. {ENDINGS}"
    assert refusal(tmp_path) == line


def test_a_class_folder_without_images_is_refused_rather_than_dropped_from_the_study(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "cow/a.png", "dog/a.heic")
    line = f"data.folder must hold images in every class folder. Got none in {str(tmp_path / 'dog')!r} instead. "
    assert refusal(tmp_path) == line + ENDINGS


@pytest.mark.parametrize(
    ("names", "where"),
    [(["a/1.png", "b/1.png", "stray.png"], ""), (["train/a/1.png", "test/a/1.png", "train/stray.png"], "/train")],
)
def test_images_beside_class_folders_are_refused_because_nothing_tells_their_class(
    tmp_path: Path, names: list[str], where: str
) -> None:
    told = refusal(put(tmp_path, *names))
    must = "data.folder must hold images in class folders only."
    assert told == f"{must} Got 'stray.png' loose in '{tmp_path}{where}' instead."


def test_one_class_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "cat/b.png")
    line = f"data.folder must hold at least two classes. Got only 'cat' in {str(tmp_path)!r} instead."
    assert refusal(tmp_path) == line


@pytest.mark.parametrize(
    ("names", "got"),
    [
        (["train/cat/a.png", "train/dog/b.png"], "train"),
        (["valid/cat/a.png", "test/dog/b.png"], "validation and test"),
        (["test/cat/a.png", "test/dog/b.png"], "test"),
    ],
)
def test_splits_without_train_or_of_train_alone_are_refused(tmp_path: Path, names: list[str], got: str) -> None:
    assert refusal(put(tmp_path, *names)) == (
        f"data.folder must hold train beside validation or test if it holds splits. Got only {got} instead. "
        "Without split folders every image is tested, in folds."
    )


BY_SPLIT = [("train", "cat"), ("train", "dog"), ("test", "cat"), ("test", "dog")]


@pytest.mark.parametrize(
    ("layout", "understood"),
    [
        ("{split}/{name}/a.png", "folders of 2 classes in those of splits (test, train)"),
        ("seg_{split}/{name}/a.png", "folders of 2 classes in those of splits (seg_test, seg_train)"),
        (
            "seg_{split}/seg_{split}/{name}/a.png",
            "folders of 2 classes in those of splits (seg_test, seg_train)",
        ),
        ("{split}2017/{name}/a.png", "folders of 2 classes in those of splits (test2017, train2017)"),
        ("{split}_images/{name}/a.png", "folders of 2 classes in those of splits (test_images, train_images)"),
        ("{name}/{split}/a.png", "folders of splits (test, train) in those of 2 classes"),
        ("archive/{split}/{name}/a.png", "folders of 2 classes in those of splits (test, train), in 'archive'"),
        (
            "archive/data/{name}/{split}/a.png",
            "folders of splits (test, train) in those of 2 classes, in 'archive/data'",
        ),
    ],
)
def test_classes_and_splits_are_found_whichever_lies_above(tmp_path: Path, layout: str, understood: str) -> None:
    put(tmp_path, *(layout.format(split=split, name=name) for split, name in BY_SPLIT))
    assert sorted((split, name) for _, name, split in found(tmp_path)) == sorted(BY_SPLIT)
    assert read_folders(tmp_path).understood == understood


def test_one_folder_too_many_above_the_classes_is_looked_through(tmp_path: Path) -> None:
    put(tmp_path, "flowers/images/rose/a.png", "flowers/images/tulip/b.png")
    assert found(tmp_path) == [
        ("flowers/images/rose/a.png", "rose", None),
        ("flowers/images/tulip/b.png", "tulip", None),
    ]
    assert read_folders(tmp_path).understood == "folders of 2 classes, in 'flowers/images'"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Train", "train"),
        ("seg_train", "train"),
        ("val2017", "validation"),
        ("test-set", "test"),
        ("training", "train"),
        ("trainer", None),
        ("pretrained", None),
        ("contest", None),
        ("train_test", None),
    ],
)
def test_a_split_is_a_word_of_the_name_and_no_piece_of_one(name: str, split: str | None) -> None:
    assert find_split(name) == split


def test_classes_in_whose_names_a_word_of_a_split_stands_are_classes(tmp_path: Path) -> None:
    put(tmp_path, "freight train/a.png", "passenger bus/a.png")
    assert [name for _, name, _ in found(tmp_path)] == ["freight train", "passenger bus"]


def test_masks_beside_splits_are_refused_by_the_folder_that_is_no_split(tmp_path: Path) -> None:
    put(tmp_path, "bottle/train/good/a.png", "bottle/test/broken/a.png", "bottle/ground_truth/broken/a.png")
    assert "Got 'ground_truth' beside 'test' (a split or a class?) instead." in refusal(tmp_path)


@pytest.mark.parametrize(
    ("names", "got"),
    [
        (("bus/a.png", "car/a.png", "train/a.png"), "'bus' beside 'train'"),
        (("train/cat/a.png", "test/cat/b.png", "cat/c.png"), "'cat' beside 'test'"),
        (("seg_train/cat/a.png", "seg_test/cat/b.png", "seg_pred/c/d.png"), "'seg_pred' beside 'seg_test'"),
    ],
)
def test_what_may_be_a_split_or_a_class_is_refused_naming_both(
    tmp_path: Path, names: tuple[str, ...], got: str
) -> None:
    assert refusal(put(tmp_path, *names)) == (
        f"data.folder must hold either class folders or only train, validation and test. Got {got} (a split or a "
        "class?) instead. Take away what is neither, or rename a class that has a split's name."
    )


def test_folders_that_may_be_classes_above_or_below_are_refused_naming_both(tmp_path: Path) -> None:
    put(tmp_path, *(f"{plant}/{state}/a.png" for plant in ("apple", "corn") for state in ("healthy", "rust")))
    assert refusal(tmp_path) == (
        "data.folder must tell which folders are the classes. Got healthy and rust in each of apple and corn instead. "
        "If they are apple and corn, say data.groups: folders; if healthy and rust, put these on top."
    )
    assert {each.class_name for each in read_folders(tmp_path, grouped=True).images} == {"apple", "corn"}


def test_folders_below_a_class_that_others_lack_say_nothing(tmp_path: Path) -> None:
    put(tmp_path, "cat/P01/a.png", "cat/P02/a.png", "dog/P03/a.png")
    assert [name for _, name, _ in found(tmp_path)] == ["cat", "cat", "dog"]


def test_splits_further_down_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "cat/2024/train/a.png", "cat/2024/test/b.png", "dog/a.png")
    assert refusal(tmp_path).startswith("data.folder must hold folders of splits directly above or below those of all")


def test_every_image_is_taken_whatever_its_ending_and_the_rest_is_counted(tmp_path: Path) -> None:
    put(
        tmp_path,
        "cat/a.jpg",
        "cat/b.jfif",
        "cat/c.JPE",
        "cat/d.avif",
        "cat/e.pgm",
        "dog/f.jp2",
        "dog/notes.txt",
        "dog/x",
    )
    put(tmp_path, "labels.csv", "dog/g.txt")
    folder = read_folders(tmp_path)
    assert len(folder.images) == 6
    assert folder.left_alone == [
        "1 .csv (no image's ending)",
        "2 .txt (no image's ending)",
        "1 without an ending (no image's ending)",
    ]


@pytest.mark.parametrize("program", ["@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", ".ipynb_checkpoints"])
@pytest.mark.parametrize("where", ["", "cat/"])
def test_what_other_programs_keep_is_no_image_of_the_class(tmp_path: Path, program: str, where: str) -> None:
    put(tmp_path, "cat/a.png", "dog/b.png", f"{where}{program}/a.png/thumb.jpg", f"{where}{program}/c.png")
    assert found(tmp_path) == [("cat/a.png", "cat", None), ("dog/b.png", "dog", None)]
    told = [] if program.startswith(".") else [f"2 files in {program}"]
    assert read_folders(tmp_path).left_alone == told


@pytest.mark.parametrize("name", ["cat/more", "cow"])
def test_a_link_to_a_folder_is_refused_as_dvc_does_not_see_what_lies_behind(tmp_path: Path, name: str) -> None:
    root = put(tmp_path / "images", "cat/a.png", "dog/b.png")
    put(tmp_path / "elsewhere", "c.png")
    (root / name).symlink_to(tmp_path / "elsewhere")
    assert refusal(root) == (
        f"data.folder must hold no links to folders. Got {str(root / name)!r} instead. "
        "Copy what it leads to in its place, as dvc does not see what changes there."
    )


def test_a_link_to_a_file_is_an_image_like_any_other(tmp_path: Path) -> None:
    root = put(tmp_path / "images", "cat/a.png", "dog/b.png")
    (root / "dog/c.png").symlink_to(put(tmp_path / "elsewhere", "c.png") / "c.png")
    assert len(found(root)) == 3


def test_names_that_are_not_utf_8_are_told_together(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "dog/b.png")
    for number in range(5):
        os.close(os.open(os.fsencode(tmp_path) + b"/cat/\xff%d.png" % number, os.O_CREAT | os.O_WRONLY))
    assert refusal(tmp_path) == (
        "data.folder must hold files whose names are UTF-8. "
        "Got b'cat/\\xff0.png', b'cat/\\xff1.png', b'cat/\\xff2.png' and 2 more instead."
    )


def test_names_that_differ_only_in_how_letters_are_written_are_refused(tmp_path: Path) -> None:
    one, other = (unicodedata.normalize(form, "caf\N{LATIN SMALL LETTER E WITH ACUTE}.png") for form in ("NFC", "NFD"))
    put(tmp_path, f"cat/{one}", f"cat/{other}", "dog/b.png")
    assert "in two forms of Unicode" in refusal(tmp_path)


def test_classes_that_differ_only_in_their_capitals_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "train/Cat/a.png", "test/cat/b.png", "train/dog/c.png")
    assert refusal(tmp_path) == (
        "data.folder must hold classes with different names. Got 'Cat' and 'cat' instead. Give them one name, or two."
    )


def test_an_image_of_which_nothing_is_there_is_left_alone_and_told(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "dog/b.png")
    (tmp_path / "cat/c.png").symlink_to(tmp_path / "nowhere.png")
    folder = read_folders(tmp_path)
    assert len(folder.images) == 2
    assert folder.left_alone == ["1 .png (no file, or a link that leads nowhere)"]
