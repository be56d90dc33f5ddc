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

from frostline.constants import HUB, SPLITS
from frostline.errors import InputError
from frostline.params import Data, Hub
from frostline.sources.base import Example, Source
from frostline.sources.hub import download
from frostline.sources.parquet import list_classes, open_splits, read_examples

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
KNOWN_ENDINGS = f"Known endings: {', '.join(IMAGE_SUFFIXES)}."
SPLIT_FOLDERS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folder names that mean an official split."""


def open_source(data: Data) -> Source:
    """Return the source that the params name."""
    if data.source == "folder":
        return read_folder(Path(data.folder))
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
            yield Example(id=name, image=image, label=int(label), stratum="", split=None)

    facts: dict[str, object] = {
        "origin": "sklearn.datasets.load_digits",
        "revision": importlib.metadata.version("scikit-learn"),
        "licence": "CC-BY-4.0",
        "labels": "the digit that was written",
        "strata": "none",
    }
    return Source([str(name) for name in bunch.target_names], facts, read_examples)


def read_folder(root: Path) -> Source:
    """Return the images of class-named folders, which may lie in folders named train, validation and test."""
    files = list_images(root)
    classes = sorted({class_name for _, class_name, _ in files})
    _check_folder(root, files, classes)

    def read_examples() -> Iterator[Example]:
        for split, class_name, path in files:
            yield _make_example(path, path.relative_to(root).as_posix(), classes.index(class_name), "", split)

    digest = hashlib.sha256()
    for _, _, path in files:
        digest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
    facts: dict[str, object] = {
        "origin": f"folder {root.resolve().name}",  # where it lies is nobody else's concern
        "revision": f"sha256 of names and lengths {digest.hexdigest()}",
        "licence": "not known to Frostline: the folder is yours",
        "labels": "the name of the folder that an image lies in",
        "strata": "none",
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


def list_images(root: Path) -> list[tuple[str | None, str, Path]]:
    """Return (official split or None, class name, path) of every image below `root`, sorted by path."""
    if not root.is_dir():
        raise _make_folder_error("be a folder of class-named folders", f"no folder at {str(root)!r}")
    tops = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not tops:
        raise _make_folder_error("hold one folder of images for each class", f"no folder in {str(root)!r}")
    _check_loose(root)
    official = [SPLIT_FOLDERS.get(top.name.lower()) for top in tops]
    if any(official) and not all(official):
        a_class, a_split = (
            next(top.name for top, split in zip(tops, official, strict=True) if bool(split) is of)
            for of in (False, True)
        )
        got = f"{a_class!r} beside {a_split!r}"
        raise _make_folder_error("hold either class folders or only train, validation and test", got)
    if all(official):
        for top in tops:
            _check_loose(top)
        below = [(split, folder) for split, top in zip(official, tops, strict=True) for folder in _list_folders(top)]
    else:
        below = [(None, top) for top in tops]
    images = [(split, folder, _list_image_files(folder)) for split, folder in below]
    empty = [folder for _, folder, paths in images if not paths]
    if empty and len(empty) < len(images):
        raise _make_folder_error("hold images in every class folder", f"none in {str(empty[0])!r}", KNOWN_ENDINGS)
    return [(split, folder.name, path) for split, folder, paths in images for path in paths]


def _check_loose(where: Path) -> None:
    """Refuse images that lie where only class folders should: nothing tells their class."""
    loose = sorted(path.name for path in where.iterdir() if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES)
    if loose:
        raise _make_folder_error("hold images in class folders only", f"{loose[0]!r} loose in {str(where)!r}")


def _list_folders(top: Path) -> list[Path]:
    return sorted(path for path in top.iterdir() if path.is_dir() and not path.name.startswith("."))


def _list_image_files(class_folder: Path) -> list[Path]:
    """Return the images anywhere below a class folder; what has no image's ending is left alone."""
    files = (path for path in class_folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(path for path in files if path.is_file() and not _is_hidden(path.relative_to(class_folder)))


def _is_hidden(path: Path) -> bool:
    return any(step.startswith(".") for step in path.parts)


def _check_folder(root: Path, files: list[tuple[str | None, str, Path]], classes: list[str]) -> None:
    if not files:
        raise _make_folder_error("hold images", f"none in {str(root)!r}", KNOWN_ENDINGS)
    if len(classes) < 2:
        raise _make_folder_error("hold at least two classes", f"only {classes[0]!r} in {str(root)!r}")
    splits = {split for split, _, _ in files}
    if splits != {None} and ("train" not in splits or len(splits) == 1):
        got = " and ".join(split for split in SPLITS if split in splits)
        fix = "Without split folders every image is tested, in folds."
        raise _make_folder_error("hold train beside validation or test if it holds splits", f"only {got}", fix)


def _make_folder_error(must: str, got: str, hint: str = "") -> InputError:
    return InputError.of("data.folder", must, got, hint)


def _make_example(path: Path, name: str, label: int, stratum: str, split: str | None) -> Example:
    image: dict[str, bytes | str] = {"bytes": path.read_bytes(), "path": name}
    return Example(id=name, image=image, label=label, stratum=stratum, split=split)
