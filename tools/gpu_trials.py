"""How claims about a GPU are tried: where, one fit or one step at a time, or a small study by its own stages."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from frostline.data.images import read_prepared
from frostline.files import read_yaml, write_json, write_sums, write_yaml
from frostline.hardware import resolve_precision
from frostline.networks.segments import map_features
from frostline.params.loading import load_params
from frostline.params.schema import Plan
from frostline.training.checkpoints import read_best
from frostline.training.grid import load_suffix, make_feed, start_fresh_fit, train_cell
from frostline.training.job import Job, locate_checkpoint
from frostline.training.loop import Fit, take_step

BACKBONE, RATE, REPLICATE = "efficientnet_lite0", 0.001, 0


class Wrong(Exception):  # noqa: N818 - a claim is wrong
    """A claim that does not hold, and what was found instead."""


class NotTried(Exception):  # noqa: N818 - a claim was not tried
    """A claim that cannot be tried here, and why."""


@dataclass(frozen=True)
class Bench:
    """Where claims are tried: a folder with prepared images and params.yaml, and the device."""

    folder: Path
    device: torch.device

    def make_job(self, name: str, depth: str = "stage4", precision: str = "auto", **training: object) -> Job:
        """Return a job that trains from the depth on for two epochs, with files of its own under the name."""
        asked = load_params(self.folder / "params.yaml").training.model_copy(update={"epochs": 2, **training})
        plan = Plan.model_validate({"from": depth, "weights": "pretrained", "learning_rates": [RATE]})
        chosen = resolve_precision(precision, self.device)
        data = read_prepared(self.folder / "prepared")
        return Job(data, BACKBONE, plan, asked, [REPLICATE], chosen, self.device, self.folder / name)


def require_gpu(bench: Bench, why: str) -> None:
    """Raise `NotTried` where the device is a processor."""
    if bench.device.type != "cuda":
        raise NotTried(why)


def fit(job: Job, epochs: int | None = None) -> dict[str, Tensor]:
    """Return the best tensors of the job's one fit, trained to its end or for so many epochs."""
    feed, labels = make_feed(job), torch.from_numpy(job.data.labels).to(job.device)
    for begun in train_cell(job, feed, labels, (RATE,), REPLICATE):
        if len(begun.history) == epochs:
            break
    return read_best(locate_checkpoint(job, (RATE,), REPLICATE))


def begin(job: Job) -> tuple[Fit, Callable[[], Tensor]]:
    """Return a fit of the job that has not begun, and what lets it take one step on one batch and returns the loss."""
    feed = make_feed(replace(job, training=job.training.model_copy(update={"cache_bytes": 0})))
    begun = start_fresh_fit(job, feed, load_suffix(job, feed, REPLICATE).train(), RATE, REPLICATE)
    rows = job.data.list_rows("train", [REPLICATE])[: job.training.batch_size]
    (inputs,) = feed.cache.inputs([rows], 0)
    labels = torch.from_numpy(job.data.labels[rows]).to(job.device)
    inputs = map_features(Tensor.clone, inputs)
    return begun, lambda: take_step(begun, inputs, labels, job.precision)[0]


def train_run(bench: Bench, workers: str) -> Path:
    """Return the run of a small study, trained by these workers in processes of their own."""
    folder = bench.folder / f"study-{workers}"
    run = folder / "run"
    if run.exists():
        return run
    folder.mkdir(exist_ok=True)
    params = read_yaml(bench.folder / "params.yaml")
    params["training"] |= {"workers": workers, "epochs": 1}
    write_yaml(folder / "params.yaml", params)
    (name,) = params["study"]["plans"]
    raced = folder / "raced" / f"{BACKBONE}-{name}"
    prepared = ("--params", folder / "params.yaml", "--prepared", bench.folder / "prepared")
    if workers == "ray":
        run_stage(folder, "race", *prepared, "--out", folder / "raced")
    else:
        raced.mkdir(parents=True)
        write_json(raced / "race.json", {"racing": False, "stopped": None, "dropped": []})
        write_sums(raced, ["race.json"])
    run_stage(folder, "train", *prepared, "--race", raced, "--backbone", BACKBONE, "--plan", name, "--out", run)
    return run


def run_stage(folder: Path, stage: str, *arguments: object) -> None:
    """Run a stage as dvc would; what it told is told if it fails."""
    command = [sys.executable, "-m", f"stages.{stage}", *map(str, arguments)]
    there = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"DVC_ROOT": str(folder)}
    done = subprocess.run(command, env=there, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        raise Wrong(f"{stage} ended with: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
