"""Sources: where labelled images come from, and what is known about them."""

import hashlib
import importlib.metadata
import io
from collections.abc import Iterator
from pathlib import Path

import elpv_dataset
import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

from frostline.constants import HUB
from frostline.params.schema import Data, Hub
from frostline.sources.base import Example, Source
from frostline.sources.folders import read_folders
from frostline.sources.hub import download
from frostline.sources.parquet import list_classes, open_splits, read_examples
from frostline.sources.table import read_table


def open_source(data: Data) -> Source:
    """Return the source that the params name."""
    if data.source == "folder":
        return read_folder(Path(data.folder), grouped=data.groups == "folders")
    if data.source == "table":
        return read_table(Path(data.folder), data.table)
    if data.source == "hub":
        return read_hub(data.hub)
    return read_elpv(data.elpv_defective) if data.package == "elpv" else read_digits()


def read_elpv(defective_when: str) -> Source:
    """Return 2,624 solar cells by electroluminescence, 300 px, of Deitsch et al. 2019 (arXiv 1807.02894).

    Experts gave each cell a probability of being defective (0, 1/3, 2/3 or 1); `defective_when` makes it a class.
    The order of the files follows the modules that the cells were cut from.
    """
    root = Path(next(iter(elpv_dataset.__path__))) / "data"
    cells = pd.read_csv(root / "labels.csv", sep=r"\s+", names=["path", "probability", "module_type"])
    defective = cells.probability >= 0.5 if defective_when == "probability >= 0.5" else cells.probability > 0

    def read_examples() -> Iterator[Example]:
        for path, label, module_type in zip(cells.path, defective, cells.module_type, strict=True):
            yield _make_example(root / path, Path(path).name, int(label), str(module_type), None)

    facts: dict[str, object] = {
        "origin": "PyPI package elpv-dataset",
        "revision": importlib.metadata.version("elpv-dataset"),
        "licence": importlib.metadata.metadata("elpv-dataset")["License-Expression"],
        "labels": f'labels.csv of the package; "defective" when {defective_when}, else "functional"',
        "strata": "module type: mono or poly",
    }
    return Source(["functional", "defective"], facts, read_examples)


def read_digits() -> Source:
    """Return scikit-learn's 1,797 handwritten digits, 8 x 8 px (Alpaydin and Kaynak 1998, UCI)."""
    bunch = load_digits()
    pixels = (bunch.images * (255 / 16)).round().astype(np.uint8)

    def read_examples() -> Iterator[Example]:
        for number, (picture, label) in enumerate(zip(pixels, bunch.target, strict=True)):
            png = io.BytesIO()
            Image.fromarray(picture).save(png, format="png")
            name = f"digit{number:04d}.png"
            image: dict[str, bytes | str] = {"bytes": png.getvalue(), "path": name}
            yield Example(id=name, image=image, label=int(label), stratum="", group="", split=None)

    facts: dict[str, object] = {
        "origin": "sklearn.datasets.load_digits",
        "revision": importlib.metadata.version("scikit-learn"),
        "licence": "CC-BY-4.0",
        "labels": "the digit that was written",
        "strata": "none",
    }
    return Source([str(name) for name in bunch.target_names], facts, read_examples)


def read_folder(root: Path, *, grouped: bool = False) -> Source:
    """Return the images of class-named folders, which may lie in folders of splits or hold such, or groups."""
    folder = read_folders(root, grouped=grouped)
    classes = sorted({each.class_name for each in folder.images})

    def read_examples() -> Iterator[Example]:
        for each in folder.images:
            name = each.path.relative_to(root).as_posix()
            yield _make_example(each.path, name, classes.index(each.class_name), "", each.split, each.group)

    digest = hashlib.sha256()
    for each in folder.images:
        digest.update(f"{each.path.relative_to(root).as_posix()}\0{each.path.stat().st_size}\0".encode())
    facts: dict[str, object] = {
        "origin": f"folder {root.resolve().name}",  # where it lies is nobody else's concern
        "revision": f"sha256 of names and lengths {digest.hexdigest()}",
        "licence": "not known to Frostline: the folder is yours",
        "labels": "the name of the folder that an image lies in",
        "strata": "none",
        "understood": folder.understood,
        "left_alone": folder.left_alone,
    }
    return Source(classes, facts, read_examples)


def read_hub(asked: Hub) -> Source:
    """Return the images of a data set of the Hugging Face hub, at one commit, with the splits that it has."""
    where, listing = download(asked)
    splits = open_splits(where, asked)
    classes = list_classes(splits, asked)
    facts: dict[str, object] = {
        "origin": f"{HUB}: {asked.dataset}",
        "revision": listing.commit,
        "licence": listing.licence,
        "labels": f"the column {asked.label!r}",
        "strata": "none",
        "files": listing.files,
    }
    return Source([str(name) for name in classes], facts, lambda: read_examples(splits, classes, asked))


def _make_example(path: Path, name: str, label: int, stratum: str, split: str | None, group: str = "") -> Example:
    image: dict[str, bytes | str] = {"bytes": path.read_bytes(), "path": name}
    return Example(id=name, image=image, label=label, stratum=stratum, group=group, split=split)
