"""Filters: what the first layer looks for, as pictures; it looks for the same in every image."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class Filters:
    """Filters of the first layer, before and after training: each float32, filters x 3 x height x width.

    `indices` says which of the layer's `of` filters they are.
    """

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    indices: list[int]
    of: int


def first_filters(loaded: nn.Module, trained: nn.Module, most: int) -> Filters | None:
    """Return the filters of the layer that sees the image, or None where it sees no image's colours.

    Of more than `most` those are taken whose weights are the largest after training, in the layer's order.
    """
    before, after = filter_bank(loaded), filter_bank(trained)
    if before is None or after is None:
        return None
    strength = after.flatten(1).double().norm(dim=1)
    chosen = strength.argsort(descending=True, stable=True)[:most].sort().values
    return Filters(before[chosen].numpy(), after[chosen].numpy(), chosen.tolist(), len(after))


@torch.no_grad()
def filter_bank(network: nn.Module) -> Tensor | None:
    """Return the weights of the first layer as filters x 3 x height x width, or None where they are no such filters.

    Of a network that begins with a linear layer each row is one filter, as large as the image.
    """
    layers = (layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    weights = next(layers).weight.detach().float()
    if weights.dim() == 4:
        return weights if weights.shape[1] == 3 else None
    side = round((weights.shape[1] / 3) ** 0.5)
    return weights.reshape(-1, 3, side, side) if weights.shape[1] == 3 * side**2 else None
