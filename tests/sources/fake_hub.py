"""A hub on this machine alone, and a data set on it."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from frostline.errors import InputError
from frostline.files import read_json
from stages import fetch, prepare
from tests.loopback import Server
from tests.project import dump_yaml, read_study

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


TRAIN = "data/train-00000-of-00001.parquet"


def study(tmp_path: Path, source: str = "hub", **asked: str | None) -> Path:
    """Return a params file whose images are those of the data set, or of a folder."""
    params = read_study("quick")
    params["data"] |= {"source": source, "folder": str(tmp_path / "images"), "image_px": 16}
    params["study"]["repeats"] = 2
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
