"""The grid of a run: one fit for every learning rate and seed, all fed by one prefix."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stages.audit import audit, check_batch_mates, frozen_digests
from stages.backbones import build_backbone
from stages.cache import Cache, cached_inputs
from stages.checkpoints import restore_fit, save_fit
from stages.folding import as_run
from stages.freezing import apply_plan, cut_at_boundary
from stages.inputs import SMALLEST_PREFIX_BATCH, Inputs, live_inputs, prefixed_inputs
from stages.params import Plan, Training
from stages.precision import autocast
from stages.prepared import Prepared, Rows
from stages.training import Fit, Lessons, epochs, start_fit


@dataclass(frozen=True)
class Job:
    """What a run is asked to do, and the images to do it with."""

    data: Prepared
    backbone: str
    plan: Plan
    training: Training
    seeds: list[int]
    precision: str
    device: torch.device
    scratch: Path

    @property
    def cells(self) -> list[tuple[float, int]]:
        """Every (learning rate, seed)."""
        return list(product(self.plan.learning_rates, self.seeds))


@dataclass(frozen=True)
class Feed:
    """What every fit is fed, the prefix that it comes from, and the seconds that this took so far.

    `running` is the prefix as it runs, folded in bfloat16, and `before` the digests of its tensors before it ran.
    """

    cache: Cache
    prefix: nn.Sequential
    running: nn.Sequential
    before: dict[str, str]
    seconds: float


def build_parts(job: Job, seed: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return prefix and suffix, frozen by the plan. All plans with pretrained weights get the seed's same new head."""
    torch.manual_seed(seed)
    backbone = build_backbone(job.backbone, job.plan.weights, len(job.data.classes))
    apply_plan(backbone, job.plan)
    backbone.to(job.device).to(memory_format=torch.channels_last)
    return cut_at_boundary(backbone)


def make_feed(job: Job) -> Feed:
    """Return the inputs of the job's suffix: scaled pixels, or what the prefix makes of them, cached where it pays."""
    began = time.perf_counter()
    training, device = job.training, job.device
    live = live_inputs(job.data.images, job.backbone, training.flips, training.augmentation_seed, device)
    prefix, _ = build_parts(job, job.seeds[0])
    if not len(prefix):
        return Feed(Cache(live, "no prefix", 0), prefix, prefix, {}, 0.0)
    running = as_run(prefix, job.precision)
    before = frozen_digests(running)
    prefixed = prefixed_inputs(running, live, job.data.images.shape[1], job.precision, device)
    audit_prefix(job, running, live)
    wanted = wanted_rows(job)
    budget = training.cache_bytes if would_pay(job, wanted) else 0
    cache = cached_inputs(prefixed, wanted, budget, job.scratch, device)
    return Feed(cache, prefix, running, before, time.perf_counter() - began)


def audit_prefix(job: Job, prefix: nn.Sequential, live: Inputs) -> None:
    """Let the audit check on real images that the prefix's output for one does not depend on those beside it."""
    rows = job.data.rows("train", job.seeds[:1])
    (images,) = live([np.resize(rows, SMALLEST_PREFIX_BATCH)], None)
    with autocast(job.precision, job.device):
        check_batch_mates(prefix, images)


def wanted_rows(job: Job) -> dict[int | None, Rows]:
    """Return the rows that the fits will ask for in each view: training's in all of them, validation's as they are."""
    train = job.data.rows("train", job.seeds)
    views = range(min(job.training.views, job.training.epochs))
    return {None: job.data.rows("validation", job.seeds), **dict.fromkeys(views, train)}


def would_pay(job: Job, wanted: Mapping[int | None, Rows]) -> bool:
    """Return whether the fits may ask for more outputs, over all their epochs, than a cache has to compute."""
    asked = sum(len(job.data.rows(split, [seed])) for split in ("train", "validation") for _, seed in job.cells)
    return asked * job.training.epochs > sum(len(rows) for rows in wanted.values())


def train_cell(job: Job, feed: Feed, labels: Tensor, learning_rate: float, seed: int) -> Iterator[Fit]:
    """Train one cell of the grid: yield its fit as it stands, then after each new epoch, once that is saved.

    At the end the audit checks all that is frozen: the suffix's own, and the prefix that fed it, which must be what a
    prefix is that was loaded just now.
    """
    loaded, suffix = build_parts(job, seed)
    fit = start_fit(suffix, learning_rate, job.training.weight_decay, seed)
    prefix_before, suffix_before = frozen_digests(loaded), frozen_digests(suffix)
    del loaded
    checkpoint = checkpoint_path(job, learning_rate, seed)
    restore_fit(checkpoint, fit)
    yield fit
    train, validation = job.data.rows("train", [seed]), job.data.rows("validation", [seed])
    for _ in epochs(fit, Lessons(feed.cache.inputs, labels, train, validation), job.training, job.precision):
        save_fit(checkpoint, fit)
        yield fit
    audit(feed.running, feed.before)
    fit.audited = audit(feed.prefix, prefix_before) + audit(suffix, suffix_before, fit.optimizer)


def checkpoint_path(job: Job, learning_rate: float, seed: int) -> Path:
    """Return where the cell's state is kept while the run goes on."""
    return job.scratch / f"learning-rate-{learning_rate!r}-seed-{seed}.pt"
