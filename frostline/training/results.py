"""Outcomes: what became of a run, phase by phase, its choices, what it cost, and the folder in which that is kept."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from statistics import mean, median

import pandas as pd
from torch import Tensor, nn

from frostline.backbones.adapters import build_for_plan
from frostline.backbones.freezing import apply_plan, count_parameters, describe_learned, refuse_unfit
from frostline.backbones.runs import Run, combine_digests, locate_learned, write_learned, write_run
from frostline.constants import PARTS, Rates
from frostline.errors import InputError
from frostline.files import write_csv, write_json
from frostline.hardware import measure_bfloat16_speed, measure_peak_memory, name_processor, tell_kind
from frostline.networks.catalog import find_architecture
from frostline.training.checkpoints import Trained, read_best
from frostline.training.costs import Work, count_work
from frostline.training.grid import Feed, cut_for_phase, list_wanted_rows, measure_step
from frostline.training.job import Job, locate_checkpoint
from frostline.training.loop import Epoch, find_best_epoch

Cell = tuple[Rates, int]
"""The learning rates and the replicate of a fit."""
Histories = dict[Cell, list[Epoch]]
"""The epochs of every fit, from the first phase on."""


@dataclass(frozen=True)
class Spent:
    """What a phase has taken so far: its fits' epochs, so many fits at once, and a prefix of which bytes are kept."""

    phase: int
    histories: Histories
    workers: int
    prefix_seconds: float
    cache_bytes: int

    @property
    def epochs(self) -> Histories:
        """The epochs of this phase alone."""
        return {cell: [epoch for epoch in past if epoch.phase == self.phase] for cell, past in self.histories.items()}

    @property
    def seconds(self) -> list[float]:
        """The seconds of each of them."""
        return [epoch.seconds for history in self.epochs.values() for epoch in history]

    @property
    def train_seconds(self) -> float:
        """The seconds of all of it, where as many fits are trained at once as can be."""
        return self.prefix_seconds + sum(self.seconds) / self.workers


@dataclass(frozen=True)
class Phased(Spent):
    """What became of a phase, now that it has ended; `pretrained` is what never learned up to its end."""

    audited: int
    pretrained: dict[str, str]
    cache: str
    saved_activation_bytes: int
    optimizer_bytes: int
    peak_memory_bytes: int


def summarize_phase(feed: Feed, job: Job, trained: Mapping[Cell, Trained], workers: int) -> Phased:
    """Return what became of the feed's phase, now that its fits have ended."""
    peak = measure_peak_memory()  # first: what follows only counts
    saved_activation_bytes, optimizer_bytes = measure_step(job, feed)
    fits = trained.values()
    return Phased(
        phase=feed.phase,
        histories={cell: fit.history for cell, fit in trained.items()},
        workers=workers,
        audited=next(iter(fits)).audited,
        pretrained=feed.pretrained,
        prefix_seconds=sum(fit.prefix_seconds for fit in fits),
        cache=", ".join(dict.fromkeys(fit.cache for fit in fits)),
        cache_bytes=max(fit.cache_bytes for fit in fits),
        saved_activation_bytes=saved_activation_bytes,
        optimizer_bytes=optimizer_bytes,
        peak_memory_bytes=max(peak, *(fit.peak_memory_bytes for fit in fits)),
    )


def write_outcome(folder: Path, job: Job, plan: str, phases: list[Phased], rates: Rates, replicates: list[int]) -> None:
    """Write the run into the folder: what these replicates learned at these rates, and all that is told of it."""
    frozen, last = build_frozen_backbone(job, plan), phases[-1]
    measured = collect_costs(job, frozen, phases, rates, len(replicates))
    files = {
        replicate: write_learned(folder, replicate, collect_learned_tensors(job, last, rates, replicate))
        for replicate in replicates
    }
    write_csv(folder / "history.csv", make_history_table(last.histories, plan))
    write_run(folder, describe(job, plan, frozen, last, rates, files))
    learned_bytes = locate_learned(folder, replicates[0]).stat().st_size
    write_json(folder / "costs.json", measured | {"learned_bytes": learned_bytes})


def build_frozen_backbone(job: Job, plan: str) -> nn.Sequential:
    """Return the backbone without values, as the plan freezes it, or raise an `InputError` that names the plan."""
    where = f"plans.{plan} on {job.backbone}"
    backbone = build_for_plan(job.backbone, "none", len(job.data.classes), job.image_px, job.plan, where)
    refuse_unfit(backbone, job.plan, where)
    apply_plan(backbone, job.plan)
    return backbone.to("meta")


def describe_history(history: list[Epoch]) -> str:
    """Return in words what came of a fit in a phase."""
    best, seconds = find_best_epoch(history), sum(epoch.seconds for epoch in history)
    figures = f"validation loss {best.val_loss:.3f}, accuracy {best.val_accuracy:.3f}"
    return f"best of {len(history)} epochs is {best.epoch}, {figures}, {seconds:.0f} s"


def format_rates(rates: Rates) -> str:
    """Return the rates in words, phase after phase, such as "0.001 then 0.0001"."""
    return " then ".join(f"{rate:g}" for rate in rates)


def flatten_rates(rates: Rates) -> float | str:
    """Return the rates as tables have them: a number where there is one phase."""
    return rates[0] if len(rates) == 1 else format_rates(rates)


def choose_rates(histories: Histories) -> Rates:
    """Return the learning rates with the lowest validation loss at their best epoch, as a mean over replicates.

    Rates at which any replicate diverged are not chosen.
    """
    losses: dict[Rates, list[float]] = {}
    for (rates, _), history in histories.items():
        losses.setdefault(rates, []).append(find_best_epoch(history).val_loss)
    finite = {rates: mean(values) for rates, values in losses.items() if all(map(isfinite, values))}
    if not finite:
        tried = ", ".join(map(format_rates, losses))
        must = "hold one at which training does not diverge"
        raise InputError.of("learning_rates", must, f"{tried}, each with a loss that is no number", "Try lower ones.")
    return min(finite, key=lambda rates: finite[rates])


def make_history_table(histories: Histories, plan: str) -> pd.DataFrame:
    """Return a row for every epoch of every fit: `learning_rate` as it was asked for, and as each part really had it.

    A part that did not learn in an epoch had none.
    """
    return pd.DataFrame([
        {"plan": plan, "learning_rate": flatten_rates(rates), "replicate": replicate, **_make_epoch_row(epoch)}
        for (rates, replicate), history in histories.items()
        for epoch in history
    ])  # fmt: skip


def _make_epoch_row(epoch: Epoch) -> dict[str, float | None]:
    row = asdict(epoch)
    had = row.pop("learning_rates")
    return row | {f"learning_rate_{part}": had.get(part) for part in PARTS}


def collect_learned_tensors(job: Job, last: Phased, rates: Rates, replicate: int) -> dict[str, Tensor]:
    """Return what the cell learned, at its best epoch, and the last layer, which is new even where it is frozen."""
    best = read_best(locate_checkpoint(job, rates, replicate))
    return {name: tensor for name, tensor in best.items() if name not in last.pretrained}


def describe(job: Job, plan: str, frozen: nn.Sequential, last: Phased, rates: Rates, files: dict[int, str]) -> Run:
    """Return what run.json tells; `last` is the last phase, and `files` has the SHA-256 of each replicate's file."""
    trainable_parameters, parameters = count_parameters(frozen)
    best = {replicate: find_best_epoch(last.histories[rates, replicate]) for replicate in files}
    kind, processor = job.hardware or (tell_kind(job.device), name_processor(job.device))
    return Run(
        backbone=job.backbone,
        plan=plan,
        definition=job.plan.model_dump(by_alias=True, exclude_none=True),
        image_px=job.image_px,
        preprocessing=asdict(find_architecture(job.backbone).preprocessing()),
        learned=describe_learned(frozen, job.plan),
        classes=job.data.classes,
        trainable_parameters=trainable_parameters,
        parameters=parameters,
        backbone_sha256=combine_digests(last.pretrained),
        weights_sha256={str(replicate): digest for replicate, digest in files.items()},
        learning_rate=flatten_rates(rates),
        replicates={
            str(replicate): {
                "train_images": len(job.data.list_rows("train", [replicate])),
                "best_epoch": at.epoch,
                "val_loss": at.val_loss,
                "val_accuracy": at.val_accuracy,
            }
            for replicate, at in best.items()
        },
        precision=job.precision,
        device=kind,
        processor=processor,
        threads=job.threads,
        versions={name: version(name) for name in ("torch", "torchvision", "timm")},
        audit="passed",  # each cell was audited when each of its phases ended, and a failed audit ends the stage
        audited_tensors=last.audited,
        bfloat16_speed=measure_bfloat16_speed(job.device) if job.training.precision == "auto" else None,
    )


def collect_costs(
    job: Job, frozen: nn.Sequential, phases: list[Phased], rates: Rates, replicates: int
) -> dict[str, float | str]:
    """Return what training cost: seconds (wall clock), bytes, FLOPs, and the epochs on which they were spent.

    Of phases the seconds, FLOPs and epochs are added up, and the bytes are those of the phase that took most; memory is
    that of the process that took most. `epoch_seconds` is an epoch's own, beside which others may be trained;
    `replicate_seconds` what one more replicate takes, at these rates, or at all where each replicate tries them. Of a
    run that a race stopped after so many replicates, seconds and FLOPs are what all would have taken if the others were
    like these, so that plans can be compared; `spent_seconds` is what was spent.
    """

    def select_again(histories: Histories) -> Histories:
        """Return the fits that one more replicate would have too."""
        return {cell: past for cell, past in histories.items() if job.tune == "all" or cell[0] == rates[: len(cell[0])]}

    again = [replace(phase, prefix_seconds=0.0, histories=select_again(phase.histories)) for phase in phases]
    again_seconds, spent_seconds = (sum(phase.train_seconds for phase in each) for each in (again, phases))
    missing = len(job.replicates) / replicates - 1
    flops = count_flops(job, frozen, phases)
    flops["train_flops"] += round(missing * sum(count_again(job, frozen, phase) for phase in again))
    seconds = [epoch_seconds for phase in phases for epoch_seconds in phase.seconds]
    prefix_seconds = sum(phase.prefix_seconds for phase in phases)
    return {
        **flops,
        "train_seconds": spent_seconds + missing * again_seconds,
        "spent_seconds": spent_seconds,
        "replicate_seconds": (prefix_seconds + again_seconds) / replicates,
        "prefix_seconds": prefix_seconds,
        "epoch_seconds": median(seconds),
        "epochs": len(seconds),
        "peak_memory_bytes": max(phase.peak_memory_bytes for phase in phases),
        "saved_activation_bytes": max(phase.saved_activation_bytes for phase in phases),
        "optimizer_bytes": max(phase.optimizer_bytes for phase in phases),
        "cache": ", ".join(dict.fromkeys(phase.cache for phase in phases)),
        "cache_bytes": max(phase.cache_bytes for phase in phases),
    }


def count_flops(job: Job, frozen: nn.Sequential, phases: Sequence[Spent]) -> dict[str, float]:
    """Return the FLOPs of all fits' training, validation left out, and those for one image in one epoch.

    `train_flops` is as it ran: a prefix whose outputs were kept was computed once for each row and view, whether or not
    a fit lived to see it. `train_flops_per_image_live` is what an image would have cost with nothing kept.
    """
    train_flops, live, shown_in_all = 0, 0, 0
    works = count_phases(job, frozen)
    for result in phases:
        work = works[result.phase - 1]
        shown = count_shown(job, result)
        wanted = list_wanted_rows(job, result.phase, job.replicates)
        kept = sum(len(rows) for view, rows in wanted.items() if view is not None)
        train_flops += work.train(kept if result.cache_bytes else shown, shown)
        live, shown_in_all = live + work.live * shown, shown_in_all + shown
    return {
        "train_flops": train_flops,
        "train_flops_per_image": train_flops / shown_in_all,
        "train_flops_per_image_live": live / shown_in_all,
    }


def count_again(job: Job, frozen: nn.Sequential, phase: Spent) -> int:
    """Return the FLOPs of the phase, without those of prefix outputs that are kept and are not computed again."""
    shown = count_shown(job, phase)
    return count_phases(job, frozen)[phase.phase - 1].train(0 if phase.cache_bytes else shown, shown)


def count_shown(job: Job, phase: Spent) -> int:
    """Return how often the phase showed an image."""
    return sum(
        len(job.data.list_rows("train", [replicate])) * len(history) for (_, replicate), history in phase.epochs.items()
    )


def count_phases(job: Job, frozen: nn.Sequential) -> list[Work]:
    """Return what each phase computes for one image, by prefix and suffix."""
    backbone = copy.deepcopy(frozen)  # each phase freezes it anew
    works = []
    for phase in range(1, len(job.phases) + 1):
        apply_plan(backbone, job.plan.model_copy(update={"phases": job.phases[:phase]}))
        works.append(count_work(*cut_for_phase(job, backbone, phase), job.image_px))
    return works
