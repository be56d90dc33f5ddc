"""The grid of a run: in each phase one fit for every learning rate and seed, all fed by one prefix."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from frostline.backbones.audit import audit, check_batch_mates, check_loaded, digest_frozen
from frostline.backbones.freezing import apply_plan, cut_at_boundary, find_boundary
from frostline.backbones.inference import (
    SMALLEST_PREFIX_BATCH,
    Images,
    Inputs,
    LiveInputs,
    PrefixedInputs,
    prepare_prefix,
)
from frostline.backbones.precision import autocast
from frostline.backbones.registry import build_backbone
from frostline.backbones.runs import digest_pretrained
from frostline.constants import Rates, name_run
from frostline.data.augmentation import Augmenter
from frostline.data.images import Prepared, Rows, read_prepared, take_share
from frostline.errors import InputError, join_names
from frostline.files import hash_file, locate_logs
from frostline.hardware import choose_device, resolve_precision
from frostline.params import Params, Phase, Plan, Training
from frostline.training.checkpoints import locate_checkpoints, restore_fit, save_fit, take_over
from frostline.training.costs import measure_saved_bytes
from frostline.training.loop import Batches, Fit, start_fit, take_step, train_epochs
from frostline.training.optimizer import count_state_bytes
from frostline.training.prefix_cache import Cache, StoredInputs, cache_inputs
from frostline.training.tensorboard import open_board


@dataclass(frozen=True)
class Job:
    """What a run is asked to do, and the images to do it with. Each fit computes in so many threads."""

    data: Prepared
    backbone: str
    plan: Plan
    training: Training
    seeds: list[int]
    precision: str
    device: torch.device
    scratch: Path
    logs: Path | None = None
    threads: int = field(default_factory=torch.get_num_threads)

    @property
    def phases(self) -> list[Phase]:
        """The plan's phases, one at least."""
        return self.plan.list_phases(self.training.epochs)

    def list_cells(self, phase: int) -> list[tuple[Rates, int]]:
        """Return every (learning rates of the phases up to this one, seed). Phases are counted from 1."""
        rates = product(*(earlier.learning_rates for earlier in self.phases[:phase]))
        return [(rate, seed) for rate in rates for seed in self.seeds]

    def select_training(self, phase: int) -> Training:
        """Return how the phase is trained: its epochs are those of the phase."""
        return self.training.model_copy(update={"epochs": self.phases[phase - 1].epochs})


@dataclass(frozen=True)
class Feed:
    """What every fit of a phase is fed, the prefix that makes it, and the seconds that this took so far.

    `prefix` is as it runs, folded, with the digests of its tensors `before` it ran. Of what was loaded the
    digests alone are kept: `pretrained` has every tensor that no fit learned up to this phase, the suffix's too.
    """

    phase: int
    cache: Cache
    prefix: nn.Sequential
    before: dict[str, str]
    pretrained: dict[str, str]
    seconds: float


def build_frozen(job: Job, seed: int, phase: int) -> nn.Sequential:
    """Return the backbone as it is loaded, frozen but for what learns in any phase up to this one.

    All plans with pretrained weights get the seed's same new head.
    """
    torch.manual_seed(seed)
    backbone = build_backbone(job.backbone, job.plan.weights, len(job.data.classes))
    apply_plan(backbone, job.plan.model_copy(update={"phases": job.phases[:phase]}))
    return backbone.to(job.device).to(memory_format=torch.channels_last)


def cut_for_phase(job: Job, backbone: nn.Sequential, phase: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return prefix and suffix of a backbone from `build_frozen`, of which now only what learns in the phase does.

    Nothing in the prefix has ever learned, so that it is the same for all seeds and rates; what learned before and is
    frozen now stays in the suffix.
    """
    at = find_boundary(backbone)
    apply_plan(backbone, job.phases[phase - 1])
    return cut_at_boundary(backbone, at)


def build_parts(job: Job, seed: int, phase: int = 1) -> tuple[nn.Sequential, nn.Sequential]:
    """Return prefix and suffix as they are loaded, frozen for the phase."""
    return cut_for_phase(job, build_frozen(job, seed, phase), phase)


def load_prefix(job: Job, phase: int) -> tuple[nn.Sequential, dict[str, str]]:
    """Return the prefix as it runs, and the digests of all that never learned, as it was loaded.

    What was loaded is given back to memory, but for the tensors that run as they are.
    """
    backbone = build_frozen(job, job.seeds[0], phase)
    pretrained = digest_pretrained(backbone)
    prefix, _ = cut_for_phase(job, backbone, phase)
    return prepare_prefix(prefix, job.precision), pretrained


def make_feed(job: Job, phase: int = 1) -> Feed:
    """Return the inputs of the phase's suffix: scaled pixels, or what its prefix makes of them, kept where it pays."""
    began = time.perf_counter()
    training, device = job.training, job.device
    augmented = Augmenter.of(job.data.ids, training.augmentation, training.augmentation_seed)
    live = LiveInputs(Images.hold(job.data.images, device), job.backbone, augmented)
    prefix, pretrained = load_prefix(job, phase)
    if not len(prefix):
        return Feed(phase, Cache(live, "no prefix", 0), prefix, {}, pretrained, 0.0)
    before = digest_frozen(prefix)
    prefixed = PrefixedInputs(prefix, live, job.data.images.shape[1], job.precision, device)
    audit_prefix(job, prefix, live)
    wanted = list_wanted_rows(job, phase)
    budget = training.cache_bytes if would_pay(job, wanted, phase) else 0
    cache = cache_inputs(prefixed, wanted, budget, job.scratch, device)
    return Feed(phase, cache, prefix, before, pretrained, time.perf_counter() - began)


def hand_over(feed: Feed) -> Feed | None:
    """Return the feed for another process, to which go the names and places of its tensors; None if it makes its own.

    Of a prefix whose outputs are kept nobody there has need.
    """
    is_kept = isinstance(feed.cache.inputs, StoredInputs)
    return replace(feed, prefix=nn.Sequential(), before={}) if is_kept else None


def audit_prefix(job: Job, prefix: nn.Sequential, live: Inputs) -> None:
    """Let the audit check on real images that the prefix's output for one does not depend on those beside it."""
    rows = job.data.list_rows("train", job.seeds[:1])
    (images,) = live([np.resize(rows, SMALLEST_PREFIX_BATCH)], None)
    with autocast(job.precision, job.device):
        check_batch_mates(prefix, images)


def list_wanted_rows(job: Job, phase: int = 1) -> dict[int | None, Rows]:
    """Return the rows that the fits may ask for in each view: training's in all of them, validation's as they are.

    Epochs are counted through all phases, each of which has one at least.
    """
    train = job.data.list_rows("train", job.seeds)
    epochs = range(phase, 1 + sum(before.epochs for before in job.phases[:phase]))
    views = sorted({(epoch - 1) % job.training.views for epoch in epochs})
    return {None: job.data.list_rows("validation", job.seeds), **dict.fromkeys(views, train)}


def would_pay(job: Job, wanted: Mapping[int | None, Rows], phase: int = 1) -> bool:
    """Return whether the fits may ask for more outputs, over all their epochs, than a cache has to compute."""
    cells = job.list_cells(phase)
    asked = sum(len(job.data.list_rows(split, [seed])) for split in ("train", "validation") for _, seed in cells)
    return asked * job.phases[phase - 1].epochs > sum(len(rows) for rows in wanted.values())


def train_cell(job: Job, feed: Feed, labels: Tensor, rates: Rates, seed: int) -> Iterator[Fit]:
    """Train one cell of the feed's phase: yield its fit as it stands, then after each new epoch, once that is saved.

    It goes on from where the phase before ended with the same rates and seed.
    At the end the audit checks that all that is frozen stood still: the suffix's own, and the prefix that fed it. That
    both are what was loaded at first, it has checked before.
    """
    suffix = load_suffix(job, feed, seed)
    fit = start_fresh_fit(job, feed, suffix, rates[-1], seed)
    if rates[:-1]:
        take_over(locate_checkpoint(job, rates[:-1], seed), fit)
    before = digest_frozen(suffix)
    checkpoint = locate_checkpoint(job, rates, seed)
    restore_fit(checkpoint, fit)
    yield fit
    train, validation = job.data.list_rows("train", [seed]), job.data.list_rows("validation", [seed])
    batches = Batches(feed.cache.inputs, labels, train, validation)
    with open_board(job.logs and job.logs / name_cell(rates, seed), fit.history) as log:
        for epoch in train_epochs(fit, batches, job.select_training(feed.phase), job.precision):
            save_fit(checkpoint, fit)
            log(epoch)
            yield fit
    audit(feed.prefix, feed.before)
    fit.audited = len(feed.pretrained.keys() - before.keys()) + audit(suffix, before, fit.optimizer)


def load_suffix(job: Job, feed: Feed, seed: int) -> nn.Sequential:
    """Return the seed's suffix, once the audit has found all that never learned loaded as it was for the feed."""
    backbone = build_frozen(job, seed, feed.phase)
    check_loaded(feed.pretrained, digest_pretrained(backbone))
    _, suffix = cut_for_phase(job, backbone, feed.phase)
    return suffix


def start_fresh_fit(job: Job, feed: Feed, suffix: nn.Sequential, learning_rate: float, seed: int) -> Fit:
    """Return a fit of the feed's phase that has learned nothing."""
    layer_decay = job.phases[feed.phase - 1].layer_decay
    return start_fit(suffix, learning_rate, job.training.weight_decay, seed, layer_decay, feed.phase)


def measure_step(job: Job, feed: Feed) -> tuple[int, int]:
    """Return the bytes that a training step saves of each image for backward, and those of the optimizer's state.

    The steps are real ones, of a suffix that nobody trains on.
    """
    seed, learning_rate = job.seeds[0], job.phases[feed.phase - 1].learning_rates[0]
    fit = start_fresh_fit(job, feed, load_suffix(job, feed, seed).train(), learning_rate, seed)
    rows = job.data.list_rows("train", job.seeds[:1])
    view = (feed.phase - 1) % job.training.views

    def step(images: int) -> None:
        shown = np.resize(rows, images)
        (batch,) = feed.cache.inputs([shown], view)
        labels = torch.from_numpy(job.data.labels[shown]).to(job.device)
        take_step(fit, batch.clone(), labels, job.precision)  # a clone, as it may be a part of a larger batch's memory

    return measure_saved_bytes(step), count_state_bytes(fit.optimizer)


def locate_checkpoint(job: Job, rates: Rates, seed: int) -> Path:
    """Return where the cell's state is kept while the run goes on."""
    return job.scratch / f"{name_cell(rates, seed)}.pt"


def name_cell(rates: Rates, seed: int) -> str:
    """Return what the cell's files are called."""
    return f"learning-rates-{'-'.join(map(repr, rates))}-seed-{seed}"


def make_job(settings: Params, prepared: Path, backbone: str, plan: str) -> Job:
    """Return what training `plan` on `backbone` takes, its scratch folder included."""
    device, asked_plan, seeds = choose_device(), settings.plans[plan], settings.study.seeds
    most = sum(phase.epochs for phase in asked_plan.list_phases(settings.training.epochs))
    views = {"views": min(asked_plan.views or settings.training.views, most)}  # an epoch shows one of them
    chosen, training = asked_plan.model_copy(update=views), settings.training.model_copy(update=views)
    precision = resolve_precision(training.precision, device)
    inputs = (prepared / "prepared.json").read_text(encoding="utf-8")
    weights = hash_file(Path(chosen.weights)) if Path(chosen.weights).is_file() else ""
    asked = json.dumps([backbone, chosen.model_dump(), training.model_dump(), seeds, precision, weights])
    data, scratch = read_prepared(prepared), locate_checkpoints(inputs, asked)
    check_seeds(data, seeds)
    if chosen.train_percent is not None:
        data = take_share(data, chosen.train_percent)
    logs = locate_logs(name_run(backbone, plan)) if training.tensorboard else None
    return Job(data, backbone, chosen, training, seeds, precision, device, scratch, logs)


def check_seeds(data: Prepared, seeds: list[int]) -> None:
    """Raise an `InputError` about the first seed for which nothing is prepared: the images may be somebody else's."""
    known = sorted(set(data.splits.seed))
    for seed in seeds:
        if seed not in known:
            raise InputError.of("study.seeds", f"be seeds of data/prepared: {join_names(map(str, known))}", str(seed))
