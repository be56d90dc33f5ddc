"""Runs of a toy."""

from frostline.training.loop import Epoch


def history(*losses: float) -> list[Epoch]:
    return [Epoch(number, 1, {}, 1.0, 0.5, loss, 0.5, 1.0) for number, loss in enumerate(losses, start=1)]
