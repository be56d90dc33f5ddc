"""Images come from the hub whole and verified, or not at all: shown on a server that speaks the hub's protocol."""

import hashlib
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from frostline.files import read_json
from tests.sources.fake_hub import (
    CLASSES,
    COMMIT,
    NAME,
    PUBLISHED,
    TRAIN,
    FakeHub,
    fetched,
    parquet,
    png,
    prepared,
    rows_of,
    study,
)


def test_every_row_of_the_asked_splits_is_fetched_with_its_bytes_class_and_split(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    _, table = fetched(tmp_path)
    expected = [(f"{split}/{number:05d}", split, row) for split in sorted(PUBLISHED) for number, row in
                enumerate(rows_of(split))]  # fmt: skip
    assert table.id.tolist() == [name for name, _, _ in expected]
    assert table.split.tolist() == [split for _, split, _ in expected]
    assert table.label.tolist() == [row["labels"] for _, _, row in expected]
    assert [image["bytes"] for image in table.image] == [row["image"]["bytes"] for _, _, row in expected]


def test_source_json_says_which_commit_licence_classes_and_hashes(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    facts, _ = fetched(tmp_path, revision="main")
    assert (facts["origin"], facts["revision"]) == (f"Hugging Face hub: {NAME}", COMMIT)
    assert (facts["licence"], facts["classes"]) == ("mit", CLASSES)
    assert facts["images_per_class"] == dict.fromkeys(CLASSES, 24)
    assert facts["files"][TRAIN] == hashlib.sha256(leaves[TRAIN]).hexdigest()
    content = (tmp_path / "raw/images.parquet").read_bytes()
    assert facts["sha256"] == {"images.parquet": hashlib.sha256(content).hexdigest()}


def test_the_hub_and_a_folder_prepare_the_same_arrays_of_the_same_files(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    """One line switches between them: `data.source`."""
    server.publish(leaves)
    for split in PUBLISHED:
        for row in rows_of(split):
            path = tmp_path / "images" / split / CLASSES[row["labels"]] / row["image"]["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["image"]["bytes"])
    ours, theirs = (prepared(tmp_path, study(tmp_path, source), source) for source in ("hub", "folder"))
    for name in ("images.npy", "labels.npy", "splits.csv"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    assert read_json(ours / "prepared.json") == read_json(theirs / "prepared.json")
    assert read_json(ours / "prepared.json")["splits"] == "official"


def test_a_folder_is_read_in_the_order_of_its_sorted_names_and_the_hub_in_that_of_its_rows(
    server: FakeHub, tmp_path: Path
) -> None:
    """train.10 comes before train.2. Where rows follow the numbers, both have the same images in another order."""
    published = {split: rows_of(split) for split in PUBLISHED}
    for split, rows in published.items():
        for number, row in enumerate(rows):
            path = tmp_path / "images" / split / CLASSES[row["labels"]] / f"{split}.{number % PUBLISHED[split]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["image"]["bytes"])
    theirs = prepared(tmp_path, study(tmp_path, "folder"), "folder")
    for order in ("names", "numbers"):
        if order == "names":
            rows_by = {split: sorted(rows, key=lambda row: (row["labels"], str(int(row["image"]["path"][:2]))))
                       for split, rows in published.items()}  # fmt: skip
        else:
            rows_by = published
        server.publish({f"{split}.parquet": parquet(rows) for split, rows in rows_by.items()}, f"lab/{order}")
        ours = prepared(tmp_path, study(tmp_path, dataset=f"lab/{order}"), order)
        same = {name: (ours / name).read_bytes() == (theirs / name).read_bytes()
                for name in ("images.npy", "labels.npy", "splits.csv")}  # fmt: skip
        assert same == {"images.npy": order == "names", "labels.npy": True, "splits.csv": True}
        assert sorted(each.tobytes() for each in np.load(ours / "images.npy")) == sorted(
            each.tobytes() for each in np.load(theirs / "images.npy")
        )


def test_a_validation_split_that_is_null_is_drawn_from_train_and_the_others_are_kept(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    out = prepared(tmp_path, study(tmp_path, validation=None), "hub")
    counts = {"train": 30, "validation": 6, "test": 18}  # 15 % of 36, of each class alike
    assert read_json(out / "prepared.json")["images_per_split"] == {"0": counts, "1": counts}
    splits = pd.read_csv(out / "splits.csv")
    official = pd.read_csv(out / "images.csv").id.str.split("/").str[0].to_numpy()[splits.image]
    assert ((splits.split == "test") == (official == "test")).all()
    first, second = (set(rows[rows.split == "validation"].image) for _, rows in splits.groupby("replicate"))
    assert first != second


def test_without_a_test_split_every_image_is_tested_in_folds(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    splits = pd.read_csv(prepared(tmp_path, study(tmp_path, test=None), "hub") / "splits.csv")
    tested = splits[splits.split == "test"]
    assert set(tested.image.value_counts()) == {2}  # the study has two repeats
    assert set(tested.image) == set(splits.image)


def test_several_files_of_a_split_are_read_in_the_order_of_their_names(server: FakeHub, tmp_path: Path) -> None:
    rows = rows_of("train")
    halves = {f"data/train-0000{place}-of-00002.parquet": parquet(rows[place * 18 :][:18]) for place in (1, 0)}
    server.publish(halves | {"data/test-00000-of-00001.parquet": parquet(rows_of("test"))})
    _, table = fetched(tmp_path, validation=None)
    assert [image["bytes"] for image in table.image[table.split == "train"]] == [row["image"]["bytes"] for row in rows]


@pytest.mark.parametrize(
    ("kind", "values", "classes"),
    [("string", ["rust", "healthy"], ["healthy", "rust"]), ("int64", [10, 9], ["9", "10"])],
)
def test_classes_without_names_are_the_values_of_the_column_in_order(
    server: FakeHub, tmp_path: Path, kind: str, values: list[Any], classes: list[str]
) -> None:
    features = datasets.Features({"img": datasets.Image(), "kind": datasets.Value(kind)})
    rows = [{"img": {"bytes": png((number, 0, 0)), "path": None}, "kind": values[number % 2]} for number in range(6)]
    server.publish({"train.parquet": parquet(rows, features)})
    facts, table = fetched(tmp_path, image="img", label="kind", validation=None, test=None)
    assert facts["classes"] == classes
    assert table.label.tolist() == [1, 0] * 3
    assert table.split.isna().all()


def test_images_that_are_bytes_alone_are_taken_as_they_are(server: FakeHub, tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Value("binary"), "labels": datasets.ClassLabel(names=CLASSES)})
    rows = [{"image": png((number, 0, 0)), "labels": number % 3} for number in range(6)]
    server.publish({"train.parquet": parquet(rows, features)})
    _, table = fetched(tmp_path, validation=None, test=None)
    assert [image["bytes"] for image in table.image] == [row["image"] for row in rows]


def test_only_parquet_files_and_the_card_are_downloaded_and_once(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves | {"data/train.zip": b"the same again", "leaves.py": b"exit()"})
    fetched(tmp_path)
    files = {path.partition(f"{COMMIT}/")[2] for path in server.asked if "/resolve/" in path}
    assert files == set(leaves)
    server.asked.clear()
    fetched(tmp_path)
    assert server.asked == []
