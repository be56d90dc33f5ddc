"""Script c: this project. The only module here that knows how its engine is called."""

import contextlib
import io
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from torch import nn

from benchmarks.machine import DEVICE
from benchmarks.task import MANY, WEIGHT_DECAY, Outcome, Task
from frostline.backbones.precision import compute_deterministically
from frostline.backbones.registry import build_backbone
from frostline.data.images import read_prepared
from frostline.errors import InputError
from frostline.files import read_yaml, write_yaml
from frostline.hardware import keep_freed_memory, resolve_precision
from frostline.params.loading import load_params
from frostline.params.schema import Augmentation, Plan
from frostline.training.grid import build_parts, make_feed
from frostline.training.job import Job
from frostline.training.results import build_frozen_backbone
from frostline.training.workers import count_workers, train_fits

PARAMS = Path(__file__).parent.parent / "params.yaml"
AS_THEY_ARE = Augmentation(flips="none", crop="none", crop_padding=4, crop_scale=0.35, colour=0.0, policy="none")


def train(task: Task) -> Outcome:
    """Train as the task says.

    The prefix is fed, and fits are trained side by side or not, as for `MANY` epochs, however few are measured: for a
    single one neither might pay.
    """
    with compute_exactly(), tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        job = make_job(task, Path(scratch))
        many = replace(job, training=job.training.model_copy(update={"epochs": MANY}))
        cells = [(rates, task.seed) for rates in job.list_rates(1)]
        feed, at_once = make_feed(many), count_workers(many, build_frozen_backbone(many, task.plan), 1)
        fits = list(train_fits(limit_job(job, task), feed, cells, at_once, lambda _: None))
        took = time.perf_counter() - began
    epochs = list(zip(*(fit.history for fit in fits), strict=True))
    seconds = [median(epoch.seconds for epoch in of_fits) / at_once for of_fits in epochs]
    start = took - sum(sum(epoch.seconds for epoch in of_fits) for of_fits in epochs) / at_once
    return Outcome(start, feed.seconds, seconds, [epoch.val_accuracy for epoch in fits[0].history])


def make_job(task: Task, scratch: Path) -> Job:
    """Return the task as the engine takes it: as params.yaml, without augmentation or an early end."""
    wanted: dict[str, object] = {"epochs": task.epochs, "patience": task.epochs, "batch_size": task.batch_size}
    wanted |= {"weight_decay": WEIGHT_DECAY, "precision": "auto", "augmentation": AS_THEY_ARE, "views": 1}
    wanted |= {"schedule": "constant", "warmup_epochs": 0, "label_smoothing": 0.0}
    training = load_params(PARAMS).training.model_copy(update=wanted)
    data = read_prepared(task.prepared)
    threads = max(1, torch.get_num_threads() // task.fits)
    plan, precision = make_plan(task), choose_precision()
    return Job(data, task.backbone, plan, training, [task.seed], precision, DEVICE, scratch, threads=threads)


def make_plan(task: Task) -> Plan:
    """Return the task's plan, with a rate for each fit, all but the same.

    With weights "none" it freezes random ones, which is as fast, and useless.
    """
    rates = [task.learning_rate * (1 + number / 1e6) for number in range(task.fits)]
    return Plan.model_validate({"from": task.plan, "weights": task.weights, "learning_rates": rates})


def limit_job(job: Job, task: Task) -> Job:
    """Return the job with so few training images that an epoch ends after the task's steps.

    Its feed holds them all, and it validates on all: both make its peak of memory.
    """
    if not task.steps:
        return job
    splits = job.data.splits
    training = splits[splits.split == "train"].groupby("replicate").head(task.steps * task.batch_size)
    few = pd.concat([training, splits[splits.split != "train"]])
    return replace(job, data=replace(job.data, splits=few))


def prepare_images(folder: Path, image_px: int, seeds: int) -> float:
    """Fetch and prepare the images below `folder` by this project's own stages; return the seconds."""
    params = read_yaml(PARAMS)
    images, prepared = folder / "images", folder / "prepared"
    params["data"] |= {"source": "folder", "folder": str(images), "image_px": image_px, "groups": "none"}
    params["study"]["repeats"] = -(-seeds // params["data"]["folds"])  # a seed is a fold
    written = folder / "params.yaml"
    write_yaml(written, params)
    from stages import fetch, prepare

    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        fetch.main(params=written, out=folder / "raw")
        prepare.main(params=written, raw=folder / "raw", out=prepared)
    return time.perf_counter() - began


def count_images(task: Task) -> tuple[int, int]:
    """Return how many images are trained on and validated on."""
    data = read_prepared(task.prepared)
    return len(data.list_rows("train", [task.seed])), len(data.list_rows("validation", [task.seed]))


def build_initial_parts(task: Task) -> nn.Sequential:
    """Return the backbone as every script starts from it, as the sequence stem ... head."""
    torch.manual_seed(task.seed)
    return build_backbone(task.backbone, task.weights, task.classes)


def cut_parts(task: Task) -> tuple[nn.Sequential, nn.Sequential]:
    """Return prefix and suffix, frozen by the task's plan."""
    return build_parts(make_job(task, task.prepared), task.seed)


def choose_weights(backbone: str) -> str:
    """Return "pretrained" if this machine has the weights or can load them, else "none": speed is the same."""
    try:
        build_backbone(backbone, "pretrained", 2)
    except (InputError, OSError):
        return "none"
    return "pretrained"


def choose_precision() -> str:
    """Return the precision that the project chooses on this processor."""
    return resolve_precision("auto", DEVICE)


@contextmanager
def compute_exactly(device: torch.device = DEVICE) -> Iterator[None]:
    """Compute as the stage `train` does; the other scripts do not ask for it and need not pay for it."""
    before = torch.are_deterministic_algorithms_enabled()
    keep_freed_memory()
    compute_deterministically(device)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
