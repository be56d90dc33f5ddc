"""Inputs that count, and caches of them."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from frostline.data.images import Rows

BUDGETS = {"memory": 2_000_000_000, "scratch": 1, "off": 0}
"""A `training.cache_bytes` that leads to each place, for outputs that are neither of one byte nor of terabytes."""


kept_places = pytest.mark.parametrize("place", ["memory", "scratch"])


def count_up(batches: Sequence[Rows], view: int | None) -> Iterator[Tensor]:
    """Yield inputs by which a row can be told: a hundred times the view, plus the row."""
    for rows in batches:
        yield torch.from_numpy(rows).float().view(-1, 1) + 100.0 * (view or 0)
