"""A study whose fits are tasks of a cluster on this machine: how it is started, and what is seen of it meanwhile."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ray.cluster_utils import Cluster

from frostline.files import UNFINISHED, read_json
from tests import toys
from tests.project import ROOT
from tests.stages.test_race import BACKBONE, write_race

PLANS = ("part", "gradual", "all")
RUNS = [f"{BACKBONE}-{plan}" for plan in PLANS]
NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.2", "object_store_memory": 100_000_000}
"""A node of one core, which nobody but this machine can reach."""


def write_cluster_study(folder: Path, *, racing: bool = False, workers: str = "ray", epochs: int = 40) -> None:
    write_race(folder, racing=racing)
    toys.set_params(
        folder, study__plans=[*PLANS], training__workers=workers, training__keep_bytes=2_000_000_000,
        training__epochs=epochs, training__patience=99, training__batch_size=8,
    )  # fmt: skip


def start(folder: Path, nodes: Cluster, largest_file: int = -1, **environment: str) -> subprocess.Popen[str]:
    """Start the stage in which a cluster trains, as dvc would; it may write no larger file."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    asked = ("--params", "params.yaml", "--prepared", "prepared", "--out", "raced")
    known = {"RAY_ADDRESS": nodes.address, "DVC_ROOT": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "stages.race", *asked],
        cwd=folder, env=os.environ | known | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=limit if largest_file > 0 else None,
    )  # fmt: skip


def read_run(folder: Path) -> dict[str, Any]:
    """Return what a run's folder holds, without what was measured."""
    tensors = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    history = pd.read_csv(folder / "history.csv").drop(columns="seconds").to_csv()
    return {**tensors, "history": history, "run": read_json(folder / "run.json")}


def read_runs(folder: Path) -> dict[str, Any]:
    return {run: read_run(folder / run) for run in RUNS}


def list_saved(folder: Path) -> list[Path]:
    """Return the checkpoints that are whole: a kill may leave one that is not."""
    return [path for path in folder.glob(".dvc/tmp/frostline/*.pt") if UNFINISHED not in path.name]


def count_saved(folder: Path) -> int:
    return len(list_saved(folder))


def read_saved_seconds(folder: Path) -> dict[str, list[float]]:
    """Return how long each epoch took that is kept, by fit: no two trainings take the same."""
    return {path.name: [epoch["seconds"] for epoch in torch.load(path)["history"]] for path in list_saved(folder)}


def wait_until(is_so: Callable[[], object]) -> None:
    until = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def list_fits(what: str = "train_there") -> list[int]:
    """Return the processes that train a fit, or do something else on a node."""
    found = subprocess.run(["pgrep", "-f", f"^ray::{what}"], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]
