"""Schedules: how high the learning rate stands in the course of a phase, as a share of what the phase asks for."""

import math
from collections.abc import Sequence

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stages.params import Training


def height(training: Training, val_losses: Sequence[float], progress: float) -> float:
    """Return the share at a step of an epoch, 0 to 1.

    `val_losses` are those of the phase's epochs before this one; `progress` is the share of this epoch's steps that are
    done when the step is. `training.epochs` are those of the phase. In the warm-up the share rises evenly, step by
    step; after it, `cosine` falls along half a wave to 0 (Loshchilov and Hutter 2017, without restarts), and `plateau`
    by `plateau_factor` whenever more than `plateau_patience` epochs did not lower the validation loss.
    """
    done = len(val_losses) + progress
    if done <= training.warmup_epochs:
        return done / training.warmup_epochs
    if training.schedule == "cosine":
        return (1 + math.cos(math.pi * (done - training.warmup_epochs) / _length(training))) / 2
    return _after_plateaus(training, val_losses) if training.schedule == "plateau" else 1.0


def _length(training: Training) -> float:
    return training.epochs - training.warmup_epochs


def _after_plateaus(training: Training, val_losses: Sequence[float]) -> float:
    """Return the share that torch's own schedule comes to; it is asked anew, so that nothing of it must be kept."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = ReduceLROnPlateau(optimizer, factor=training.plateau_factor, patience=training.plateau_patience)
    for loss in val_losses:
        schedule.step(loss)
    return float(optimizer.param_groups[0]["lr"])
