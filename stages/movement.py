"""Movement: how far training took each part of a backbone from the weights with which it began."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.freezing import count_by_part


@dataclass(frozen=True)
class Moved:
    """A part's parameters, how many of them learned, and how far it went.

    `relative_norm` is the norm of what changed over the norm of what was loaded: 0.0 where nothing moved, and None
    where a part has no parameters, or all of them were 0.
    """

    part: str
    parameters: int
    trainable: int
    relative_norm: float | None


def moved_by_part(loaded: nn.Sequential, trained: nn.Sequential) -> list[Moved]:
    """Return how far each part moved, shallow to deep; norms are Euclidean, over all parameters, in float64.

    `trained` must have its plan applied, which says what of it learned. A head is always new: it moved from what its
    seed drew.
    """
    before = dict(loaded.named_children())
    return [
        Moved(each.part, each.parameters, each.trainable, relative_norm(before[each.part], part))
        for each, part in zip(count_by_part(trained), trained.children(), strict=True)
    ]


@torch.no_grad()
def relative_norm(loaded: nn.Module, trained: nn.Module) -> float | None:
    """Return the norm of the difference of all parameters over the norm of those that were loaded."""
    before = dict(loaded.named_parameters())
    changes = [parameter.double() - before[name].double() for name, parameter in trained.named_parameters()]
    whole = _norm([parameter.double() for parameter in before.values()])
    return _norm(changes) / whole if whole else None


def _norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(tensor.square().sum()) for tensor in tensors))
