"""A study whose fits are trained on the nodes of a cluster comes out as where they are trained here, whatever ends."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from ray.cluster_utils import Cluster

from frostline.files import UNFINISHED, read_json
from tests import toys
from tests.project import ROOT
from tests.stages.test_race import BACKBONE, write_race
from tests.toys import train_toy

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread")]
PLANS = ("part", "gradual", "all")
RUNS = [f"{BACKBONE}-{plan}" for plan in PLANS]
NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.2", "object_store_memory": 100_000_000}
"""A node of one core, which nobody but this machine can reach."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """Return two nodes."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


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


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the runs as they are where their fits are trained in this process."""
    folder = tmp_path_factory.mktemp("here")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DVC_ROOT", str(folder))
        patched.chdir(folder)
        write_cluster_study(folder, workers="local")
        runs = {f"{BACKBONE}-{plan}": read_run(train_toy(folder, plan, backbone=BACKBONE)) for plan in PLANS}
    torch.set_deterministic_debug_mode("default")
    return runs


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


def test_runs_have_the_bytes_of_those_that_were_trained_here_and_their_fits_are_found_here(
    tmp_path: Path, nodes: Cluster, here: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    write_cluster_study(tmp_path)
    told = start(tmp_path, nodes).communicate()[0]
    assert "Ray: 2 nodes, cpu (" in told
    assert re.search(r"best of 40 epochs is .*\(\d+ of 21 fits done, \d running, \d+ waiting", told), told
    assert read_runs(tmp_path / "raced") == here
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    train_toy(tmp_path, "part", backbone=BACKBONE, workers="local")
    assert "9 fits found, trained before; 0 to train" in capsys.readouterr().out
    torch.set_deterministic_debug_mode("default")


def test_a_worker_that_is_killed_in_mid_fit_costs_that_fit_its_epoch(
    tmp_path: Path, nodes: Cluster, here: dict[str, Any]
) -> None:
    write_cluster_study(tmp_path)
    stage = start(tmp_path, nodes)
    wait_until(lambda: count_saved(tmp_path) > 2 and list_fits())
    time.sleep(0.5)
    os.kill(list_fits()[0], signal.SIGKILL)
    told = stage.communicate()[0]
    assert stage.returncode == 0, told
    assert read_runs(tmp_path / "raced") == here
    assert re.findall(r"a fit goes on from epoch \d+: WorkerCrashedError", told), told


@pytest.mark.parametrize("what", ["Feeds", "Desk"])
def test_what_fits_are_fed_by_or_hand_over_to_is_made_anew_when_it_is_killed(
    tmp_path: Path, nodes: Cluster, here: dict[str, Any], what: str
) -> None:
    write_cluster_study(tmp_path)
    stage = start(tmp_path, nodes)
    wait_until(lambda: count_saved(tmp_path) > 1 and list_fits(what))
    os.kill(list_fits(what)[0], signal.SIGKILL)
    told = stage.communicate()[0]
    assert stage.returncode == 0, told
    assert re.findall(r"a fit goes on from epoch \d+: Actor", told), told
    assert read_runs(tmp_path / "raced") == here


def test_the_fits_of_a_node_that_leaves_go_on_elsewhere(tmp_path: Path, nodes: Cluster, here: dict[str, Any]) -> None:
    third = nodes.add_node(**NODE)
    write_cluster_study(tmp_path)
    stage = start(tmp_path, nodes)
    wait_until(lambda: count_saved(tmp_path) > 3)
    nodes.remove_node(third, allow_graceful=False)
    told = stage.communicate()[0]
    assert stage.returncode == 0, told
    assert "Ray: 3 nodes" in told
    assert "a fit goes on from epoch" in told
    assert read_runs(tmp_path / "raced") == here


def test_after_the_driver_was_killed_a_rerun_goes_on(tmp_path: Path, nodes: Cluster, here: dict[str, Any]) -> None:
    write_cluster_study(tmp_path)
    stage = start(tmp_path, nodes)
    wait_until(lambda: list((tmp_path / ".dvc" / "tmp" / "frostline").glob("*.json")) and count_saved(tmp_path) > 3)
    stage.kill()
    stage.communicate()
    wait_until(lambda: not list_fits())
    before = read_saved_seconds(tmp_path)
    again = start(tmp_path, nodes)
    told = again.communicate()[0]
    assert again.returncode == 0, told
    assert re.search(r"\d fits? found, trained before", told)
    assert read_runs(tmp_path / "raced") == here
    after = read_saved_seconds(tmp_path)
    assert before
    assert all(after[name][: len(seconds)] == seconds for name, seconds in before.items())  # none was trained again


def test_a_race_on_a_cluster_is_the_race_that_it_would_be_here(tmp_path: Path, nodes: Cluster) -> None:
    found = []
    for workers in ("ray", "local"):
        folder = tmp_path / workers
        folder.mkdir()
        write_cluster_study(folder, racing=True, workers=workers, epochs=4)
        stage = start(folder, nodes)
        told = stage.communicate()[0]
        assert stage.returncode == 0, told
        races = {run: read_json(folder / "raced" / run / "race.json") for run in RUNS}
        found.append((races, read_runs(folder / "raced")))
    assert found[0] == found[1]


def test_a_node_with_other_images_is_named_before_anything_is_trained(tmp_path: Path, nodes: Cluster) -> None:
    write_cluster_study(tmp_path)
    (tmp_path / "prepared" / "labels.npy").write_bytes(b"others")
    stage = start(tmp_path, nodes)
    told = stage.communicate()[0]
    assert stage.returncode == 1
    assert "labels.npy" in told.splitlines()[-1]
    assert "Traceback" not in told
    assert not count_saved(tmp_path)


def test_an_address_at_which_no_cluster_answers_is_one_line(tmp_path: Path, nodes: Cluster) -> None:
    write_cluster_study(tmp_path)
    stage = start(tmp_path, nodes, RAY_ADDRESS="ray://127.0.0.2:9")
    told = stage.communicate()[0]
    assert stage.returncode == 1
    assert told.splitlines()[-1].startswith(
        "RAY_ADDRESS must name a Ray cluster that answers, with Ray and Python as here. Got 'ray://127.0.0.2:9' ("
    )
    assert "Traceback" not in told


@pytest.mark.parametrize("racing", [False, True], ids=["together", "race"])
def test_an_interrupt_ends_it_at_once_and_what_was_trained_is_kept(
    tmp_path: Path, nodes: Cluster, *, racing: bool
) -> None:
    write_cluster_study(tmp_path, racing=racing)
    stage = start(tmp_path, nodes)
    wait_until(lambda: count_saved(tmp_path) > 1)
    stage.send_signal(signal.SIGINT)
    told = stage.communicate(timeout=30)[0]
    assert (stage.returncode, "Traceback" in told) == (130, False), told
    assert count_saved(tmp_path) > 1
    assert not (tmp_path / "raced").exists()


def test_where_what_is_handed_over_finds_no_room_it_is_one_line(tmp_path: Path, nodes: Cluster) -> None:
    write_cluster_study(tmp_path)
    stage = start(tmp_path, nodes, largest_file=20_000)
    told = stage.communicate(timeout=120)[0]
    assert stage.returncode == 1, told
    assert re.match(r"\S+\.pt must be written\. Got 'File too large' instead\. ", told.splitlines()[-1]), told
    assert "Traceback" not in told
