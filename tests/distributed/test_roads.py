"""Every stage that trains lets so many devices train each fit together: race, train, finish, and a cluster's nodes."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from frostline.files import read_json
from tests import toys
from tests.cluster.clustered import read_run, wait_until
from tests.model.finished import make_model
from tests.project import ROOT
from tests.stages.test_race import BACKBONE, write_race
from tests.toys import list_checkpoints, train_toy

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread")]
NO_DEVICE = "training.devices_per_fit must be at most {}, the cores of {}. Got {} instead."
RUNS = (f"{BACKBONE}-part", f"{BACKBONE}-all")
CORES = os.cpu_count() or 1


def write_wide_race(folder: Path, *, racing: bool, workers: str = "local", devices: int = 2) -> None:
    """Write the study of a race whose fits are trained by so many devices each."""
    folder.mkdir(exist_ok=True)
    write_race(folder, racing=racing)
    toys.set_params(folder, study__plans=["part", "all"], training__workers=workers, training__devices_per_fit=devices)


def start_race(folder: Path) -> "subprocess.Popen[str]":
    """Start the race as dvc would, in a process whose threads two devices share."""
    asked = ("--params", "params.yaml", "--prepared", "prepared", "--out", "raced")
    known = {"DVC_ROOT": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    there = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | known
    return subprocess.Popen(
        [sys.executable, "-m", "stages.race", *asked],
        cwd=folder, env=there, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def hold_race(folder: Path) -> str:
    """Hold the race to its end; return what it told."""
    return start_race(folder).communicate()[0]


def list_processes(folder: Path) -> list[int]:
    """Return the processes that work in the folder."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if cwd.readlink() == folder:
                found.append(int(cwd.parent.name))
    return found


def test_a_race_over_two_devices_trains_what_the_grid_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wide_race(tmp_path, racing=True)
    told = hold_race(tmp_path)
    raced = tmp_path / "raced" / f"{BACKBONE}-all"
    assert raced.is_dir(), told
    write_wide_race(tmp_path / "grid", racing=False)
    monkeypatch.chdir(tmp_path / "grid")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "grid"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    alone = train_toy(tmp_path / "grid", "all", backbone=BACKBONE)
    assert read_json(alone / "run.json")["threads"] == read_json(raced / "run.json")["threads"] == 1
    for name in ("replicate-0.safetensors", "replicate-1.safetensors"):
        assert (alone / name).read_bytes() == (raced / name).read_bytes(), name


@pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux's /proc")
def test_a_race_that_is_killed_leaves_no_process_behind_and_comes_out_the_same(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        write_wide_race(folder, racing=True)
    told = hold_race(whole)
    stage = start_race(killed)
    wait_until(lambda: list_checkpoints(killed))
    assert len(list_processes(killed)) > 2  # the stage, its workers, and the others of their teams
    stage.kill()
    stage.communicate()
    wait_until(lambda: not list_processes(killed))
    hold_race(killed)
    for run in RUNS:
        assert read_run(killed / "raced" / run) == read_run(whole / "raced" / run), told


def test_a_cluster_whose_fits_have_two_devices_each_trains_what_this_machine_trains(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    write_wide_race(here, racing=True)
    write_wide_race(there, racing=True, workers="ray")
    of_here, of_there = hold_race(here), hold_race(there)
    assert "Ray: 1 node" in of_there, of_there
    for run in RUNS:
        assert read_run(here / "raced" / run) == read_run(there / "raced" / run), (of_here, of_there)


@pytest.mark.skipif(CORES >= 36, reason="a batch has 36 images")
@pytest.mark.parametrize(("workers", "whose"), [("local", "this machine"), ("ray", "the node that has most")])
def test_more_devices_than_there_are_end_the_stage_in_one_line(tmp_path: Path, workers: str, whose: str) -> None:
    write_wide_race(tmp_path, racing=True, workers=workers, devices=CORES + 1)
    toys.set_params(tmp_path, training__batch_size=36)
    told = hold_race(tmp_path).strip().splitlines()
    assert told[-1].endswith(NO_DEVICE.format(CORES, whose, CORES + 1)), told
    assert "Traceback" not in "".join(told)


def test_the_model_that_two_devices_leave_is_that_of_one_to_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    models = {}
    for devices in (1, 2):
        toy = tmp_path / str(devices)
        monkeypatch.setenv("DVC_ROOT", str(toy))
        toys.write_study(toy)
        toys.set_params(toy, training__devices_per_fit=devices)
        models[devices] = make_model(toy, "head")
    assert capfd.readouterr().out.count("finish: epoch 1 of ") == 2  # once for each model, whatever its processes
    one, two = (load_file(models[devices] / "model.safetensors") for devices in (1, 2))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4)
    audited = [read_json(models[devices] / "model.json")["trained"]["audited_tensors"] for devices in (1, 2)]
    assert audited[0] == audited[1] > 0
