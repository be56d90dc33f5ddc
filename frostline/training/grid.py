"""The grid of a run: in each phase a fit for learning rates and replicates, all fed by one prefix."""

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frostline.backbones.adapters import build_for_plan
from frostline.backbones.audit import audit, check_batch_mates, check_loaded, digest_frozen
from frostline.backbones.folding import prepare_prefix
from frostline.backbones.freezing import apply_plan, cut_at_boundary, find_boundary
from frostline.backbones.inference import (
    SMALLEST_PREFIX_BATCH,
    Images,
    Inputs,
    LiveInputs,
    PrefixedInputs,
)
from frostline.backbones.precision import autocast
from frostline.backbones.runs import digest_pretrained
from frostline.constants import Rates
from frostline.data.augmentation import Augmenter
from frostline.data.images import Rows
from frostline.distributed.team import ALONE, Team
from frostline.hardware import measure_peak_memory
from frostline.networks.segments import map_features
from frostline.training.checkpoints import (
    Trained,
    hold,
    keep_best,
    read_trained,
    restore_fit,
    save_fit,
    take_over,
    write_trained,
)
from frostline.training.costs import measure_saved_bytes
from frostline.training.job import Job, locate_checkpoint, name_cell
from frostline.training.loop import Batches, Fit, open_board, start_fit, take_step, train_epochs, weigh_classes
from frostline.training.optimizer import count_state_bytes
from frostline.training.prefix_cache import Cache, StoredInputs, cache_inputs


@dataclass(frozen=True)
class Feed:
    """What every fit of a phase is fed, the prefix that makes it, and the seconds that this took so far.

    `prefix` is as it runs, folded, with the digests of its tensors `before` it ran. Of what was loaded the
    digests alone are kept: `pretrained` has every tensor that no fit learned up to this phase, the suffix's too.
    It feeds the fits of these `replicates`.
    """

    phase: int
    cache: Cache
    prefix: nn.Sequential
    before: dict[str, str]
    pretrained: dict[str, str]
    seconds: float
    replicates: list[int]


def build_frozen(job: Job, replicate: int, phase: int) -> nn.Sequential:
    """Return the backbone as it is loaded, frozen but for what learns in any phase up to this one.

    All plans with pretrained weights get the replicate's same new head.
    """
    torch.manual_seed(replicate)
    plan = job.plan.model_copy(update={"phases": job.phases[:phase]})
    backbone = build_for_plan(job.backbone, plan.weights, len(job.data.classes), job.image_px, plan)
    apply_plan(backbone, plan)
    return backbone.to(job.device).to(memory_format=torch.channels_last)


def cut_for_phase(job: Job, backbone: nn.Sequential, phase: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return prefix and suffix of a backbone from `build_frozen`, of which now only what learns in the phase does.

    Nothing in the prefix has ever learned, so that it is the same for all replicates and rates; what learned before and
    is frozen now stays in the suffix.
    """
    at = find_boundary(backbone)
    apply_plan(backbone, job.phases[phase - 1])
    return cut_at_boundary(backbone, job.image_px, at)


def build_parts(job: Job, replicate: int, phase: int = 1) -> tuple[nn.Sequential, nn.Sequential]:
    """Return prefix and suffix as they are loaded, frozen for the phase."""
    return cut_for_phase(job, build_frozen(job, replicate, phase), phase)


def load_prefix(job: Job, phase: int) -> tuple[nn.Sequential, dict[str, str]]:
    """Return the prefix as it runs, and the digests of all that never learned, as it was loaded.

    What was loaded is given back to memory, but for the tensors that run as they are.
    """
    backbone = build_frozen(job, job.replicates[0], phase)
    pretrained = digest_pretrained(backbone)
    prefix, _ = cut_for_phase(job, backbone, phase)
    return prepare_prefix(prefix, job.precision, job.image_px), pretrained


def make_feed(job: Job, phase: int = 1, replicates: list[int] | None = None) -> Feed:
    """Return the inputs of the phase's suffix: scaled pixels, or what its prefix makes of them, kept where it pays.

    They are kept for these replicates, of none of which nothing is kept, and else for all.
    """
    began, served = time.perf_counter(), job.replicates if replicates is None else replicates
    training, device = job.training, job.device
    augmented = Augmenter.of(job.data.ids, training.augmentation, training.augmentation_seed)
    live = LiveInputs(Images.hold(job.data.images, device), job.backbone, augmented)
    prefix, pretrained = load_prefix(job, phase)
    if not len(prefix):
        return Feed(phase, Cache(live, "no prefix", 0), prefix, {}, pretrained, 0.0, served)
    before = digest_frozen(prefix)
    prefixed = PrefixedInputs(prefix, live, job.image_px, job.precision, device)
    audit_prefix(job, prefix, live)
    if not served:
        return Feed(phase, Cache(prefixed, "off", 0), prefix, before, pretrained, time.perf_counter() - began, served)
    wanted = list_wanted_rows(job, phase, served)
    budget = training.cache_bytes // len(job.phases) if would_pay(job, wanted, phase, served) else 0
    cache = cache_inputs(prefixed, wanted, budget, job.scratch, device)
    return Feed(phase, cache, prefix, before, pretrained, time.perf_counter() - began, served)


def hand_over(feed: Feed) -> Feed | None:
    """Return the feed for another process, to which go the names and places of its tensors; None if it makes its own.

    Of a prefix whose outputs are kept nobody there has need.
    """
    inputs = feed.cache.inputs
    is_kept = isinstance(inputs, StoredInputs) and inputs.store.file is not None
    return replace(feed, prefix=nn.Sequential(), before={}) if is_kept else None


def audit_prefix(job: Job, prefix: nn.Sequential, live: Inputs) -> None:
    """Let the audit check on real images that the prefix's output for one does not depend on those beside it."""
    rows = job.data.list_rows("train", job.replicates[:1])
    images: Any
    (images,) = live([np.resize(rows, SMALLEST_PREFIX_BATCH)], None)
    with autocast(job.precision, job.device):
        check_batch_mates(prefix, images)


def list_wanted_rows(job: Job, phase: int, replicates: list[int]) -> dict[int | None, Rows]:
    """Return the rows that the fits may ask for in each view: training's in all of them, validation's as they are.

    Epochs are counted through all phases, each of which has one at least.
    """
    train = job.data.list_rows("train", replicates)
    epochs = range(phase, 1 + sum(before.epochs for before in job.phases[:phase]))
    views = sorted({(epoch - 1) % job.training.views for epoch in epochs})
    validation = job.data.list_rows("validation", replicates)
    return ({None: validation} if len(validation) else {}) | dict.fromkeys(views, train)


def would_pay(job: Job, wanted: Mapping[int | None, Rows], phase: int, replicates: list[int]) -> bool:
    """Return whether the fits may ask for more outputs, over all their epochs, than a cache has to compute."""
    asked = sum(
        len(job.data.list_rows(split, [replicate])) * job.count_fits(phase, replicate)
        for split in ("train", "validation")
        for replicate in replicates
    )
    return asked * job.phases[phase - 1].epochs > sum(len(rows) for rows in wanted.values())


def train_cell(job: Job, feed: Feed, labels: Tensor, rates: Rates, replicate: int, team: Team = ALONE) -> Iterator[Fit]:
    """Train one cell of the feed's phase: yield its fit as it stands, then after each new epoch, once that is saved.

    It goes on from where the phase before ended with the same rates and replicate, or from where it was itself. Another
    process that trains the same fit is waited for.
    At the end the audit checks that all that is frozen stood still: the suffix's own, and the prefix that fed it. That
    both are what was loaded at first, it has checked before.
    Each process of a team does this; the first alone saves it, and writes its board.
    """
    checkpoint = locate_checkpoint(job, rates, replicate)
    with hold(checkpoint) if team.is_first else nullcontext():
        team.wait()  # until the first holds it
        suffix = load_suffix(job, feed, replicate)
        fit = start_fresh_fit(job, feed, suffix, rates[-1], replicate)
        fit.team = team
        if rates[:-1]:
            take_over(locate_checkpoint(job, rates[:-1], replicate), fit)
        before = digest_frozen(suffix)
        restore_fit(checkpoint, fit)
        yield fit
        train, validation = (job.data.list_rows(split, [replicate]) for split in ("train", "validation"))
        weights = None
        if job.training.class_weights == "balanced":
            weights = weigh_classes(labels[torch.from_numpy(train)], len(job.data.classes))
        batches = Batches(feed.cache.inputs, labels, train, validation, weights)
        logs = job.logs / name_cell(rates, replicate) if job.logs and team.is_first else None
        with open_board(logs, fit.history, job.log_every) as log:
            for epoch in train_epochs(fit, batches, job.select_training(feed.phase), job.precision):
                save_fit(checkpoint, fit)
                log(epoch, fit.batch_losses)
                yield fit
        audit(feed.prefix, feed.before)
        fit.audited = len(feed.pretrained.keys() - before.keys()) + audit(suffix, before, fit.optimizer)
        if team.is_first:
            note_end(job, feed, fit, rates)


def note_end(job: Job, feed: Feed, fit: Fit, rates: Rates) -> None:
    """Write that the fit has ended, once and for all, and of one that no phase goes on from only the best."""
    checkpoint = locate_checkpoint(job, rates, fit.replicate)
    if read_trained(checkpoint) is not None:
        return
    if feed.phase == len(job.phases):
        keep_best(checkpoint, fit)
    fits = sum(job.count_fits(feed.phase, replicate) for replicate in feed.replicates)
    took = feed.seconds / fits, feed.cache.place, feed.cache.bytes
    audited, peak = fit.audited or 0, measure_peak_memory()
    write_trained(checkpoint, Trained(rates, fit.replicate, fit.history, audited, peak, *took))


def load_suffix(job: Job, feed: Feed, replicate: int) -> nn.Sequential:
    """Return the replicate's suffix, once the audit has found all that never learned loaded as it was for the feed."""
    backbone = build_frozen(job, replicate, feed.phase)
    check_loaded(feed.pretrained, digest_pretrained(backbone))
    _, suffix = cut_for_phase(job, backbone, feed.phase)
    return suffix


def start_fresh_fit(job: Job, feed: Feed, suffix: nn.Sequential, learning_rate: float, replicate: int) -> Fit:
    """Return a fit of the feed's phase that has learned nothing."""
    layer_decay = job.phases[feed.phase - 1].layer_decay
    return start_fit(suffix, learning_rate, job.training.weight_decay, replicate, layer_decay, feed.phase)


def measure_step(job: Job, feed: Feed) -> tuple[int, int]:
    """Return the bytes that a training step saves of each image for backward, and those of the optimizer's state.

    The steps are real ones, of a suffix that nobody trains on.
    """
    replicate = (feed.replicates or job.replicates)[0]
    learning_rate = job.phases[feed.phase - 1].learning_rates[0]
    fit = start_fresh_fit(job, feed, load_suffix(job, feed, replicate).train(), learning_rate, replicate)
    rows = job.data.list_rows("train", [replicate])
    view = (feed.phase - 1) % job.training.views

    def step(images: int) -> None:
        shown = np.resize(rows, images)
        (batch,) = feed.cache.inputs([shown], view)
        labels = torch.from_numpy(job.data.labels[shown]).to(job.device)
        take_step(
            fit, map_features(Tensor.clone, batch), labels, job.precision
        )  # a clone, as it may be a part of a larger batch's memory

    return measure_saved_bytes(step), count_state_bytes(fit.optimizer)
