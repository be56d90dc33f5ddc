"""A split as the runs of a study were scored on it: the same images for all of them, seed by seed, in groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stages.metrics import METRICS, Floats, tally
from stages.mistakes import mistake


@dataclass(frozen=True)
class Scored:
    """What every run named the images of a split, as sums over groups of images.

    `tallies` holds for each run and seed what `metrics.tally` returns, groups x sums; a group that is not in a seed's
    split adds nothing. `singles` holds the same image by image, in the order of the images. `images` and
    `train_images` are a seed's (means over seeds), `distinct_images` those of all seeds together. `redrawn` says
    whether seeds have splits of their own; else all are scored on the same images.
    """

    tallies: list[list[csr_array]]
    singles: list[list[csr_array]]
    images: float
    train_images: float
    distinct_images: int
    redrawn: bool

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return len(self.tallies)

    @property
    def seeds(self) -> int:
        """How many seeds each run has."""
        return len(self.tallies[0])

    @property
    def groups(self) -> int:
        """How many groups of images there are, over all seeds."""
        return int(self.tallies[0][0].shape[0])


def scored_on(
    predictions: Sequence[pd.DataFrame], classes: list[str], groups: NDArray[np.int64], train_images: float
) -> Scored:
    """Return the split that the runs' predictions are of; `groups` gives each row of images.npy its group.

    Raises `Mistake` unless all runs have the same seeds and images.
    """
    shown = predictions[0].groupby("seed").image.agg(frozenset)
    if any(not shown.equals(table.groupby("seed").image.agg(frozenset)) for table in predictions):
        must = "hold predictions of the same seeds and images for every run of the study"
        raise mistake("data/scores", must, "others for some", "`dvc repro` scores them anew.")
    of_image = pd.Series(groups).reindex(np.unique(predictions[0].image))
    places = pd.Series(pd.factorize(of_image)[0], index=of_image.index)
    count = int(places.max()) + 1
    by_seed = [[each.sort_values("image") for _, each in table.groupby("seed")] for table in predictions]
    singles = [[tally(each, classes) for each in tables] for tables in by_seed]
    tallies = [
        [_by_group(single, places.loc[each.image].to_numpy(), count) for single, each in zip(one, tables, strict=True)]
        for one, tables in zip(singles, by_seed, strict=True)
    ]
    images = float(shown.map(len).mean())
    return Scored(tallies, singles, images, train_images, len(of_image), redrawn=shown.nunique() > 1)


def _by_group(single: csr_array, places: NDArray[np.int64], groups: int) -> csr_array:
    """Return the sums over each group of images, whose places are given."""
    images = np.arange(len(places))
    return csr_array(csr_array((np.ones(len(places)), (places, images)), shape=(groups, len(places))) @ single)


def seed_values(scored: Scored, weights: Floats) -> Floats:
    """Return every metric, runs x metrics x seeds x draws, with each group counted as often as `weights` says.

    `weights`: draws x groups. A seed with no image left in a draw has no number there.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        values = [[_metrics((each.T @ weights.T).T) for each in tallies] for tallies in scored.tallies]
    return np.array(values).transpose(0, 2, 1, 3)


def without_each(tallies: list[list[csr_array]], seed: int) -> Floats:
    """Return every metric of one seed with one row of its tallies left out after the other, runs x metrics x rows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.array([_metrics(of[seed].sum(axis=0) - of[seed].toarray()) for of in tallies])


def _metrics(totals: Floats) -> Floats:
    return np.array([metric(totals) for metric in METRICS.values()])
