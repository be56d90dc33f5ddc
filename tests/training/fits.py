"""A problem that a line solves, and fits of it."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from frostline.data.images import Rows
from frostline.params.schema import Training
from frostline.training.loop import Batches, Fit, start_fit, train_epochs
from tests.toys import TRAINING


def points() -> Tensor:
    """Return 64 points of the plane, to be told apart by the sign of their first coordinate, with a gap between."""
    drawn = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    return drawn + drawn.sign() * torch.tensor([0.5, 0.0])


def points_in(batches: Sequence[Rows], _view: int | None) -> Iterator[Tensor]:
    for rows in batches:
        yield points()[torch.from_numpy(rows)]


def batches(labels: Tensor | None = None) -> Batches:
    """Return the toy problem: 40 points to train on, 24 to validate on."""
    known = (points()[:, 0] > 0).long() if labels is None else labels
    return Batches(points_in, known, np.arange(40), np.arange(40, 64))


def doubted_batches() -> Batches:
    """Return the toy problem with each fourth validation label wrong: at some point, to be surer is to be worse."""
    labels = (points()[:, 0] > 0).long()
    labels[40::4] = 1 - labels[40::4]
    return batches(labels)


def line() -> nn.Sequential:
    """Return the smallest suffix that can learn the toy problem. It begins undecided."""
    suffix = nn.Sequential(nn.Linear(2, 2))
    for parameter in suffix.parameters():
        nn.init.zeros_(parameter)
    return suffix


def restless() -> nn.Sequential:
    """Return a suffix with all that a checkpoint could forget: BatchNorm's statistics and dropout's dice."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))


def fit_to_end(fit: Fit, asked: Training = TRAINING, taught: Batches | None = None) -> Fit:
    for _ in train_epochs(fit, taught or batches(), asked, "float32"):
        pass
    return fit


def learn(suffix: nn.Sequential, replicate: int = 0) -> Fit:
    return fit_to_end(start_fit(suffix, 0.01, 0.01, replicate))


PLACES = {"memory": 2_000_000_000, "scratch": 1, "off": 0}
