"""Entrants: the runs of a race, each in a process of its own, which keeps its prefix's outputs and trains when told.

In a process of its own a run's peak of memory is its own, and it can wait without losing what it keeps.
"""

import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from stages.checkpoints import remove_checkpoints
from stages.freezing import count_parameters
from stages.grid import Feed, Job, make_feed, train_cell
from stages.jobs import make_job
from stages.memory import peak_memory_bytes
from stages.mistakes import Mistake
from stages.outcomes import Histories, Spent, count_flops, frozen_backbone, what_became, write_outcome
from stages.params import load_params
from stages.precision import compute_deterministically, usable_device
from stages.training import best_epoch
from stages.vocabulary import Rates


@dataclass(frozen=True)
class Lap:
    """What came of training a cell so far: its lowest validation loss, at which it named these images rightly."""

    val_loss: float
    hits: list[bool]
    epochs: int


@dataclass
class Course:
    """A job of which any cell can be trained at any time, for some of its epochs or all; with a feed for each phase."""

    job: Job
    plan: str
    feeds: list[Feed] = field(default_factory=list)
    histories: list[Histories] = field(default_factory=list)
    audited: list[int] = field(default_factory=list)

    def train(self, rates: Rates, seed: int, most: int | None) -> Lap:
        """Train the cell to its end, or up to so many epochs in all, going on where it was."""
        labels = torch.from_numpy(self.job.data.labels).to(self.job.device)
        for phase in range(1, len(self.job.phases) + 1):
            for fit in train_cell(self.job, self.feed(phase), labels, rates[:phase], seed):
                self.histories[phase - 1][rates[:phase], seed] = fit.history
                if most is not None and len(fit.history) >= most:
                    return Lap(best_epoch(fit.history).val_loss, fit.best_hits, len(fit.history))
            self.audited[phase - 1] = fit.audited or 0
        return Lap(best_epoch(fit.history).val_loss, fit.best_hits, len(fit.history))

    def introduce(self) -> dict[str, Any]:
        """Return the rates with which it enters, and the epochs of a fit at most."""
        cells = self.job.cells(len(self.job.phases))
        return {
            "rates": list(dict.fromkeys(rates for rates, _ in cells)),
            "epochs": sum(phase.epochs for phase in self.job.phases),
        }

    def feed(self, phase: int) -> Feed:
        """Return the feed of the phase, which is made when it is needed first."""
        if len(self.feeds) < phase:
            self.feeds.append(make_feed(self.job, phase))
            self.histories.append({})
            self.audited.append(0)
        return self.feeds[phase - 1]

    def costs(self) -> dict[str, float]:
        """Return what the run has cost so far, by the names that `advice.cost` may have."""
        frozen = frozen_backbone(self.job, self.plan)
        trainable_parameters, _ = count_parameters(frozen)
        spent = [
            Spent(feed.phase, histories, feed.seconds, feed.cache.bytes)
            for feed, histories in zip(self.feeds, self.histories, strict=True)
        ]
        return {
            "trainable_parameters": trainable_parameters,
            "train_flops": count_flops(self.job, frozen, spent)["train_flops"],
            "train_seconds": sum(each.prefix_seconds + sum(each.seconds) for each in spent),
            "peak_memory_bytes": peak_memory_bytes(),
        }

    def finish(self, folder: Path, rates: Rates, seeds: list[int]) -> None:
        """Write the run into the folder, as these seeds were trained at these rates."""
        phases = [
            what_became(feed, self.job, histories, audited)
            for feed, histories, audited in zip(self.feeds, self.histories, self.audited, strict=True)
        ]
        write_outcome(folder, self.job, self.plan, phases, rates, seeds)
        remove_checkpoints(self.job.scratch)


@dataclass(frozen=True)
class Entrant:
    """A run in the race, as those who lead it see it: it does in its own process what a `Course` can do."""

    name: str
    rates: list[Rates]
    epochs: int
    process: Any
    connection: Connection

    def ask(self, what: str, *arguments: object) -> Any:
        """Return what the run's course answers, or raise the `Mistake` that it met."""
        self.connection.send((what, arguments))
        try:
            answer = self.connection.recv()
        except EOFError:
            raise RuntimeError(f"{self.name} ended before the race did; what it met stands above") from None
        if isinstance(answer, Mistake):
            raise answer
        return answer


@contextmanager
def entered(params: Path, prepared: Path, runs: Mapping[str, tuple[str, str]]) -> Iterator[list[Entrant]]:
    """Yield an entrant for each run, by its name with its backbone and plan; they end when this does.

    `training.cache_bytes` is shared among them.
    """
    context = multiprocessing.get_context("spawn")
    entrants = []
    try:
        for name, (backbone, plan) in runs.items():
            ours, theirs = context.Pipe()
            process = context.Process(
                target=serve, args=(theirs, params, prepared, backbone, plan, len(runs)), name=name, daemon=True
            )
            process.start()
            theirs.close()
            entrants.append(Entrant(name, [], 0, process, ours))
        yield [replace(each, **each.ask("introduce")) for each in entrants]
    finally:
        for each in entrants:
            each.connection.close()
            each.process.join()


def serve(connection: Connection, params: Path, prepared: Path, backbone: str, plan: str, entrants: int) -> None:
    """Do what the race asks of the run, until it asks no more."""
    try:
        course = enter(params, prepared, backbone, plan, entrants)
    except Mistake as error:
        connection.recv()
        connection.send(error)
        return
    while True:
        try:
            what, arguments = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            connection.send(getattr(course, what)(*arguments))
        except Mistake as error:
            connection.send(error)
        except KeyboardInterrupt:
            return


def enter(params: Path, prepared: Path, backbone: str, plan: str, entrants: int) -> Course:
    """Return the course of the run, in the process in which it is trained."""
    compute_deterministically(usable_device())
    job = make_job(load_params(params), prepared, backbone, plan)
    share = {"cache_bytes": job.training.cache_bytes // entrants}
    course = Course(replace(job, training=job.training.model_copy(update=share)), plan)
    frozen_backbone(course.job, plan)  # refuses what does not fit, before anything is trained
    return course
