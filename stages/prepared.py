"""The prepared images, as every stage after prepare reads them."""

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.outputs import read_csv, read_json

Rows = NDArray[np.int64]
"""Rows of images.npy."""


@dataclass(frozen=True)
class Prepared:
    """Memory-mapped uint8 images (N x H x W x 3), int64 labels (N), their names, and each seed's splits."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: list[str]
    classes: list[str]
    splits: pd.DataFrame

    def rows(self, split: str, seeds: list[int]) -> Rows:
        """Return the rows that are in the split for any of the seeds, ascending."""
        chosen = self.splits[(self.splits.split == split) & self.splits.seed.isin(seeds)]
        return np.unique(chosen.image.to_numpy(np.int64))


def with_share(data: Prepared, percent: float) -> Prepared:
    """Return the same with so many per cent of each seed's training images, rounded up, class by class.

    Which ones is drawn by the seed. A smaller share is a part of a larger one, so that they differ in nothing else.
    """
    splits = data.splits.copy()
    for seed, its in splits[splits.split == "train"].groupby("seed"):
        labels = data.labels[its.image]
        for label in np.unique(labels):
            of_class = its.index[labels == label].to_numpy()
            drawn = np.random.default_rng([int(str(seed)), int(label)]).permutation(of_class)
            splits.loc[drawn[ceil(percent / 100 * len(drawn)) :], "split"] = "left out"
    return replace(data, splits=splits)


def read_prepared(folder: Path) -> Prepared:
    """Return what prepare wrote into the folder."""
    return Prepared(
        images=np.load(folder / "images.npy", mmap_mode="r"),
        labels=np.load(folder / "labels.npy"),
        ids=[str(name) for name in read_csv(folder / "images.csv").id],
        classes=read_json(folder / "prepared.json")["classes"],
        splits=read_csv(folder / "splits.csv"),
    )
