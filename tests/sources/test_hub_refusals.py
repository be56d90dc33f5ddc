"""What cannot be a study is refused in one line that says what is there instead."""

from pathlib import Path

import datasets
import pytest

from frostline.errors import InputError
from tests.project import dump_yaml
from tests.sources.fake_hub import (
    CARD,
    CLASSES,
    NAME,
    PUBLISHED,
    FakeHub,
    fetched,
    parquet,
    png,
    prepared,
    refusal,
    rows_of,
    study,
)


def test_a_data_set_that_is_not_there_is_refused_by_its_name(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    assert refusal(tmp_path, dataset="lab/leafs") == (
        f"data.hub.dataset must name a data set at {server.address}. Got 'lab/leafs' instead. "
        "A private one needs HF_TOKEN."
    )
    assert refusal(tmp_path, dataset="lab/leaves/rust") == (
        "data.hub.dataset must be a name such as AI-Lab-Makerere/beans. Got 'lab/leaves/rust' instead."
    )


def test_a_revision_that_is_not_there_is_refused_by_its_name_without_asking_again(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    assert refusal(tmp_path, revision="v2") == (
        f"data.hub.revision must be a commit, tag or branch of {NAME}. Got 'v2' instead."
    )
    assert len(server.asked) == 1


def test_a_split_that_is_not_there_is_refused_with_those_that_are(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    assert refusal(tmp_path, validation="dev") == (
        f"data.hub.validation must name a split of {NAME}: test, train or validation. Got 'dev' instead."
    )


@pytest.mark.parametrize("column", ["image", "label"])
def test_a_column_that_is_not_there_is_refused_with_those_that_are(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], column: str
) -> None:
    server.publish(leaves)
    assert refusal(tmp_path, **{column: "img"}) == (
        f"data.hub.{column} must name a column of {NAME}: image or labels. Got 'img' instead."
    )


def test_a_column_of_another_kind_is_refused_with_its_kind(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    assert refusal(tmp_path, image="labels") == (
        "data.hub.image must name a column of images. Got 'labels', of type ClassLabel, instead."
    )
    assert refusal(tmp_path, label="image") == (
        "data.hub.label must name a column with one class for each image. Got 'image', of type Image, instead."
    )


def test_an_image_that_is_a_path_alone_is_refused_by_its_place(server: FakeHub, tmp_path: Path) -> None:
    rows = rows_of("train")
    features = datasets.Features(
        {
            "image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            "labels": datasets.ClassLabel(names=CLASSES),
        }
    )
    rows[0]["image"] = {"bytes": None, "path": "/home/someone/leaf.png"}
    server.publish({"train.parquet": parquet(rows, features)})
    assert refusal(tmp_path, validation=None, test=None) == (
        "data.hub.image must hold the bytes of an image in every row. Got none at train/00000 instead."
    )


@pytest.mark.parametrize(("names", "got"), [(["leaf"], "only 'leaf'"), (None, "none")])
def test_fewer_than_two_classes_are_refused(server: FakeHub, tmp_path: Path, names: list[str] | None, got: str) -> None:
    kind = datasets.ClassLabel(names=names) if names else datasets.Value("string")
    rows = [{"image": row["image"], "labels": 0 if names else None} for row in rows_of("test")]
    features = datasets.Features({"image": datasets.Image(), "labels": kind})
    server.publish({"train.parquet": parquet(rows, features)})
    line = f"data.hub.label must hold at least two classes. Got {got} instead."
    assert refusal(tmp_path, validation=None, test=None) == line


LABELS = {
    "text": (datasets.Value("string"), lambda label: CLASSES[label]),
    "numbers": (datasets.Value("int64"), lambda label: label),
    "names": (datasets.ClassLabel(names=CLASSES), lambda label: label),
    "other names": (datasets.ClassLabel(names=["a", "b", "c"]), lambda label: label),
}


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ("names", "text", "be of one type in every split. Got text in test and numbers in train instead."),
        ("text", "names", "be of one type in every split. Got numbers in test and text in train instead."),
        ("numbers", "text", "be of one type in every split. Got text in test and numbers in train instead."),
        ("names", "other names", "have the same classes in every split. Got others in some of them instead."),
    ],
)
def test_classes_that_do_not_mean_the_same_in_every_split_are_refused(
    server: FakeHub, tmp_path: Path, train: str, test: str, said: str
) -> None:
    files = {}
    for split, kind in (("train", train), ("test", test)):
        type_, value = LABELS[kind]
        rows = [{"image": row["image"], "labels": value(row["labels"])} for row in rows_of(split)]
        features = datasets.Features({"image": datasets.Image(), "labels": type_})
        files[f"{split}.parquet"] = parquet(rows, features)
    server.publish(files)
    assert refusal(tmp_path, validation=None) == f"data.hub.label must {said}"


def test_a_row_without_a_class_is_refused_by_its_place(server: FakeHub, tmp_path: Path) -> None:
    rows = rows_of("test")
    rows[4]["labels"] = -1
    server.publish({"train.parquet": parquet(rows_of("train")), "test.parquet": parquet(rows)})
    line = "data.hub.label must give every image a class. Got -1 at test/00004 instead."
    assert refusal(tmp_path, validation=None) == line


def test_a_data_set_of_several_configurations_is_refused_with_their_names(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    two = [{"config_name": "big", "data_files": "data/train-*"}, {"config_name": "small", "data_files": "data/test-*"}]
    server.publish(leaves | {"README.md": f"---\n{dump_yaml({'configs': two})}---\n".encode()})
    line = f"data.hub.dataset {NAME} must have one configuration. Got big and small instead."
    assert refusal(tmp_path) == line


TO_A_FOLDER = "Save the images that you mean to a folder, and say data.source: folder."


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("configs: [a", "expected ',' or ']', but got '<stream end>'"),
        ("- configs", "repo card metadata block should be a dict"),
        ("configs: [3]", "argument of type 'int' is not iterable"),
        ("configs: [{config_name: a, data_files: 3}]", "Expected data_files in YAML to be either a string or a list"),
        ("configs: [{config_name: a, data_files: none-*}]", "No (supported) data files found in"),
    ],
)
def test_a_card_that_cannot_be_understood_is_refused_in_one_line(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], head: str, said: str
) -> None:
    server.publish(leaves | {"README.md": f"---\n{head}\n---\n".encode()})
    line = refusal(tmp_path)
    must = "have a card (README.md) that can be understood"
    assert line.startswith(f'data.hub.dataset {NAME} must {must}. Got "{said}')
    assert line.endswith(f'" instead. {TO_A_FOLDER}')


def of_the_hub(configurations: list[str], train: str = "train") -> dict[str, bytes]:
    """Return the files as the hub's own copy in Parquet has them: no card, and a folder for each configuration."""
    return {
        f"{name}/{train if split == 'train' else split}/0000.parquet": parquet(rows_of(split))
        for name in configurations
        for split in PUBLISHED
    }


def test_the_copy_that_the_hub_makes_of_a_data_set_is_fetched(server: FakeHub, tmp_path: Path) -> None:
    server.publish(of_the_hub(["default"]), revisions=("refs/convert/parquet",))
    facts, table = fetched(tmp_path, revision="refs/convert/parquet")
    assert facts["images"] == 72
    assert (table.split == "train").sum() == 36


def test_several_configurations_without_a_card_are_refused_with_their_folders(server: FakeHub, tmp_path: Path) -> None:
    server.publish(of_the_hub(["big", "small"]))
    line = f"data.hub.dataset {NAME} must have one configuration. Got big and small instead. {TO_A_FOLDER}"
    assert refusal(tmp_path) == line


def test_a_copy_of_a_part_of_the_data_set_is_refused_with_its_folder(server: FakeHub, tmp_path: Path) -> None:
    server.publish(of_the_hub(["default"], "partial-train"))
    assert refusal(tmp_path) == (
        f"data.hub.dataset {NAME} must be in Parquet as a whole. Got default/partial-train instead. {TO_A_FOLDER}"
    )


def test_folders_of_splits_are_no_configurations(server: FakeHub, tmp_path: Path) -> None:
    server.publish({f"{split}/part-0.parquet": parquet(rows_of(split)) for split in PUBLISHED})
    assert fetched(tmp_path)[0]["images"] == 72


def test_a_data_set_without_parquet_is_refused_with_where_the_hub_has_it(server: FakeHub, tmp_path: Path) -> None:
    server.publish({"README.md": CARD, "data/train.zip": b"zip"})
    assert refusal(tmp_path) == (
        f"data.hub.dataset {NAME} must hold Parquet files. Got none instead. "
        "Of many data sets the hub keeps a copy in Parquet: try data.hub.revision: refs/convert/parquet."
    )


MEND = "Save the hub's images to a folder, mend them there, and say data.source: folder."
DROP = "data.duplicates: drop leaves out the twin of one that is scored."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"no image",
            f"hold only images that can be read. Got test/00000 (cannot identify image file) instead. {MEND}",
        ),
        (png((0, 0, 60)), f"let the same image belong to one class. Got test/00000 = train/00012 instead. {MEND}"),
        (png((0, 0, 0)), f"let the same image lie in one split. Got test/00000 = train/00000 instead. {DROP}"),
    ],
)
def test_what_is_wrong_with_the_hubs_images_can_be_mended_in_a_folder(
    server: FakeHub, tmp_path: Path, content: bytes, said: str
) -> None:
    of_test = rows_of("test")
    of_test[0]["image"]["bytes"] = content
    server.publish({"train.parquet": parquet(rows_of("train")), "test.parquet": parquet(of_test)})
    with pytest.raises(InputError) as caught:
        prepared(tmp_path, study(tmp_path, validation=None), "hub")
    assert str(caught.value) == f"data must {said}"
