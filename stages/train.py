"""Train one plan: every learning rate of its list with every seed, then keep the rate that validated best.

Reads: the prepared images and splits (train and validation only), and the plan in params.yaml.
Writes: `seed-<seed>.safetensors` (what the seed learned), `history.csv` (a row per learning rate, seed and epoch),
`run.json` (what was chosen) and `costs.json` (what was counted and measured), into one folder.
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
from torch import Tensor, nn
from tqdm import tqdm

from stages.backbones import build_backbone
from stages.checkpoints import checkpoint_folder, remove_checkpoints, saved_best
from stages.command import command
from stages.flops import count_work
from stages.freezing import apply_plan, count_parameters, cut_at_boundary, describe_learned, refuse_unfit
from stages.grid import Feed, Job, checkpoint_path, make_feed, measure_step, train_cell, wanted_rows
from stages.machine import processor
from stages.memory import peak_memory_bytes
from stages.mistakes import mistake
from stages.outputs import whole_folder, write_csv, write_json
from stages.params import load_params
from stages.precision import compute_deterministically, resolve_precision, usable_device
from stages.prepared import read_prepared
from stages.runs import Run, combined_sha256, learned_path, write_learned, write_run
from stages.training import Epoch, best_epoch
from stages.vocabulary import run_name

Histories = dict[tuple[float, int], list[Epoch]]
"""The epochs of every fit, by learning rate and seed."""


def main(*, params: Path, prepared: Path, backbone: str, plan: str, out: Path) -> None:
    """Train `plan` on `backbone` into the folder `out`; go on where a killed run stopped."""
    settings, device = load_params(params), usable_device()
    compute_deterministically(device)
    asked_plan, seeds = settings.plans[plan], settings.study.seeds
    views = {"views": asked_plan.views or settings.training.views}
    chosen, training = asked_plan.model_copy(update=views), settings.training.model_copy(update=views)
    precision = resolve_precision(training.precision, device)
    inputs = (prepared / "prepared.json").read_text(encoding="utf-8")
    asked = json.dumps([backbone, chosen.model_dump(), training.model_dump(), seeds, precision])
    scratch = checkpoint_folder(inputs, asked)
    job = Job(read_prepared(prepared), backbone, chosen, training, seeds, precision, device, scratch)
    frozen = frozen_backbone(job, plan)

    feed = make_feed(job)
    print(f"{run_name(backbone, plan)}: prefix cache: {feed.cache.place}, {feed.cache.bytes:,} bytes")
    histories, audited = train_grid(job, feed, run_name(backbone, plan))
    measured, learning_rate = costs(job, feed, frozen, histories), best_rate(histories)

    with whole_folder(out) as folder:
        files = {seed: write_learned(folder, seed, learned_tensors(job, feed, learning_rate, seed)) for seed in seeds}
        write_csv(folder / "history.csv", history_table(histories, plan))
        write_run(folder, describe(job, feed, plan, frozen, histories, audited, files))
        write_json(folder / "costs.json", measured | {"learned_bytes": learned_path(folder, seeds[0]).stat().st_size})
    remove_checkpoints(scratch)


def frozen_backbone(job: Job, plan: str) -> nn.Sequential:
    """Return the backbone without values, as the plan freezes it, or raise a `Mistake` that names the plan."""
    backbone = build_backbone(job.backbone, "none", len(job.data.classes))
    refuse_unfit(backbone, job.plan, f"plans.{plan} on {job.backbone}")
    apply_plan(backbone, job.plan)
    return backbone.to("meta")


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


def learned_tensors(job: Job, feed: Feed, learning_rate: float, seed: int) -> dict[str, Tensor]:
    """Return what the cell learned, at its best epoch, and the last layer, which is new even where it is frozen."""
    best = saved_best(checkpoint_path(job, learning_rate, seed))
    return {name: tensor for name, tensor in best.items() if name not in feed.pretrained}


def describe(
    job: Job,
    feed: Feed,
    plan: str,
    frozen: nn.Sequential,
    histories: Histories,
    audited: int,
    files: dict[int, str],
) -> Run:
    """Return what run.json tells; `files` has the SHA-256 of each seed's."""
    trainable_parameters, parameters = count_parameters(frozen)
    learning_rate = best_rate(histories)
    best = {seed: best_epoch(histories[learning_rate, seed]) for seed in job.seeds}
    return Run(
        backbone=job.backbone,
        plan=plan,
        definition=job.plan.model_dump(by_alias=True, exclude_none=True),
        learned=describe_learned(frozen, job.plan),
        classes=job.data.classes,
        trainable_parameters=trainable_parameters,
        parameters=parameters,
        backbone_sha256=combined_sha256(feed.pretrained),
        weights_sha256={str(seed): digest for seed, digest in files.items()},
        learning_rate=learning_rate,
        seeds={
            str(seed): {"best_epoch": at.epoch, "val_loss": at.val_loss, "val_accuracy": at.val_accuracy}
            for seed, at in best.items()
        },
        precision=job.precision,
        device=f"{job.device.type} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})",
        processor=processor(job.device),
        threads=torch.get_num_threads(),
        versions={name: version(name) for name in ("torch", "torchvision", "timm")},
        audit="passed",  # each cell was audited when its training ended, and a failed audit ends the stage
        audited_tensors=audited,
    )


def costs(job: Job, feed: Feed, frozen: nn.Sequential, histories: Histories) -> dict[str, float | str]:
    """Return what training cost: seconds (wall clock), bytes, FLOPs, and the epochs on which they were spent."""
    peak = peak_memory_bytes()  # first: what follows only counts
    seconds = [epoch.seconds for history in histories.values() for epoch in history]
    saved_activation_bytes, optimizer_bytes = measure_step(job, feed)
    return {
        **count_flops(job, feed, frozen, histories),
        "train_seconds": feed.seconds + sum(seconds),
        "prefix_seconds": feed.seconds,
        "epoch_seconds": median(seconds),
        "epochs": len(seconds),
        "peak_memory_bytes": peak,
        "saved_activation_bytes": saved_activation_bytes,
        "optimizer_bytes": optimizer_bytes,
        "cache": feed.cache.place,
        "cache_bytes": feed.cache.bytes,
    }


def count_flops(job: Job, feed: Feed, frozen: nn.Sequential, histories: Histories) -> dict[str, float]:
    """Return the FLOPs of all fits' training, validation left out, and those for one image in one epoch.

    `train_flops` is as it ran: a prefix whose outputs were kept was computed once for each row and view, whether or not
    a fit lived to see it. `train_flops_per_image_live` is what an image would have cost with nothing kept.
    """
    work = count_work(*cut_at_boundary(frozen), job.data.images.shape[1])
    shown = sum(len(job.data.rows("train", [seed])) * len(history) for (_, seed), history in histories.items())
    kept = sum(len(rows) for view, rows in wanted_rows(job).items() if view is not None)
    train_flops = work.train(kept if feed.cache.bytes else shown, shown)
    return {
        "train_flops": train_flops,
        "train_flops_per_image": train_flops / shown,
        "train_flops_per_image_live": work.live,
    }


if __name__ == "__main__":
    command(main)
