"""A table names images, their classes, groups and splits, or is refused with the first three of what is wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from frostline.errors import InputError
from frostline.params.schema import Table
from frostline.sources import table as tables
from frostline.sources.base import Example, Source
from frostline.sources.table import read_table

ROWS = [("a.png", "sea"), ("b.png", "land"), ("c.png", "sea")]


def ask(**changes: str | None) -> Table:
    usual = {"file": "labels.csv", "images": ".", "image": "file_name", "label": "label", "group": None, "split": None}
    return Table.model_validate(usual | changes)


def write(root: Path, table: pd.DataFrame, name: str = "labels.csv") -> Path:
    """Write the table, and a file for each image that it names and that is not there."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path) if path.suffix == ".parquet" else table.to_csv(path, index=False)
    for image in table.file_name:
        (path.parent / image).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / image).write_text(image)
    return root


def rows(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame({"file_name": [name for name, _ in ROWS], "label": [label for _, label in ROWS]} | columns)


def examples(source: Source) -> list[Example]:
    return list(source.examples())


def refusal(root: Path, asked: Table) -> str:
    with pytest.raises(InputError) as refused:
        read_table(root, asked)
    said = str(refused.value)
    assert "\n" not in said
    assert len(said) < 500
    return said


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_each_row_is_an_image_with_its_class_group_and_split(name: str, tmp_path: Path) -> None:
    table = rows(patient=["p1", "p2", ""], part=["training", "train", "test"])
    source = read_table(write(tmp_path, table, name), ask(file=name, group="patient", split="part"))
    assert source.classes == ["land", "sea"]
    found = [(one["id"], one["image"]["bytes"], one["label"], one["group"], one["split"]) for one in examples(source)]
    assert found == [
        ("a.png", b"a.png", 1, "p1", "train"),
        ("b.png", b"b.png", 0, "p2", "train"),
        ("c.png", b"c.png", 1, "", "test"),
    ]
    assert source.facts["understood"] == "a table of 3 images in 2 classes, splits train, test, 2 groups"


@pytest.mark.parametrize("parted", [",", ";", "\t"])
def test_whatever_parts_the_columns_is_found(parted: str, tmp_path: Path) -> None:
    write(tmp_path, rows())
    (tmp_path / "labels.csv").write_text(rows().to_csv(index=False, sep=parted), encoding="utf-8-sig")
    assert read_table(tmp_path, ask()).classes == ["land", "sea"]


def test_labels_are_taken_as_they_stand_and_numbers_sorted_as_numbers(tmp_path: Path) -> None:
    write(tmp_path, rows(label=["10", "9", "007"]))
    assert read_table(tmp_path, ask()).classes == ["007", "9", "10"]
    write(tmp_path, rows(label=["NA", "None", "x"]))
    assert read_table(tmp_path, ask()).classes == ["NA", "None", "x"]


def test_numbers_of_a_parquet_column_with_gaps_are_whole(tmp_path: Path) -> None:
    write(tmp_path, rows(patient=[1.0, np.nan, 2.0], label=[0, 1, 0]), "labels.parquet")
    source = read_table(tmp_path, ask(file="labels.parquet", group="patient"))
    assert source.classes == ["0", "1"]
    assert [one["group"] for one in examples(source)] == ["1", "", "2"]


def test_a_name_without_an_ending_is_that_of_its_only_image(tmp_path: Path) -> None:
    """As Kaggle's tables have it: an id column, and a folder of images beside."""
    write(tmp_path / "train", rows())
    table = pd.DataFrame({"id": ["a", "b", "c"], "label": ["x", "y", "x"]})
    table.to_csv(tmp_path / "train.csv", index=False)
    source = read_table(tmp_path, ask(file="train.csv", images="train", image="id"))
    assert [one["id"] for one in examples(source)] == ["train/a.png", "train/b.png", "train/c.png"]
    (tmp_path / "train" / "a.jpg").write_text("another")
    assert "Got 'a' (train.csv, row 1) instead" in refusal(tmp_path, ask(file="train.csv", images="train", image="id"))


def test_the_metadata_of_an_image_folder_lies_in_the_folders_of_its_splits(tmp_path: Path) -> None:
    write(tmp_path, rows().iloc[:2], "train/metadata.csv")
    write(tmp_path, rows().iloc[:2], "test/metadata.csv")
    source = read_table(tmp_path, ask(file="*/metadata.csv"))
    assert [(one["id"], one["split"]) for one in examples(source)] == [
        ("test/a.png", "test"),
        ("test/b.png", "test"),
        ("train/a.png", "train"),
        ("train/b.png", "train"),
    ]


def test_a_url_of_a_local_file_is_its_path(tmp_path: Path) -> None:
    write(tmp_path, rows())
    table = rows(file_name=[(tmp_path / name).as_uri() for name, _ in ROWS])
    table.to_csv(tmp_path / "labels.csv", index=False)
    assert [one["id"] for one in examples(read_table(tmp_path, ask()))] == ["a.png", "b.png", "c.png"]


def test_images_that_the_table_does_not_name_are_told(tmp_path: Path) -> None:
    write(tmp_path, rows())
    (tmp_path / "more.png").touch()
    assert read_table(tmp_path, ask()).facts["left_alone"] == ["1 .png (not in the table)"]


NO_COLUMN = "must name a column of labels.csv: 'file_name' or 'label'."
SPLIT = "data.table.split must name a column of train, validation and test."


@pytest.mark.parametrize(
    ("columns", "asked", "line"),
    [
        ({}, {"image": "path"}, f"data.table.image {NO_COLUMN} Got 'path' instead."),
        ({}, {"group": "who"}, f"data.table.group {NO_COLUMN} Got 'who' instead."),
        (
            {"label": ["x", "", ""]},
            {},
            "data.table.label must give every image a class. Got nothing for 'b.png' and nothing for 'c.png' instead.",
        ),
        (
            {"label": ["x", "x", "x"]},
            {},
            "data.table.label must hold at least two classes. Got only 'x' instead.",
        ),
        ({"part": ["a", "b", "train"]}, {"split": "part"}, f"{SPLIT} Got 'a' and 'b' instead."),
        ({"part": ["train", "", "test"]}, {"split": "part"}, f"{SPLIT} Got '' instead."),
        (
            {"part": ["test", "test", "test"]},
            {"split": "part"},
            "data.table.split must hold train beside validation or test. Got only test instead. With split: null every "
            "image is tested, in folds.",
        ),
        (
            {"who": ["", "", ""]},
            {"group": "who"},
            "data.table.group must name the group of some image. Got nothing in the column 'who' instead.",
        ),
    ],
)
def test_what_is_wrong_with_the_columns_is_one_line(
    columns: dict[str, list[object]], asked: dict[str, str], line: str, tmp_path: Path
) -> None:
    assert refusal(write(tmp_path, rows(**columns)), ask(**asked)) == line


def test_the_first_three_paths_that_are_wrong_are_named_and_how_many_more(tmp_path: Path) -> None:
    write(tmp_path, rows())
    pd.DataFrame({"file_name": [f"no{i}.png" for i in range(9)], "label": "x"}).to_csv(tmp_path / "labels.csv")
    assert refusal(tmp_path, ask()) == (
        "data.table.image must name files that are there. Got 'no0.png' (labels.csv, row 1), 'no1.png' (labels.csv, "
        "row 2), 'no2.png' (labels.csv, row 3) and 6 more instead."
    )


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname", "link.png", "a\0b", "", "x" * 5000, "\udcff"])
def test_files_elsewhere_or_nowhere_are_refused(name: str, tmp_path: Path) -> None:
    root = write(tmp_path / "images", rows())
    (tmp_path / "outside.png").touch()
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    text = f'file_name,label\na.png,x\n"{name}",y\n'
    (root / "labels.csv").write_bytes(text.encode(errors="surrogateescape"))
    assert refusal(root, ask()).startswith("data.table.")


def test_an_image_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path, rows(file_name=["a.png", "./a.png", "c.png"]))
    assert refusal(tmp_path, ask()) == "data.table.image must name each image once. Got 'a.png' several times instead."


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\x00" * 99, b'a,b\n"' + b"x" * 200_000, b"PAR1"])
@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_what_is_no_table_is_refused_in_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path, ask(file=name)).startswith("data.table.")


@pytest.mark.parametrize("name", ["none.csv", "../labels.csv", "/labels.csv", "", "*"])
def test_a_table_that_is_not_there_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert refusal(tmp_path / "images", ask().model_copy(update={"file": name})).startswith("data.table.file must")


def test_a_parquet_file_that_unpacks_to_more_than_memory_takes_is_refused_by_its_own_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_BYTES", 10_000_000)
    table = pa.table({"file_name": pa.array(["x" * 1_000_000] * 21), "label": pa.array(["y"] * 21)})
    pq.write_table(table, tmp_path / "labels.parquet", use_dictionary=False, compression="zstd")
    assert (tmp_path / "labels.parquet").stat().st_size < 100_000
    said = refusal(tmp_path, ask(file="labels.parquet"))
    assert said.startswith("data.table.file must hold at most 10,000,000 bytes. Got 21,")
