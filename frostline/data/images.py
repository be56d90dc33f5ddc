"""Images: the arrays into which they were decoded, as training reads them."""

import hashlib
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from frostline.constants import LEFT_OUT
from frostline.files import check_sums, read_csv, read_json

Rows = NDArray[np.int64]
"""Rows of images.npy."""


@dataclass(frozen=True)
class Prepared:
    """Memory-mapped uint8 images (N x H x W x 3), int64 labels (N), their names, and each replicate's splits.

    `sha256` is of images, labels and names together.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: list[str]
    classes: list[str]
    splits: pd.DataFrame
    sha256: str = ""

    def list_rows(self, split: str, replicates: list[int]) -> Rows:
        """Return the rows that are in the split for any of the replicates, ascending."""
        chosen = self.splits[(self.splits.split == split) & self.splits.replicate.isin(replicates)]
        return np.unique(chosen.image.to_numpy(np.int64))

    def __getstate__(self) -> dict[str, Any]:
        """Hand over the name of the file of images, which another process maps anew, not the images."""
        images = self.images
        return vars(self) | {"images": images.filename if isinstance(images, np.memmap) else images}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what was handed over."""
        images = state["images"]
        is_file = not isinstance(images, np.ndarray)
        vars(self).update(state | {"images": np.load(images, mmap_mode="r") if is_file else images})


def take_share(data: Prepared, percent: float) -> Prepared:
    """Return the same with so many per cent of each replicate's training images, rounded up, class by class.

    Which ones is drawn by the replicate. A smaller share is a part of a larger one: they differ in nothing else.
    """
    splits = data.splits.copy()
    for replicate, its in splits[splits.split == "train"].groupby("replicate"):
        labels = data.labels[its.image]
        for label in np.unique(labels):
            of_class = its.index[labels == label].to_numpy()
            drawn = np.random.default_rng([int(str(replicate)), int(label)]).permutation(of_class)
            splits.loc[drawn[ceil(percent / 100 * len(drawn)) :], "split"] = LEFT_OUT
    return replace(data, splits=splits)


def read_prepared(folder: Path) -> Prepared:
    """Return what prepare wrote into the folder, or raise an `InputError` if any of it is not as it was written."""
    check_sums(folder)
    about, ids = read_json(folder / "prepared.json"), [str(name) for name in read_csv(folder / "images.csv").id]
    known = [*(about["sha256"][name] for name in ("images.npy", "labels.npy")), *ids]
    return Prepared(
        images=np.load(folder / "images.npy", mmap_mode="r"),
        labels=np.load(folder / "labels.npy"),
        ids=ids,
        classes=about["classes"],
        splits=read_csv(folder / "splits.csv"),
        sha256=hashlib.sha256("\n".join(known).encode()).hexdigest(),
    )
