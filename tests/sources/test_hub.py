"""Images come from the hub whole and verified, or not at all: shown on a server that speaks the hub's protocol."""

import fcntl
import hashlib
import io
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from PIL import Image

from frostline import downloads
from frostline.errors import InputError
from frostline.files import read_json
from frostline.sources.hub import OFFLINE
from stages import fetch, prepare
from tests.loopback import Server, serving
from tests.project import ENVIRONMENT, ROOT, copy_project, dump_yaml, load_yaml, read_study, run, write_params

NAME, COMMIT, CLASSES = "lab/leaves", "0123456789" * 4, ["healthy", "rust", "spot"]
CARD = b"""---
license: mit
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*}
  - {split: validation, path: data/validation-*}
  - {split: test, path: data/test-*}
---
Leaves.
"""
PUBLISHED = {"train": 12, "validation": 6, "test": 6}
"""Images of each class in each split."""

Row = dict[str, Any]


class FakeHub(Server):
    """Speaks as much of the hub's protocol as is needed to list a data set and download its files."""

    def publish(self, files: dict[str, bytes], name: str = NAME, revisions: tuple[str, ...] = ("main", COMMIT)) -> None:
        """Have a data set with these files; large ones, as Parquet is, with their SHA-256."""
        self.name = name
        siblings, tree = [], []
        for path, content in files.items():
            sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            sha256 = hashlib.sha256(content).hexdigest()
            large = path.endswith(".parquet")
            facts: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": sha1}
            if large:
                facts["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(facts)
            lfs = {"oid": sha256, "size": len(content), "pointerSize": 130}
            tree.append(
                {"type": "file", "path": path, "size": len(content), "oid": sha1} | ({"lfs": lfs} if large else {})
            )
            self.have(f"/datasets/{name}/resolve/{COMMIT}/{path}", content, sha256 if large else sha1)
        answer = {"id": name, "sha": COMMIT, "siblings": siblings, "cardData": {"license": "mit"}}
        self.files[f"/api/datasets/{name}/tree/{COMMIT}"] = json.dumps(tree).encode()
        for revision in revisions:
            self.files[f"/api/datasets/{name}/revision/{revision}"] = json.dumps(answer).encode()

    def have(self, path: str, content: bytes, etag: str) -> None:
        self.files[path] = content
        self.headers[path] = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}

    def refusal(self, path: str) -> dict[str, str]:
        if path.startswith(f"/api/datasets/{self.name}/revision/"):
            return {"X-Error-Code": "RevisionNotFound"}
        return {"X-Error-Code": "EntryNotFound" if "/resolve/" in path else "RepoNotFound"}

    def damage(self, path: str, content: bytes) -> None:
        self.files[f"/datasets/{self.name}/resolve/{COMMIT}/{path}"] = content


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Return a hub to which the library is pointed as by its environment variables, with caches of its own."""
    with serving(FakeHub) as mine:
        monkeypatch.setattr(constants, "ENDPOINT", mine.address)
        template = mine.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache/hub"))
        monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "cache/assets"))
        monkeypatch.setattr(downloads, "WAITS", (0.01, 0.01))
        yield mine


def png(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(file, format="png")
    return file.getvalue()


def rows_of(split: str) -> list[Row]:
    """Return the rows of a split, no two of which are of the same colour, by class as a folder would have them."""
    green = {"train": 0, "validation": 80, "test": 160}[split]
    return [
        {"image": {"bytes": png((number, green, 60 * label)), "path": f"{number:02d}.png"}, "labels": label}
        for label in range(len(CLASSES))
        for number in range(PUBLISHED[split])
    ]


def parquet(rows: list[Row], features: datasets.Features | None = None) -> bytes:
    """Return the Parquet file that `push_to_hub` would make of the rows."""
    usual = datasets.Features({"image": datasets.Image(), "labels": datasets.ClassLabel(names=CLASSES)})
    file = io.BytesIO()
    datasets.Dataset.from_list(rows, features=features or usual).to_parquet(file)
    return file.getvalue()


@pytest.fixture(scope="module")
def leaves() -> dict[str, bytes]:
    """Return the files of the data set: its card and a Parquet file for each split."""
    of_splits = {f"data/{split}-00000-of-00001.parquet": parquet(rows_of(split)) for split in PUBLISHED}
    return {"README.md": CARD, **of_splits}


TRAIN = "data/train-00000-of-00001.parquet"


def study(tmp_path: Path, source: str = "hub", **asked: str | None) -> Path:
    """Return a params file whose images are those of the data set, or of a folder."""
    params = read_study("quick")
    params["data"] |= {"source": source, "folder": str(tmp_path / "images"), "image_px": 16}
    usual = {"dataset": NAME, "revision": COMMIT, "image": "image", "label": "labels"}
    params["data"]["hub"] = usual | {split: split for split in PUBLISHED} | asked
    path = tmp_path / f"{source}.yaml"
    path.write_text(dump_yaml(params), encoding="utf-8")
    return path


def fetched(tmp_path: Path, **asked: str | None) -> tuple[dict[str, Any], pd.DataFrame]:
    """Fetch the data set; return what source.json says, and the rows."""
    fetch.main(params=study(tmp_path, **asked), out=tmp_path / "raw")
    return read_json(tmp_path / "raw/source.json"), pq.read_table(tmp_path / "raw/images.parquet").to_pandas()


def refusal(tmp_path: Path, **asked: str | None) -> str:
    with pytest.raises(InputError) as caught:
        fetched(tmp_path, **asked)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "raw").exists()
    return str(caught.value)


def prepared(tmp_path: Path, params: Path, name: str) -> Path:
    fetch.main(params=params, out=tmp_path / f"raw-{name}")
    prepare.main(params=params, raw=tmp_path / f"raw-{name}", out=tmp_path / name)
    return tmp_path / name


# --- What is fetched --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("missing", "counts"),
    [
        (("validation",), {"train": 31, "validation": 5, "test": 18}),  # 15 % of 36 are drawn from train
        (("test",), {"train": 27, "validation": 18, "test": 9}),  # 25 % of 36
        (("validation", "test"), {"train": 22, "validation": 5, "test": 9}),
    ],
)
def test_a_split_that_is_null_is_drawn_from_train_and_the_others_are_kept(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], missing: tuple[str, ...], counts: dict[str, int]
) -> None:
    server.publish(leaves)
    out = prepared(tmp_path, study(tmp_path, **dict.fromkeys(missing)), "hub")
    assert read_json(out / "prepared.json")["images_per_split"] == {"0": counts, "1": counts}
    splits = pd.read_csv(out / "splits.csv")
    official = pd.read_csv(out / "images.csv").id.str.split("/").str[0].to_numpy()[splits.image]
    kept = ~np.isin(official, ["train", *missing])
    assert (splits.split[kept] == official[kept]).all()
    first, second = (set(splits[(splits.seed == seed) & (splits.split == missing[0])].image) for seed in (0, 1))
    assert first != second


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


# --- What is refused --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no image", "hold only images that can be read. Got test/00000 (cannot identify image file) instead."),
        (png((0, 0, 60)), "let the same image belong to one class. Got test/00000 = train/00012 instead."),
        (png((0, 0, 0)), "let the same image lie in one split. Got test/00000 = train/00000 instead."),
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
    assert str(caught.value) == (
        f"data must {said} Save the hub's images to a folder, mend them there, and say data.source: folder."
    )


# --- What goes wrong on the way ---------------------------------------------------------------------------------


def test_a_hub_that_breaks_down_twice_is_asked_a_third_time(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    server.troubles.extend(["breaks down", "breaks down"])
    facts, _ = fetched(tmp_path)
    assert facts["images"] == 72
    assert server.asked[:3] == [f"/api/datasets/{NAME}/revision/{COMMIT}"] * 3


def test_a_hub_that_breaks_down_for_good_is_told_with_its_answer(server: FakeHub, tmp_path: Path) -> None:
    server.troubles.extend(["breaks down"] * 9)
    assert refusal(tmp_path) == (
        f"The list of files of {NAME} must come whole from {server.address}. Got the answer 503 instead. {OFFLINE}"
    )


def test_a_hub_that_stalls_is_left_after_the_timeout(
    server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    server.troubles.extend(["stalls"] * 9)
    assert refusal(tmp_path) == (
        f"The list of files of {NAME} must come whole from {server.address}. Got no answer (timed out) instead. "
        f"{OFFLINE}"
    )
    assert len(server.asked) == 3


def test_a_download_that_stalls_is_taken_up_again(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    server.publish({"train.parquet": leaves[TRAIN]})
    server.troubles.extend(["", "", "", "", "stalls"])  # lists twice, and of the file its head twice, are there
    facts, _ = fetched(tmp_path, validation=None, test=None)
    assert facts["images"] == 36
    assert len(server.asked) == 6


def test_a_download_that_stalls_for_good_is_left_after_its_timeouts(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library tries six times, a second apart."""
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    server.publish({"train.parquet": leaves[TRAIN]})
    server.troubles.extend(["", "", "", "", *["stalls"] * 9])
    assert refusal(tmp_path) == (
        f"train.parquet of {NAME} must come whole from {server.address}. Got no answer (timed out) instead. {OFFLINE}"
    )
    assert len(server.asked) == 4 + 6


def test_a_hub_that_is_silent_about_a_file_is_left_after_three_timeouts(
    server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: dict[str, bytes]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    server.publish({"train.parquet": leaves[TRAIN]})
    server.troubles.extend(["", *["stalls"] * 9])
    assert refusal(tmp_path) == (
        f"train.parquet of {NAME} must come whole from {server.address}. Got no answer (timed out) instead. {OFFLINE}"
    )
    assert len(server.asked) == 1 + 3


@pytest.mark.parametrize("place", [0, 1], ids=["the list", "a file"])
def test_a_refusal_is_told_with_its_answer_and_not_taken_for_a_lost_connection(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], place: int
) -> None:
    server.publish({"train.parquet": leaves[TRAIN]})
    server.troubles.extend([*[""] * place, "refuses"])
    what = ("The list of files", "train.parquet")[place]
    line = f"{what} of {NAME} must come whole from {server.address}. Got the answer 403 instead. Check HF_TOKEN."
    assert refusal(tmp_path) == line
    assert len(server.asked) == 1 + place


def test_a_login_page_in_the_way_is_told_from_a_hub(server: FakeHub, tmp_path: Path) -> None:
    server.files[f"/api/datasets/{NAME}/revision/{COMMIT}"] = b"<html>Welcome to our hotel</html>"
    assert refusal(tmp_path) == (
        f"The list of files of {NAME} must come whole from {server.address}. "
        "Got an answer that is none of a hub's instead. A login page may be in the way."
    )


def test_without_a_connection_one_line_says_what_was_tried_and_what_runs_offline(
    server: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as other:
        nobody = other.address
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    told = refusal(tmp_path)
    assert told.startswith(f"The list of files of {NAME} must come whole from {nobody}. Got no answer (")
    assert told.endswith(f"refused) instead. {OFFLINE}")
    assert server.asked == []


def test_the_studies_that_are_said_to_run_offline_are_those_that_do() -> None:
    ready = {path.stem: read_study(path.stem) for path in (ROOT / "studies").glob("*.yaml")}
    offline = {
        name
        for name, params in ready.items()
        if params["data"]["source"] == "package" and params["backbones"] == ["efficientnet_lite0"]
    }
    told = {name for name in ready if f"STUDY={name} " in f"{OFFLINE.replace(',', ' ')} "}
    # A line of a table and a lesson are not what anyone would fall back on, nor is what one runs without a name.
    assert told == offline - {"architectures_lite0", "size", "default"}


@pytest.mark.parametrize("length", [1_000, -1], ids=["another length", "the same length"])
def test_a_damaged_file_is_refused_by_the_hash_that_the_hub_has_and_not_kept(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], length: int
) -> None:
    """A mirror may serve a file that was cut off, whose length it then believes."""
    server.publish(leaves)
    wrong = leaves[TRAIN][:length] + (b"" if length > 0 else b"X")
    server.damage(TRAIN, wrong)
    wanted, found = (hashlib.sha256(each).hexdigest() for each in (leaves[TRAIN], wrong))
    assert refusal(tmp_path) == (
        f"{TRAIN} of {NAME} must have the SHA-256 {wanted}, as the hub says. Got {found} instead. "
        "It is removed: try again."
    )
    server.damage(TRAIN, leaves[TRAIN])
    facts, _ = fetched(tmp_path)  # as one was told
    assert facts["images"] == 72


def test_a_small_file_is_refused_by_its_git_hash(server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]) -> None:
    server.publish(leaves)
    server.damage("README.md", CARD.replace(b"mit", b"gpl"))
    assert f"README.md of {NAME} must have the git hash " in refusal(tmp_path)


def test_a_file_that_breaks_off_short_of_the_length_that_was_announced_is_refused(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    server.headers[f"/datasets/{NAME}/resolve/{COMMIT}/{TRAIN}"]["X-Linked-Size"] = str(len(leaves[TRAIN]) + 9)
    told = refusal(tmp_path)
    assert told.startswith(
        f"data/test-00000-of-00001.parquet and 2 more of {NAME} must come whole from {server.address}."
    )
    assert f"Got Consistency check failed: file should be of size {len(leaves[TRAIN]) + 9}" in told
    assert TRAIN in told


def test_offline_the_cache_is_used_and_what_is_not_there_is_told(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(leaves)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    line = (
        f"The list of files of {NAME} must come whole from {server.address}. "
        f"Got HF_HUB_OFFLINE, and no list of files in {constants.HF_ASSETS_CACHE}, instead. {OFFLINE}"
    )
    assert refusal(tmp_path, revision="main") == line
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    online = fetched(tmp_path, revision="main")
    server.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline = fetched(tmp_path, revision="main")
    assert offline[0] == online[0]
    assert server.asked == []


def test_offline_a_file_that_is_not_in_the_cache_is_told(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(leaves)
    fetched(tmp_path)
    shutil.rmtree(tmp_path / "raw")
    shutil.rmtree(constants.HF_HUB_CACHE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refusal(tmp_path) == (
        f"README.md of {NAME} must come whole from {server.address}. "
        f"Got HF_HUB_OFFLINE, and no such file in {constants.HF_HUB_CACHE}, instead. {OFFLINE}"
    )


def test_a_list_of_files_that_cannot_be_kept_is_asked_for_each_time(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    Path(constants.HF_ASSETS_CACHE).parent.mkdir()
    Path(constants.HF_ASSETS_CACHE).write_text("in the way")
    fetched(tmp_path)
    server.asked.clear()
    facts, _ = fetched(tmp_path)
    assert facts["images"] == 72
    assert server.asked == [f"/api/datasets/{NAME}/revision/{COMMIT}"]


def test_a_cache_that_cannot_be_written_is_told_in_one_line(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]
) -> None:
    server.publish(leaves)
    Path(constants.HF_HUB_CACHE).parent.mkdir()
    Path(constants.HF_HUB_CACHE).write_text("in the way")
    told = refusal(tmp_path)
    assert told.startswith(f"README.md of {NAME} must come whole from {server.address}. Got [Errno ")
    assert told.endswith(" instead.")


@pytest.mark.parametrize("asked", [{"dataset": "lab/leaves/rust"}, {"dataset": "lab/leafs"}, {"revision": "v2"}])
def test_of_what_is_not_on_the_hub_nothing_is_kept(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], asked: dict[str, str]
) -> None:
    server.publish(leaves)
    refusal(tmp_path, **asked)
    assert not Path(constants.HF_ASSETS_CACHE).exists()


def test_dvc_fetches_from_the_hub_of_the_environment_once_and_again_when_other_images_are_asked_for(
    server: FakeHub, tmp_path: Path, leaves: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish(leaves)
    monkeypatch.setitem(ENVIRONMENT, "HF_ENDPOINT", server.address)
    monkeypatch.setitem(ENVIRONMENT, "HF_HOME", str(tmp_path / "home"))
    project = copy_project(tmp_path / "project")
    params = load_yaml(study(tmp_path).read_text(encoding="utf-8"))
    params["data"]["folder"] = "data/images"
    write_params(project, params)
    assert (
        f"fetch: 72 images of 3 classes from Hugging Face hub: {NAME}" in run(project, "dvc", "repro", "fetch").stdout
    )
    assert os.path.lexists(tmp_path / f"home/hub/datasets--lab--leaves/snapshots/{COMMIT}/{TRAIN}")
    server.asked.clear()
    assert "up to date" in run(project, "dvc", "repro", "fetch").stdout
    assert server.asked == []
    fetched_before = (project / "data/raw/images.parquet").read_bytes()
    params["data"]["hub"]["revision"] = "v2"
    write_params(project, params)
    told = run(project, "dvc", "repro", "fetch", succeeds=False).stderr.splitlines()
    assert f"data.hub.revision must be a commit, tag or branch of {NAME}. Got 'v2' instead." in told
    assert not [line for line in told if "Traceback" in line]
    run(project, "dvc", "checkout", "fetch")
    assert (project / "data/raw/images.parquet").read_bytes() == fetched_before


def read_until_closed(terminal: int, told: bytearray) -> None:
    """Read what is written to a terminal until nobody has it open for writing."""
    with suppress(OSError):  # Linux's end of a terminal
        while content := os.read(terminal, 65_536):
            told += content


def test_a_terminal_shows_how_far_the_download_is(server: FakeHub, tmp_path: Path, leaves: dict[str, bytes]) -> None:
    server.publish(leaves)
    shown, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    environment = {**ENVIRONMENT, "HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "stages.fetch", "--params", study(tmp_path), "--out", tmp_path / "raw"]
    told = bytearray()
    reader = Thread(target=read_until_closed, args=(shown, told), daemon=True)
    reader.start()
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=terminal, check=True)
    os.close(terminal)
    reader.join()
    os.close(shown)
    assert re.search(r"Fetching 4 files: 100%", told.decode())
    assert re.search(r"Reconstruction complete: 100%\S+ \S+kB / \S+kB", told.decode())
