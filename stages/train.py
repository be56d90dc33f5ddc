"""Train one plan: every learning rate of its list with every seed, then keep the rate that validated best.

Reads: the prepared images and splits (train and validation only), and the plan in params.yaml.
Writes: `seed-<seed>.safetensors`, `history.csv` (a row per learning rate, seed and epoch), `run.json` (what was chosen
and counted) and `costs.json` (what was measured), into one folder.
"""

import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from statistics import mean, median

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from stages.backbones import build_backbone
from stages.checkpoints import checkpoint_folder, remove_checkpoints, saved_best
from stages.command import command
from stages.freezing import apply_plan, count_parameters, describe_learned, refuse_unfit
from stages.grid import Feed, Job, checkpoint_path, make_feed, train_cell
from stages.memory import peak_memory_bytes
from stages.mistakes import mistake
from stages.outputs import whole_folder, write_csv, write_json
from stages.params import load_params
from stages.precision import compute_deterministically, resolve_precision, usable_device
from stages.prepared import read_prepared
from stages.runs import Run, write_run, write_suffix
from stages.training import Epoch, best_epoch
from stages.vocabulary import run_name

Histories = dict[tuple[float, int], list[Epoch]]
"""The epochs of every fit, by learning rate and seed."""


def main(*, params: Path, prepared: Path, backbone: str, plan: str, out: Path) -> None:
    """Train `plan` on `backbone` into the folder `out`; go on where a killed run stopped."""
    settings, device = load_params(params), usable_device()
    compute_deterministically(device)
    chosen, training, seeds = settings.plans[plan], settings.training, settings.study.seeds
    precision = resolve_precision(training.precision, device)
    inputs = (prepared / "prepared.json").read_text(encoding="utf-8")
    asked = json.dumps([backbone, chosen.model_dump(), training.model_dump(), seeds, precision])
    scratch = checkpoint_folder(inputs, asked)
    job = Job(read_prepared(prepared), backbone, chosen, training, seeds, precision, device, scratch)
    frozen = frozen_backbone(job, plan)

    feed = make_feed(job)
    print(f"{run_name(backbone, plan)}: prefix cache: {feed.cache.place}, {feed.cache.bytes:,} bytes")
    histories, audited = train_grid(job, feed, run_name(backbone, plan))
    learning_rate = best_rate(histories)

    with whole_folder(out) as folder:
        for seed in seeds:
            write_suffix(folder, seed, saved_best(checkpoint_path(job, learning_rate, seed)))
        write_csv(folder / "history.csv", history_table(histories, plan))
        write_run(folder, describe(job, plan, frozen, learning_rate, histories, audited))
        write_json(folder / "costs.json", costs(feed, histories, folder))
    remove_checkpoints(scratch)


def frozen_backbone(job: Job, plan: str) -> nn.Sequential:
    """Return the backbone, untrained, as the plan freezes it, or raise a `Mistake` that names the plan."""
    backbone = build_backbone(job.backbone, "none", len(job.data.classes))
    refuse_unfit(backbone, job.plan, f"plans.{plan} on {job.backbone}")
    apply_plan(backbone, job.plan)
    return backbone


def train_grid(job: Job, feed: Feed, name: str) -> tuple[Histories, int]:
    """Train every cell, telling of each when it ends, on a terminal with a bar of epochs.

    Return their histories, and how many frozen tensors the audit of each found as they were.
    """
    labels = torch.from_numpy(job.data.labels).to(job.device)
    histories: Histories = {}
    audited = 0
    with tqdm(total=len(job.cells) * job.training.epochs, desc=name, unit="epoch", disable=None) as bar:
        for number, (learning_rate, seed) in enumerate(job.cells):
            for fit in train_cell(job, feed, labels, learning_rate, seed):
                histories[learning_rate, seed] = fit.history
                bar.update(number * job.training.epochs + len(fit.history) - bar.n)
            audited = fit.audited or 0
            outcome = describe_history(histories[learning_rate, seed])
            tqdm.write(f"{name}: learning rate {learning_rate:g}, seed {seed}: {outcome}")
    return histories, audited


def describe_history(history: list[Epoch]) -> str:
    """Return in words what came of a fit."""
    best, seconds = best_epoch(history), sum(epoch.seconds for epoch in history)
    figures = f"validation loss {best.val_loss:.3f}, accuracy {best.val_accuracy:.3f}"
    return f"best of {len(history)} epochs is {best.epoch}, {figures}, {seconds:.0f} s"


def best_rate(histories: Histories) -> float:
    """Return the learning rate with the lowest validation loss at its best epoch, as a mean over seeds.

    A rate at which any seed diverged is not chosen.
    """
    losses: dict[float, list[float]] = {}
    for (learning_rate, _), history in histories.items():
        losses.setdefault(learning_rate, []).append(best_epoch(history).val_loss)
    finite = {learning_rate: mean(each) for learning_rate, each in losses.items() if all(map(isfinite, each))}
    if not finite:
        tried = ", ".join(f"{learning_rate:g}" for learning_rate in losses)
        must = "hold one at which training does not diverge"
        raise mistake("learning_rates", must, f"{tried}, each with a loss that is no number", "Try lower ones.")
    return min(finite, key=lambda learning_rate: finite[learning_rate])


def history_table(histories: Histories, plan: str) -> pd.DataFrame:
    """Return a row for every epoch of every fit."""
    rows = [
        {"plan": plan, "learning_rate": learning_rate, "seed": seed, **asdict(epoch)}
        for (learning_rate, seed), history in histories.items()
        for epoch in history
    ]
    return pd.DataFrame(rows)


def describe(
    job: Job, plan: str, frozen: nn.Sequential, learning_rate: float, histories: Histories, audited: int
) -> Run:
    """Return what run.json tells."""
    trainable_parameters, parameters = count_parameters(frozen)
    best = {seed: best_epoch(histories[learning_rate, seed]) for seed in job.seeds}
    return Run(
        backbone=job.backbone,
        plan=plan,
        definition=job.plan.model_dump(by_alias=True, exclude_none=True),
        learned=describe_learned(frozen, job.plan),
        classes=job.data.classes,
        trainable_parameters=trainable_parameters,
        parameters=parameters,
        learning_rate=learning_rate,
        seeds={
            str(seed): {"best_epoch": at.epoch, "val_loss": at.val_loss, "val_accuracy": at.val_accuracy}
            for seed, at in best.items()
        },
        precision=job.precision,
        device=f"{job.device.type} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})",
        threads=torch.get_num_threads(),
        versions={name: version(name) for name in ("torch", "torchvision", "timm")},
        audit="passed",  # each cell was audited when its training ended, and a failed audit ends the stage
        audited_tensors=audited,
    )


def costs(feed: Feed, histories: Histories, folder: Path) -> dict[str, float | str]:
    """Return what the run cost: seconds (wall clock), bytes, and how many epochs they were spent on."""
    seconds = [epoch.seconds for history in histories.values() for epoch in history]
    return {
        "train_seconds": feed.seconds + sum(seconds),
        "prefix_seconds": feed.seconds,
        "epoch_seconds": median(seconds),
        "epochs": len(seconds),
        "peak_memory_bytes": peak_memory_bytes(),
        "cache": feed.cache.place,
        "cache_bytes": feed.cache.bytes,
        "weights_bytes": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
    }


if __name__ == "__main__":
    command(main)
