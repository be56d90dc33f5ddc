"""On a cluster: the workers of a race whose fits are tasks, as many at once as there are cores for."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import pandas as pd
import ray
import torch
from torch import Tensor

from frostline.cluster.fits import Run
from frostline.cluster.node import Order, settle
from frostline.constants import Rates
from frostline.params.schema import Params
from frostline.running.racing import Ask, TrialResult, Worker, predict_best
from frostline.running.together import open_runs
from frostline.training.checkpoints import read_best
from frostline.training.grid import Feed, make_feed
from frostline.training.job import locate_checkpoint
from frostline.training.loop import find_best_epoch

Asked = TypeVarTuple("Asked")
Answer = TypeVar("Answer")


@dataclass
class ClusterWorker(Worker):
    """A worker whose cells are trained by a run on a cluster; what it counts, it counts here."""

    run: Run = field(kw_only=True)
    peak: int = 0

    def train(self, rates: Rates, replicate: int, most: int | None) -> TrialResult:
        """Train the cell to its end, or up to so many epochs in all, going on where it was."""
        history = []
        for phase in range(1, len(self.job.phases) + 1):
            cell = rates[:phase], replicate
            ((_, came),) = self.run.train(phase, [cell], self.job.replicates, most)
            history = self.histories[phase - 1][cell] = came.history[:most]
            self.audited[phase - 1] = came.audited
            self.peak = max(self.peak, came.peak_memory_bytes)
            feed = self.feeds[phase - 1]
            kept = replace(feed.cache, place=came.cache, bytes=came.cache_bytes)
            self.feeds[phase - 1] = replace(feed, cache=kept, seconds=max(feed.seconds, came.prefix_seconds))
            if len(history) == most:
                break
        return TrialResult(find_best_epoch(history).val_loss, len(history))

    def predict(self, rates: Rates, replicate: int) -> pd.DataFrame:
        """Return what the cell, at its best epoch, makes of the images that the replicate tests."""
        best = {
            name: tensor.clone() for name, tensor in read_best(locate_checkpoint(self.job, rates, replicate)).items()
        }
        return self.run.cluster.ask(predict_there, self.run.orders, replicate, best, cpus=self.job.threads)

    def make_feed(self, phase: int) -> Feed:
        """Return the feed of the phase as it is where nothing of its prefix is kept."""
        while len(self.feeds) < phase:
            self.feeds.append(replace(make_feed(self.job, len(self.feeds) + 1, []), seconds=0.0))
            self.histories.append({})
            self.audited.append(0)
        return self.feeds[phase - 1]

    def measure_peak(self) -> int:
        """Return the most memory that a process held that trained a cell."""
        return self.peak

    def write(self, folder: Path, rates: Rates, replicates: list[int]) -> None:
        """Write the run into the folder, in the order in which one worker would have trained its cells."""
        for phase, histories in enumerate(self.histories, 1):
            order = self.job.list_rates(phase)
            ordered = sorted(histories.items(), key=lambda item: (item[0][1], order.index(item[0][0])))
            histories.clear()
            histories.update(ordered)
        super().write(folder, rates, replicates)


def predict_there(orders: list[Any], replicate: int, best: dict[str, Tensor]) -> pd.DataFrame:
    """Return what the tensors of a cell's best epoch make of the images that the replicate tests, on a node."""
    order: Order = ray.get(orders[0])
    job = settle(order, order[0].scratch)
    torch.set_num_threads(job.threads)
    return predict_best(job, replicate, best)


@dataclass(frozen=True)
class AskHere:
    """Asks a worker in this process, as many things at once as one likes."""

    worker: ClusterWorker
    at_once: int

    def __call__(self, do: Callable[[Worker, *Asked], Answer], *arguments: *Asked) -> Answer:
        """Return what the method returns, or raise the `InputError` that it met."""
        answer: Answer = getattr(self.worker, do.__name__)(*arguments)
        return answer


@contextmanager
def start_on_cluster(settings: Params, prepared: Path, runs: Mapping[str, tuple[str, str]]) -> Iterator[dict[str, Ask]]:
    """Yield how to ask the worker of each run, by its name with its backbone and plan."""
    with open_runs(settings, prepared, runs) as opened:
        workers: dict[str, Ask] = {}
        for name, run in opened.items():
            worker = ClusterWorker(run.job, runs[name][1], run=run)
            worker.make_feed(len(run.job.phases))  # here and now, as networks are built one after the other
            workers[name] = AskHere(worker, 2 * run.cluster.count_slots(run.job))
        yield workers
