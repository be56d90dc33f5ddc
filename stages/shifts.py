"""Shifts: images moved by a few pixels, which change nothing of what they show."""

from collections.abc import Callable

import torch
from torch import Tensor

from stages.prepared import Rows

DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
"""Where an image may be moved to: rows down and columns to the right."""


def shifter(direction: str, by: int) -> Callable[[Tensor, Rows, int | None], Tensor]:
    """Return what moves pixels (`shift`), for inputs that let something be done to theirs."""
    return lambda pixels, _rows, _view: shift(pixels, direction, by)


def shift(pixels: Tensor, direction: str, by: int) -> Tensor:
    """Return pixels, N x H x W x 3, moved by so many of them; what comes in from outside repeats the edge."""
    for axis, step in zip((1, 2), DIRECTIONS[direction], strict=True):
        side = pixels.shape[axis]
        places = (torch.arange(side, device=pixels.device) - step * by).clamp(0, side - 1)
        pixels = pixels.index_select(axis, places)
    return pixels
