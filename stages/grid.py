"""The grid of a run: one fit for every learning rate and seed, all fed by one prefix."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.audit import check_frozen, frozen_digests
from stages.backbones import build_backbone
from stages.checkpoints import restore_fit, save_fit
from stages.freezing import apply_plan, cut_at_boundary
from stages.inputs import Inputs, cached_inputs, live_inputs
from stages.params import Plan, Training
from stages.prepared import Prepared
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
    """What every fit is fed, and what it cost to make: the prefix's seconds and the bytes of its outputs."""

    inputs: Inputs
    prefix: nn.Sequential
    seconds: float
    cache_bytes: int


def build_parts(job: Job, seed: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return prefix and suffix, frozen by the plan. All plans with pretrained weights get the seed's same new head."""
    torch.manual_seed(seed)
    backbone = build_backbone(job.backbone, job.plan.weights, len(job.data.classes))
    apply_plan(backbone, job.plan.learned)
    backbone.to(job.device).to(memory_format=torch.channels_last)
    return cut_at_boundary(backbone, job.plan.learned)


def make_feed(job: Job) -> Feed:
    """Return the inputs of the job's suffix: the prefix's outputs, or scaled pixels where nothing is frozen before."""
    began = time.perf_counter()
    training = job.training
    live = live_inputs(job.data.images, job.backbone, training.flips, training.augmentation_seed, job.device)
    prefix, _ = build_parts(job, job.seeds[0])
    if not len(prefix):
        return Feed(live, prefix, 0.0, 0)
    wanted = {view: job.data.rows("train", job.seeds) for view in range(min(training.views, training.epochs))}
    plain = {None: job.data.rows("validation", job.seeds)}
    inputs, cache_bytes = cached_inputs(prefix, live, plain | wanted, job.precision, job.device)
    return Feed(inputs, prefix, time.perf_counter() - began, cache_bytes)


def train_cell(job: Job, feed: Feed, labels: Tensor, learning_rate: float, seed: int) -> Iterator[Fit]:
    """Train one cell of the grid: yield its fit as it stands, then after each new epoch, once that is saved.

    At the end the audit checks that nothing frozen has moved: the suffix's own, and the prefix that fed it, which must
    be what a prefix is that was loaded just now.
    """
    loaded, suffix = build_parts(job, seed)
    fit = start_fit(suffix, learning_rate, job.training.weight_decay, seed)
    before = frozen_digests(loaded) | frozen_digests(suffix)
    checkpoint = checkpoint_path(job, learning_rate, seed)
    restore_fit(checkpoint, fit)
    yield fit
    train, validation = job.data.rows("train", [seed]), job.data.rows("validation", [seed])
    for _ in epochs(fit, Lessons(feed.inputs, labels, train, validation), job.training, job.precision):
        save_fit(checkpoint, fit)
        yield fit
    check_frozen(feed.prefix, before)
    check_frozen(suffix, before)


def checkpoint_path(job: Job, learning_rate: float, seed: int) -> Path:
    """Return where the cell's state is kept while the run goes on."""
    return job.scratch / f"learning-rate-{learning_rate!r}-seed-{seed}.pt"
