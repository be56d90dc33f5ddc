"""Schedules: how high the learning rate stands in the course of a phase, as a share of what the phase asks for."""

import math
from collections.abc import Sequence

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stages.params import Training


def heights(training: Training, val_losses: Sequence[float], steps: int) -> list[float]:
    """Return the share, 0 to 1, at each of the steps of an epoch.

    `val_losses` are those of the phase's epochs before this one; `training.epochs` are those of the phase. In the
    warm-up the share rises evenly, to 1 at its last step; after it, `cosine` falls along half a wave towards 0
    (Loshchilov and Hutter 2017, without restarts), and `plateau` by `plateau_factor` whenever more than
    `plateau_patience` epochs did not lower the validation loss.
    """
    past, full = len(val_losses), _after_plateaus(training, val_losses) if training.schedule == "plateau" else 1.0
    return [_height(training, past + step / steps, past + (step + 1) / steps, full) for step in range(steps)]


def _height(training: Training, begun: float, done: float, full: float) -> float:
    """Return the share at a step that begins and ends after so many epochs; `full` is without what comes and goes."""
    if done <= training.warmup_epochs:
        return done / training.warmup_epochs
    if training.schedule == "cosine":
        length = training.epochs - training.warmup_epochs
        return (1 + math.cos(math.pi * (begun - training.warmup_epochs) / length)) / 2
    return full


def _after_plateaus(training: Training, val_losses: Sequence[float]) -> float:
    """Return the share that torch's own schedule comes to; it is asked anew, so that nothing of it must be kept."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = ReduceLROnPlateau(optimizer, factor=training.plateau_factor, patience=training.plateau_patience)
    for loss in val_losses:
        schedule.step(loss)
    return float(optimizer.param_groups[0]["lr"])
