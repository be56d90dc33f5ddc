"""The prepared images, as every stage after prepare reads them."""

from dataclasses import dataclass
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


def read_prepared(folder: Path) -> Prepared:
    """Return what prepare wrote into the folder."""
    return Prepared(
        images=np.load(folder / "images.npy", mmap_mode="r"),
        labels=np.load(folder / "labels.npy"),
        ids=[str(name) for name in read_csv(folder / "images.csv").id],
        classes=read_json(folder / "prepared.json")["classes"],
        splits=read_csv(folder / "splits.csv"),
    )
