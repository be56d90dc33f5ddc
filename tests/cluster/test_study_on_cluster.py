"""A study whose fits are trained on the nodes of a cluster comes out as where they are trained here, whatever ends."""

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.cluster_utils import Cluster

from frostline.files import read_json
from tests.cluster.clustered import (
    NODE,
    RUNS,
    count_saved,
    list_fits,
    read_runs,
    read_saved_seconds,
    start,
    wait_until,
    write_cluster_study,
)
from tests.stages.test_race import BACKBONE
from tests.toys import train_toy

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread")]


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
