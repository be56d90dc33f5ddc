"""Fitting: the plan trained once more, on all images, for as many epochs as were best where some were held back."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import nan
from pathlib import Path
from statistics import median_low

import numpy as np
import pandas as pd
import torch
from torch import nn

from frostline.backbones.adapters import merge_adapters
from frostline.backbones.audit import audit, digest_frozen
from frostline.backbones.runs import Run
from frostline.constants import LEFT_OUT, Rates
from frostline.data.images import Prepared, take_share
from frostline.distributed.processes import open_team
from frostline.distributed.team import Team
from frostline.params.schema import Params, Plan
from frostline.training.checkpoints import fingerprint, hold, restore_fit, save_fit, take_over
from frostline.training.grid import Feed, build_frozen, hand_over, load_suffix, make_feed, start_fresh_fit
from frostline.training.job import Job, locate_checkpoint, make_job
from frostline.training.loop import Batches, Epoch, Fit, train_one_epoch, weigh_classes
from frostline.training.results import flatten_rates
from frostline.training.workers import compute_in, make_own_feed, settle_on, share_devices

REPLICATE = 0
"""Its new head and its order of images are drawn as the study's first replicate draws them."""


@dataclass(frozen=True)
class Course:
    """What the study found best for the plan: learning rates, epochs of each phase, and the losses that went with them.

    `epochs` are those of the replicate in the middle, whose validation losses are `losses`: by them a plateau schedule
    lets the rate fall where it fell there.
    """

    rates: Rates
    epochs: list[int]
    losses: list[float]


@dataclass(frozen=True)
class Fitted:
    """The backbone as it was trained on all images, in eval mode, and how many images, tensors and seconds it took."""

    backbone: nn.Sequential
    course: Course
    images: int
    audited: int
    seconds: float
    precision: str


def read_course(run: Run, history: pd.DataFrame, plan: Plan, phases: int) -> Course:
    """Return the course of a run from its history, a row for each learning rate, replicate and epoch.

    The best epoch is the median over replicates, the lower one of two; a phase before it is as long as it was for the
    median replicate.
    """
    chosen = history[history.learning_rate.astype(str) == str(run.learning_rate)]
    best = {int(name): int(its["best_epoch"]) for name, its in run.replicates.items()}
    middle = median_low(best.values())
    replicate = min(name for name, epoch in best.items() if epoch == middle)
    its = chosen[chosen.replicate == replicate].sort_values("epoch")
    its = its[its.epoch <= middle]
    epochs = [int((its.phase == phase).sum()) for phase in range(1, phases + 1)]
    return Course(find_rates(run, plan), epochs, [float(loss) for loss in its.val_loss])


def find_rates(run: Run, plan: Plan) -> Rates:
    """Return the learning rate of each phase, as exactly as the plan says them."""
    asked = product(*(phase.learning_rates for phase in plan.list_phases(1)))
    return next(rates for rates in asked if flatten_rates(rates) == run.learning_rate)


def make_job_of_all(settings: Params, data: Prepared, run: Run) -> Job:
    """Return the run's job with one replicate, which trains on every image that the study has and holds none back."""
    job, data = make_job(settings, data, run.backbone, run.plan), hold_nothing_back(data)
    if job.plan.train_percent is not None:
        data = take_share(data, job.plan.train_percent)
    return share_devices(replace(job, data=data, replicates=[REPLICATE], logs=None))


def hold_nothing_back(data: Prepared) -> Prepared:
    """Return the same images in one replicate that trains on all of them but the duplicates that the study left out."""
    rows = np.sort(data.splits.image.unique())
    used = data.splits[data.splits.split != LEFT_OUT].image.unique()
    split = np.where(np.isin(rows, used), "train", LEFT_OUT)
    return replace(data, splits=pd.DataFrame({"replicate": REPLICATE, "image": rows, "split": split}))


def fit_on_all(job: Job, course: Course) -> Fitted:
    """Return the backbone trained on all images of the job, audited; a fit that was killed goes on where it was."""
    began, audited = time.perf_counter(), 0
    phases = range(1, 1 + sum(epochs > 0 for epochs in course.epochs))
    places = [locate(job, course, phase) for phase in phases]
    backbone = build_frozen(job, REPLICATE, phases[-1])
    for phase, place in zip(phases, places, strict=True):
        with hold(place):
            suffix, audited = fit_phase(job, course, phase, places)
        if phase == phases[-1]:
            backbone.load_state_dict(backbone.state_dict() | suffix.state_dict())
    for place in places:
        for each in (place, place.with_suffix(".lock")):
            each.unlink(missing_ok=True)
    images = len(job.data.list_rows("train", [REPLICATE]))
    seconds = time.perf_counter() - began
    return Fitted(merge_adapters(backbone.eval()), course, images, audited, seconds, job.precision)


def locate(job: Job, course: Course, phase: int) -> Path:
    """Return where the state of the phase is kept, by all that it follows from."""
    after = locate_checkpoint(job, course.rates[:phase], REPLICATE).stem
    return job.scratch / f"{fingerprint('finish', after, course.epochs[:phase], course.losses)}.pt"


def fit_phase(job: Job, course: Course, phase: int, places: Sequence[Path]) -> tuple[nn.Sequential, int]:
    """Train the phase; return what is trained in it, and how many frozen tensors the audit found as they were."""
    feed, size = make_feed(job, phase), job.training.devices_per_fit
    given = job, hand_over(feed) if size > 1 else None, feed.pretrained, course, phase, places
    with compute_in(job.threads), open_team(size, job.device.type, _follow, *given) as team:
        return train_phase(job, feed, course, phase, places, team)


def _follow(
    team: Team,
    device: torch.device,
    job: Job,
    feed: Feed | None,
    pretrained: dict[str, str],
    course: Course,
    phase: int,
    places: Sequence[Path],
) -> None:
    job = settle_on(device, job)
    train_phase(job, feed or make_own_feed(job, phase, pretrained), course, phase, places, team)


def train_phase(
    job: Job, feed: Feed, course: Course, phase: int, places: Sequence[Path], team: Team
) -> tuple[nn.Sequential, int]:
    """Train the phase as each process of the team does; return what `fit_phase` does."""
    suffix = load_suffix(job, feed, REPLICATE)
    fit = start_fresh_fit(job, feed, suffix, course.rates[phase - 1], REPLICATE)
    fit.team = team
    if phase > 1:
        take_over(places[phase - 2], fit)
    before = digest_frozen(suffix)
    restore_fit(places[phase - 1], fit)
    labels = torch.from_numpy(job.data.labels).to(job.device)
    rows = job.data.list_rows("train", [REPLICATE])
    balanced = job.training.class_weights == "balanced"
    weights = weigh_classes(labels[torch.from_numpy(rows)], len(job.data.classes)) if balanced else None
    batches = Batches(feed.cache.inputs, labels, rows, rows[:0], weights)
    while len(fit.of_phase) < course.epochs[phase - 1]:
        train_epoch(job, course, fit, batches)
        save_fit(places[phase - 1], fit)
    audit(feed.prefix, feed.before)
    return suffix, len(feed.pretrained.keys() - before.keys()) + audit(suffix, before, fit.optimizer)


def train_epoch(job: Job, course: Course, fit: Fit, batches: Batches) -> None:
    """Train one epoch, on a schedule as long as the study's, of which the last epochs are left out."""
    number, began = len(fit.history) + 1, time.perf_counter()
    taught = train_one_epoch(fit, batches, job.select_training(fit.phase), job.precision, number)
    seconds, loss = time.perf_counter() - began, course.losses[number - 1]
    told = Epoch(number, fit.phase, taught.rates, taught.loss, taught.accuracy, loss, nan, seconds)
    fit.history.append(told)
    if fit.team.is_first:
        print(f"finish: epoch {number} of {sum(course.epochs)}, training loss {taught.loss:.3f}", flush=True)
