"""The grid of a run: one fit for every learning rate and seed, all fed by one prefix."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stages.activations import saved_activation_bytes
from stages.audit import audit, check_batch_mates, check_loaded, frozen_digests
from stages.augmentation import augmenter
from stages.backbones import build_backbone
from stages.cache import Cache, cached_inputs
from stages.checkpoints import restore_fit, save_fit
from stages.folding import as_run
from stages.freezing import apply_plan, cut_at_boundary
from stages.inputs import SMALLEST_PREFIX_BATCH, Inputs, live_inputs, prefixed_inputs
from stages.optimizers import state_bytes
from stages.params import Plan, Training
from stages.precision import autocast
from stages.prepared import Prepared, Rows
from stages.runs import pretrained_digests
from stages.training import Fit, Lessons, epochs, start_fit, take_step


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
        return list(product(self.plan.as_phases(1)[0].learning_rates, self.seeds))


@dataclass(frozen=True)
class Feed:
    """What every fit is fed, the prefix that makes it, and the seconds that this took so far.

    `prefix` is as it runs, folded in bfloat16, with the digests of its tensors `before` it ran. Of what was loaded the
    digests alone are kept: `pretrained` has every tensor that no fit learns, the suffix's frozen ones too.
    """

    cache: Cache
    prefix: nn.Sequential
    before: dict[str, str]
    pretrained: dict[str, str]
    seconds: float


def build_frozen(job: Job, seed: int) -> nn.Sequential:
    """Return the backbone, frozen by the plan. All plans with pretrained weights get the seed's same new head."""
    torch.manual_seed(seed)
    backbone = build_backbone(job.backbone, job.plan.weights, len(job.data.classes))
    apply_plan(backbone, job.plan)
    return backbone.to(job.device).to(memory_format=torch.channels_last)


def build_parts(job: Job, seed: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return prefix and suffix, frozen by the plan."""
    return cut_at_boundary(build_frozen(job, seed))


def load_prefix(job: Job) -> tuple[nn.Sequential, dict[str, str]]:
    """Return the prefix as it runs, and the digests of all that is frozen as it was loaded.

    What was loaded is given back to memory, but for the tensors that run as they are.
    """
    backbone = build_frozen(job, job.seeds[0])
    prefix, _ = cut_at_boundary(backbone)
    return as_run(prefix, job.precision), pretrained_digests(backbone)


def make_feed(job: Job) -> Feed:
    """Return the inputs of the job's suffix: scaled pixels, or what the prefix makes of them, cached where it pays."""
    began = time.perf_counter()
    training, device = job.training, job.device
    augmented = augmenter(job.data.ids, training.augmentation, training.augmentation_seed)
    live = live_inputs(job.data.images, job.backbone, device, augmented)
    prefix, pretrained = load_prefix(job)
    if not len(prefix):
        return Feed(Cache(live, "no prefix", 0), prefix, {}, pretrained, 0.0)
    before = frozen_digests(prefix)
    prefixed = prefixed_inputs(prefix, live, job.data.images.shape[1], job.precision, device)
    audit_prefix(job, prefix, live)
    wanted = wanted_rows(job)
    budget = training.cache_bytes if would_pay(job, wanted) else 0
    cache = cached_inputs(prefixed, wanted, budget, job.scratch, device)
    return Feed(cache, prefix, before, pretrained, time.perf_counter() - began)


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

    At the end the audit checks that all that is frozen stood still: the suffix's own, and the prefix that fed it. That
    both are what was loaded at first, it has checked before.
    """
    suffix = load_suffix(job, feed, seed)
    fit = start_fit(suffix, learning_rate, job.training.weight_decay, seed)
    before = frozen_digests(suffix)
    checkpoint = checkpoint_path(job, learning_rate, seed)
    restore_fit(checkpoint, fit)
    yield fit
    train, validation = job.data.rows("train", [seed]), job.data.rows("validation", [seed])
    for _ in epochs(fit, Lessons(feed.cache.inputs, labels, train, validation), job.training, job.precision):
        save_fit(checkpoint, fit)
        yield fit
    audit(feed.prefix, feed.before)
    fit.audited = len(feed.pretrained.keys() - before.keys()) + audit(suffix, before, fit.optimizer)


def load_suffix(job: Job, feed: Feed, seed: int) -> nn.Sequential:
    """Return the seed's suffix, once the audit has found all that is frozen loaded as it was for the feed."""
    backbone = build_frozen(job, seed)
    check_loaded(feed.pretrained, pretrained_digests(backbone))
    _, suffix = cut_at_boundary(backbone)
    return suffix


def measure_step(job: Job, feed: Feed) -> tuple[int, int]:
    """Return the bytes that a training step saves of each image for backward, and those of the optimizer's state.

    The steps are real ones, of a suffix that nobody trains on.
    """
    fit = start_fit(
        load_suffix(job, feed, job.seeds[0]).train(),
        job.plan.as_phases(1)[0].learning_rates[0],
        job.training.weight_decay,
        job.seeds[0],
    )
    rows = job.data.rows("train", job.seeds[:1])

    def step(images: int) -> None:
        shown = np.resize(rows, images)
        (batch,) = feed.cache.inputs([shown], 0)
        labels = torch.from_numpy(job.data.labels[shown]).to(job.device)
        take_step(fit, batch.clone(), labels, job.precision)  # a clone, as it may be a part of a larger batch's memory

    return saved_activation_bytes(step), state_bytes(fit.optimizer)


def checkpoint_path(job: Job, learning_rate: float, seed: int) -> Path:
    """Return where the cell's state is kept while the run goes on."""
    return job.scratch / f"learning-rate-{learning_rate!r}-seed-{seed}.pt"
