"""A race: successive halving over plans and rates, and the worker process that trains each entrant."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frostline.backbones.freezing import count_parameters
from frostline.backbones.precision import compute_deterministically
from frostline.constants import Rates
from frostline.errors import InputError
from frostline.hardware import choose_device, measure_peak_memory
from frostline.params import load_params
from frostline.training.checkpoints import remove_checkpoints
from frostline.training.grid import Feed, Job, make_feed, make_job, train_cell
from frostline.training.loop import Fit, find_best_epoch
from frostline.training.results import (
    Histories,
    Spent,
    build_frozen_backbone,
    count_flops,
    count_phases,
    summarize_phase,
    write_outcome,
)

CONFIDENCE = 0.9
"""How sure a plan must be seen to be no better, on one side, before it stops."""


@dataclass(frozen=True)
class Standing:
    """A plan in the race: what it has cost so far, and which validation images of each seed it names rightly.

    `hits` holds 1 or 0 for each seed and image, seed after seed; `groups` which images belong together.
    """

    name: str
    cost: float
    hits: NDArray[np.int64]


@dataclass(frozen=True)
class Stop:
    """Why a plan stops: by how much a cheaper one is better (share of images), and how little that may be at 90 %."""

    against: str
    difference: float
    least: float


def rungs(seeds: int) -> list[int]:
    """Return after how many seeds standings are compared: 1, 2, 4 and so on, the last being all of them."""
    return [count for count in (2**power for power in range(seeds.bit_length())) if count < seeds] + [seeds]


def better_half(losses: Mapping[Rates, float]) -> list[Rates]:
    """Return the half of the rates (rounded up) with the lower validation loss, in the order in which they came."""
    finite = {rates: loss if isfinite(loss) else inf for rates, loss in losses.items()}
    kept = sorted(finite, key=lambda rates: finite[rates])[: (len(finite) + 1) // 2]
    return [rates for rates in losses if rates in kept]


def find_stops(standings: Sequence[Standing], groups: NDArray[np.int64], margin: float) -> dict[str, Stop]:
    """Return which plans stop, and why; `groups` says of each entry of their hits which belong together.

    `margin` is a share of images. A plan stops only because of one that goes on itself.
    """
    leaders = {each.name for each in sorted(standings, key=lambda each: (-each.hits.mean(), each.cost))[:2]}
    stops: dict[str, Stop] = {}
    going_on: list[Standing] = []
    for each in sorted(standings, key=lambda each: each.cost):
        found = [not_worse(other, each, groups, margin) for other in going_on if other.cost < each.cost]
        reasons = [stop for stop in found if stop is not None]
        if reasons and each.name not in leaders:
            stops[each.name] = max(reasons, key=lambda stop: stop.least)
        else:
            going_on.append(each)
    return stops


def not_worse(cheaper: Standing, dearer: Standing, groups: NDArray[np.int64], margin: float) -> Stop | None:
    """Return how the cheaper plan stands to the dearer one, if it is shown to be not worse by more than the margin.

    Images are paired, and those of a group may be alike, so that groups are what is counted (a cluster-robust standard
    error); what other seeds would do is left to the rounds that are to come.
    """
    differences = (cheaper.hits - dearer.hits).astype(np.float64)
    mean = float(differences.mean())
    _, member = np.unique(groups, return_inverse=True)
    of_group = np.bincount(member, weights=differences - mean)
    count = len(of_group)
    error = float(np.sqrt((of_group**2).sum() * count / max(count - 1, 1))) / len(differences)
    least = mean - NormalDist().inv_cdf(CONFIDENCE) * error
    return Stop(cheaper.name, mean, least) if count > 1 and least > -margin else None


@dataclass(frozen=True)
class Lap:
    """What came of training a cell so far: its lowest validation loss, at which it named these images rightly."""

    val_loss: float
    hits: list[bool]
    epochs: int


def lap_of(fit: Fit, most: int | None = None) -> Lap:
    """Return what came of the fit, in its first so many epochs; what it names rightly is that of all of them."""
    history = fit.history[:most]
    return Lap(find_best_epoch(history).val_loss, fit.best_hits, len(history))


@dataclass
class Course:
    """A job of which any cell can be trained at any time, for some of its epochs or all; with a feed for each phase."""

    job: Job
    plan: str
    feeds: list[Feed] = field(default_factory=list)
    histories: list[Histories] = field(default_factory=list)
    audited: list[int] = field(default_factory=list)

    def train(self, rates: Rates, seed: int, most: int | None) -> Lap:
        """Train the cell to its end, or up to so many epochs in all, going on where it was.

        Where it was further on already, as after a race that was killed, its loss is that of so many epochs still.
        """
        for fit in self.fits(rates, seed):
            if most is not None and len(fit.history) >= most:
                break
        return lap_of(fit, most)

    def fits(self, rates: Rates, seed: int) -> Iterator[Fit]:
        """Train the cell, going on where it was; yield its fit as it stands, if it began, and after each epoch."""
        labels = torch.from_numpy(self.job.data.labels).to(self.job.device)
        for phase in range(1, len(self.job.phases) + 1):
            for fit in train_cell(self.job, self.feed(phase), labels, rates[:phase], seed):
                if fit.history:
                    self.histories[phase - 1][rates[:phase], seed] = fit.history
                    yield fit
            self.audited[phase - 1] = fit.audited or 0

    def introduce(self) -> dict[str, Any]:
        """Return what is known of it before it begins, by the names that an `Entrant` has for it."""
        phases = self.job.phases
        works = count_phases(self.job, build_frozen_backbone(self.job, self.plan))
        return {
            "rates": list(dict.fromkeys(rates for rates, _ in self.job.list_cells(len(phases)))),
            "epochs": sum(phase.epochs for phase in phases),
            "flops": sum(phase.epochs * work.train(0, 1) for phase, work in zip(phases, works, strict=True)),
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
        frozen = build_frozen_backbone(self.job, self.plan)
        trainable_parameters, _ = count_parameters(frozen)
        spent = [
            Spent(feed.phase, histories, feed.seconds, feed.cache.bytes)
            for feed, histories in zip(self.feeds, self.histories, strict=True)
        ]
        return {
            "trainable_parameters": trainable_parameters,
            "train_flops": count_flops(self.job, frozen, spent)["train_flops"],
            "train_seconds": sum(each.prefix_seconds + sum(each.seconds) for each in spent),
            "peak_memory_bytes": measure_peak_memory(),
        }

    def write(self, folder: Path, rates: Rates, seeds: list[int]) -> None:
        """Write the run into the folder, as these seeds were trained at these rates."""
        phases = [
            summarize_phase(feed, self.job, histories, audited)
            for feed, histories, audited in zip(self.feeds, self.histories, self.audited, strict=True)
        ]
        write_outcome(folder, self.job, self.plan, phases, rates, seeds)

    def leave(self) -> None:
        """Remove the checkpoints: nothing more is asked."""
        remove_checkpoints(self.job.scratch)


@dataclass(frozen=True)
class Entrant:
    """A run in the race, as those who lead it see it: `ask` has its `Course` do a thing by name, and returns what came.

    `epochs` are those of a fit at most, and `flops` what it then computes for each image, its prefix left out.
    """

    name: str
    rates: list[Rates]
    epochs: int
    flops: int
    ask: Callable[..., Any]


def introduced(name: str, ask: Callable[..., Any]) -> Entrant:
    """Return the entrant whose course is asked so, by what the course tells of itself."""
    return Entrant(name, **ask("introduce"), ask=ask)


@dataclass(frozen=True)
class Distant:
    """A course in a process of its own, and how to ask it."""

    name: str
    process: Any
    connection: Connection

    def ask(self, what: str, *arguments: object) -> Any:
        """Return what the course answers, or raise the `InputError` that it met."""
        self.connection.send((what, arguments))
        try:
            answer = self.connection.recv()
        except EOFError:
            raise RuntimeError(f"{self.name} ended before the race did; what it met stands above") from None
        if isinstance(answer, InputError):
            raise answer
        return answer


@contextmanager
def entered(params: Path, prepared: Path, runs: Mapping[str, tuple[str, str]]) -> Iterator[list[Entrant]]:
    """Yield an entrant for each run, by its name with its backbone and plan; they end when this does.

    `training.cache_bytes` is shared among them.
    """
    context = multiprocessing.get_context("spawn")
    distant = []
    try:
        for name, (backbone, plan) in runs.items():
            ours, theirs = context.Pipe()
            process = context.Process(
                target=serve, args=(theirs, params, prepared, backbone, plan, len(runs)), name=name, daemon=True
            )
            process.start()
            theirs.close()
            distant.append(Distant(name, process, ours))
        yield [introduced(each.name, each.ask) for each in distant]
    finally:
        for each in distant:
            each.connection.close()
            each.process.join()


def serve(connection: Connection, params: Path, prepared: Path, backbone: str, plan: str, entrants: int) -> None:
    """Do what the race asks of the run, until it asks no more."""
    try:
        course = enter(params, prepared, backbone, plan, entrants)
    except InputError as error:
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
        except InputError as error:
            connection.send(error)
        except KeyboardInterrupt:
            return


def enter(params: Path, prepared: Path, backbone: str, plan: str, entrants: int) -> Course:
    """Return the course of the run, in the process in which it is trained."""
    compute_deterministically(choose_device())
    job = make_job(load_params(params), prepared, backbone, plan)
    share = {"cache_bytes": job.training.cache_bytes // entrants}
    course = Course(replace(job, training=job.training.model_copy(update=share)), plan)
    build_frozen_backbone(course.job, plan)  # refuses what does not fit, before anything is trained
    return course
