"""A team: the processes that train one fit together. Each has its share of every batch, and all learn the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from frostline.data.images import Rows
from frostline.distributed.normalization import normalize_together


@dataclass(frozen=True)
class Team:
    """A process's place, `rank`, in a team of so many; of one, nothing is shared, and each method gives what it takes.

    `patient` is the group in which the others wait for as long as it takes.
    """

    rank: int = 0
    size: int = 1
    patient: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that keeps what all of them learn."""
        return self.rank == 0

    def take_share(self, rows: Rows) -> Rows:
        """Return this process's rows of a batch: as many as the others', or one more."""
        return rows if self.size == 1 else np.array_split(rows, self.size)[self.rank]

    def take_even_share(self, rows: Rows) -> Rows:
        """Return as many rows for each process; where they do not come out even, the first are given out again."""
        if self.size == 1:
            return rows
        each = -(-len(rows) // self.size)
        return np.resize(rows, each * self.size)[self.rank * each : (self.rank + 1) * each]

    def gather(self, mine: Tensor, rows: int) -> Tensor:
        """Return what all processes made of their even shares of so many rows, in the order of the rows."""
        if self.size == 1:
            return mine
        shares = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(shares, mine.contiguous())
        return torch.cat(shares)[:rows]

    def add_up(self, mine: Tensor) -> Tensor:
        """Return the sum of what all processes have."""
        if self.size == 1:
            return mine
        summed = mine.clone()
        distributed.all_reduce(summed)
        return summed

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            distributed.barrier(self.patient)

    @contextmanager
    def train_together(self, module: nn.Module) -> Iterator[nn.Module]:
        """Yield the module as it is trained by all: its gradients are their mean, its BatchNorms see whole batches.

        It is torch's DistributedDataParallel; all begin with what the first process has. What learns is the same in
        every step, also where some of it gets no gradient.
        """
        if self.size == 1:
            yield module
            return
        shared = DistributedDataParallel(module, forward_sync_buffers=False, static_graph=True)
        with normalize_together():
            yield shared


ALONE = Team()
"""One process that trains by itself."""
