"""A race: when plans are compared, which rates go on (successive halving), and the worker that trains each plan."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from pathlib import Path
from typing import Protocol, TypeVar, TypeVarTuple

import pandas as pd
import torch
from torch import Tensor

from frostline.backbones.freezing import count_parameters
from frostline.backbones.precision import compute_deterministically
from frostline.constants import Rates
from frostline.data.images import read_prepared
from frostline.distributed.processes import end_with_parent
from frostline.hardware import choose_device, keep_freed_memory, measure_peak_memory
from frostline.params.loading import load_params
from frostline.prediction.predictions import predict_replicate
from frostline.training.checkpoints import Trained, drop_oldest, read_best
from frostline.training.grid import Feed, build_frozen, make_feed, train_cell
from frostline.training.job import Job, locate_checkpoint, make_job
from frostline.training.loop import Epoch, Fit, find_best_epoch
from frostline.training.results import (
    Histories,
    Spent,
    build_frozen_backbone,
    count_flops,
    count_phases,
    summarize_phase,
    write_outcome,
)
from frostline.training.workers import count_workers, gather_team, share_cores

Asked = TypeVarTuple("Asked")
Answer = TypeVar("Answer")


def list_rungs(replicates: int, folds: int) -> list[int]:
    """Return after how many replicates plans are compared: two folds or more, then whole repeats, and never at the end.

    One fold is one draw of luck, so that nobody stops on it.
    """
    return [count for count in range(2, replicates) if count < folds or count % folds == 0]


def choose_better_half(losses: Mapping[Rates, float]) -> list[Rates]:
    """Return the half of the rates (rounded up) with the lower validation loss, in the order in which they came."""
    finite = {rates: loss if isfinite(loss) else inf for rates, loss in losses.items()}
    kept = sorted(finite, key=lambda rates: finite[rates])[: (len(finite) + 1) // 2]
    return [rates for rates in losses if rates in kept]


@dataclass(frozen=True)
class TrialResult:
    """What came of training a cell so far: its lowest validation loss, and after how many epochs."""

    val_loss: float
    epochs: int


@dataclass
class Worker:
    """A job of which any cell can be trained at any time, for some of its epochs or all; with a feed for each phase."""

    job: Job
    plan: str
    feeds: list[Feed] = field(default_factory=list)
    histories: list[Histories] = field(default_factory=list)
    audited: list[int] = field(default_factory=list)

    def train(self, rates: Rates, replicate: int, most: int | None) -> TrialResult:
        """Train the cell to its end, or up to so many epochs in all, going on where it was.

        Where it was further on already, as after a race that was killed, it counts as if it had so many epochs still.
        """
        history: list[Epoch] = []
        for fit in self.train_cell(rates, replicate, most):
            history = fit.history[:most]
            self.histories[fit.phase - 1][rates[: fit.phase], replicate] = history
            if len(history) == most:
                break
        return TrialResult(find_best_epoch(history).val_loss, len(history))

    def train_cell(self, rates: Rates, replicate: int, most: int | None) -> Iterator[Fit]:
        """Train the cell, going on where it was; yield its fit as it stands, if it began, and after each epoch.

        At so many epochs whoever takes them stops.
        """
        labels = torch.from_numpy(self.job.data.labels).to(self.job.device)
        for phase in range(1, len(self.job.phases) + 1):
            feed, cell = self.make_feed(phase), (rates[:phase], replicate)
            with gather_team(self.job, feed, [cell], most) as team:
                for fit in train_cell(self.job, feed, labels, *cell, team):
                    if fit.history:
                        yield fit
            self.audited[phase - 1] = fit.audited or 0

    def predict(self, rates: Rates, replicate: int) -> pd.DataFrame:
        """Return what the cell, at its best epoch, makes of the images that the replicate tests."""
        return predict_best(self.job, replicate, read_best(locate_checkpoint(self.job, rates, replicate)))

    def make_feed(self, phase: int) -> Feed:
        """Return the feed of the phase, which is made when it is needed first."""
        if len(self.feeds) < phase:
            self.feeds.append(make_feed(self.job, phase))
            self.histories.append({})
            self.audited.append(0)
        return self.feeds[phase - 1]

    def list_rates(self) -> list[Rates]:
        """Return the learning rates that are to be tried."""
        return self.job.list_rates(len(self.job.phases))

    def count_epochs(self) -> int:
        """Return the epochs of a fit at most."""
        return sum(phase.epochs for phase in self.job.phases)

    def count_flops(self) -> int:
        """Return what such a fit computes for each image, its prefix left out."""
        works = count_phases(self.job, build_frozen_backbone(self.job, self.plan))
        return sum(phase.epochs * work.train(0, 1) for phase, work in zip(self.job.phases, works, strict=True))

    def count_workers(self, phase: int) -> int:
        """Return how many fits of the phase would be trained at once if the run were trained alone."""
        return count_workers(self.job, build_frozen_backbone(self.job, self.plan), phase)

    def measure_costs(self) -> dict[str, float]:
        """Return what the run has cost so far, by the names that `advice.cost` may have."""
        frozen = build_frozen_backbone(self.job, self.plan)
        trainable_parameters, _ = count_parameters(frozen)
        spent = [
            Spent(feed.phase, histories, self.count_workers(feed.phase), feed.seconds, feed.cache.bytes)
            for feed, histories in zip(self.feeds, self.histories, strict=True)
        ]
        return {
            "trainable_parameters": trainable_parameters,
            "train_flops": count_flops(self.job, frozen, spent)["train_flops"],
            "train_seconds": sum(phase.train_seconds for phase in spent),
            "peak_memory_bytes": self.measure_peak(),
        }

    def measure_peak(self) -> int:
        """Return the most memory that this process held."""
        return measure_peak_memory()

    def write(self, folder: Path, rates: Rates, replicates: list[int]) -> None:
        """Write the run into the folder, as these replicates were trained at these rates."""
        phases = []
        for feed, histories, audited in zip(self.feeds, self.histories, self.audited, strict=True):
            share = feed.seconds / len(histories)
            trained = {
                (rates, replicate): Trained(
                    rates, replicate, history, audited, self.measure_peak(), share, feed.cache.place, feed.cache.bytes
                )
                for (rates, replicate), history in histories.items()
            }
            phases.append(summarize_phase(feed, self.job, trained, self.count_workers(feed.phase)))
        write_outcome(folder, self.job, self.plan, phases, rates, replicates)

    def drop_oldest(self) -> None:
        """Keep of all fits no more than may be kept."""
        drop_oldest(self.job.scratch, self.job.training.keep_bytes)


def predict_best(job: Job, replicate: int, best: Mapping[str, Tensor]) -> pd.DataFrame:
    """Return what the tensors of a cell's best epoch make of the images that the replicate tests."""
    backbone = build_frozen(job, replicate, len(job.phases))
    backbone.load_state_dict({**backbone.state_dict(), **best})
    return predict_replicate(job.data, backbone.eval(), replicate, job.backbone, job.precision).test


class Ask(Protocol):
    """Has a worker, wherever it is, do what one of its methods does: `ask(Worker.train, rates, replicate, None)`."""

    @property
    def at_once(self) -> int:
        """How many things the worker does at once."""
        ...

    def __call__(self, do: Callable[[Worker, *Asked], Answer], *arguments: *Asked) -> Answer:
        """Return what the method returns, or raise the `InputError` that it met."""
        ...


@dataclass(frozen=True)
class RemoteWorker:
    """A worker in a process of its own, in which it stays for the whole race with its prefix and its fits."""

    name: str
    pool: ProcessPoolExecutor
    at_once: int = 1

    def __call__(self, do: Callable[[Worker, *Asked], Answer], *arguments: *Asked) -> Answer:
        """Return what the method returns there, or raise the `InputError` that it met."""
        return self.wait(self.pool.submit(_run_here, do, *arguments))  # type: ignore[arg-type]

    def wait(self, answer: Future[Answer]) -> Answer:
        """Return the answer once it is there."""
        try:
            return answer.result()
        except BrokenProcessPool:
            raise RuntimeError(f"{self.name} ended before the race did; what it met stands above") from None


@contextmanager
def start_workers(params: Path, prepared: Path, runs: Mapping[str, tuple[str, str]]) -> Iterator[dict[str, Ask]]:
    """Yield how to ask the worker of each run, by its name with its backbone and plan; they end when this does.

    `training.cache_bytes` is shared among them.
    """
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        workers = [RemoteWorker(name, stack.enter_context(ProcessPoolExecutor(1, mp_context=context))) for name in runs]
        started = [
            worker.pool.submit(_start_here, params, prepared, *runs[worker.name], len(runs)) for worker in workers
        ]
        for worker, answer in zip(workers, started, strict=True):
            worker.wait(answer)
        yield {worker.name: worker for worker in workers}


_here: list[Worker] = []
"""In a worker's process: that worker."""


def _start_here(params: Path, prepared: Path, backbone: str, plan: str, workers: int) -> None:
    """Make this process the worker of the run. It ends with the race: when that is interrupted, or gone."""
    end_with_parent()
    _here.append(make_worker(params, prepared, backbone, plan, workers))


def _run_here(do: Callable[[Worker, *Asked], Answer], *arguments: *Asked) -> Answer:
    return do(_here[0], *arguments)


def make_worker(params: Path, prepared: Path, backbone: str, plan: str, workers: int) -> Worker:
    """Return the worker of the run, one of so many, in the process in which it trains."""
    keep_freed_memory()
    compute_deterministically(choose_device())
    job = make_job(load_params(params), read_prepared(prepared), backbone, plan)
    job = share_cores(job, build_frozen_backbone(job, plan))  # refuses what does not fit, before anything is trained
    torch.set_num_threads(job.threads)
    share = {"cache_bytes": job.training.cache_bytes // workers}
    return Worker(replace(job, training=job.training.model_copy(update=share)), plan)
