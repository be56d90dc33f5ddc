"""Weight changes: the first filters before and after training, and how far each part moved."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from frostline.backbones.freezing import count_by_part


@dataclass(frozen=True)
class Filters:
    """Filters of the first layer, before and after training: each float32, filters x 3 x height x width.

    `indices` says which of the layer's `of` filters they are.
    """

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    indices: list[int]
    of: int


def find_first_filters(loaded: nn.Module, trained: nn.Module, most: int) -> Filters | None:
    """Return the filters of the layer that sees the image, or None where it sees no image's colours.

    Of more than `most` those are taken whose weights are the largest after training, in the layer's order.
    """
    before, after = get_filter_bank(loaded), get_filter_bank(trained)
    if before is None or after is None:
        return None
    strength = after.flatten(1).double().norm(dim=1)
    chosen = strength.argsort(descending=True, stable=True)[:most].sort().values
    return Filters(before[chosen].numpy(), after[chosen].numpy(), chosen.tolist(), len(after))


@torch.no_grad()
def get_filter_bank(network: nn.Module) -> Tensor | None:
    """Return the weights of the first layer as filters x 3 x height x width, or None where they are no such filters.

    Of a network that begins with a linear layer each row is one filter, as large as the image.
    """
    layers = (layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    weights = next(layers).weight.detach().float()
    if weights.dim() == 4:
        return weights if weights.shape[1] == 3 else None
    side = round((weights.shape[1] / 3) ** 0.5)
    return weights.reshape(-1, 3, side, side) if weights.shape[1] == 3 * side**2 else None


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


def measure_movements(loaded: nn.Sequential, trained: nn.Sequential) -> list[Moved]:
    """Return how far each part moved, shallow to deep; norms are Euclidean, over all parameters, in float64.

    `trained` must have its plan applied, which says what of it learned. A head is always new: it moved from what its
    replicate drew.
    """
    before = dict(loaded.named_children())
    return [
        Moved(counted.part, counted.parameters, counted.trainable, compute_relative_change(before[counted.part], part))
        for counted, part in zip(count_by_part(trained), trained.children(), strict=True)
    ]


@torch.no_grad()
def compute_relative_change(loaded: nn.Module, trained: nn.Module) -> float | None:
    """Return the norm of the difference of all parameters over the norm of those that were loaded."""
    before = dict(loaded.named_parameters())
    changes = [parameter.double() - before[name].double() for name, parameter in trained.named_parameters()]
    whole = _compute_norm([parameter.double() for parameter in before.values()])
    return _compute_norm(changes) / whole if whole else None


def _compute_norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(tensor.square().sum()) for tensor in tensors))
