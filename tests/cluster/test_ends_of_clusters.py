"""Clusters that are reached from outside, that grow, or on which no fit comes any further."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from tests.cluster.clustered import (
    NODE,
    count_saved,
    list_fits,
    read_runs,
    start,
    wait_until,
    write_cluster_study,
)

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread")]
PORT = 25_001


@pytest.fixture(scope="module")
def reached() -> Iterator[Cluster]:
    """Return one node, which others may reach by ray://, and which says that it has a GPU that torch does not see."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"ray_client_server_port": PORT, "num_gpus": 1})
    yield cluster
    cluster.shutdown()


def test_by_ray_client_the_runs_have_the_same_bytes(tmp_path: Path, reached: Cluster, here: dict[str, Any]) -> None:
    write_cluster_study(tmp_path)
    stage = start(tmp_path, reached, RAY_ADDRESS=f"ray://127.0.0.2:{PORT}")
    told = stage.communicate()[0]
    assert stage.returncode == 0, told
    assert "Ray: 1 node, cpu (" in told
    assert read_runs(tmp_path / "raced") == here


def test_a_node_that_comes_later_trains_too(tmp_path: Path, reached: Cluster, here: dict[str, Any]) -> None:
    write_cluster_study(tmp_path)
    stage = start(tmp_path, reached)
    wait_until(lambda: count_saved(tmp_path) > 0)
    later = reached.add_node(**NODE)
    wait_until(lambda: len(list_fits()) > 1)
    told = stage.communicate()[0]
    assert stage.returncode == 0, told
    reached.remove_node(later)
    assert "Ray: 1 node, cpu (" in told
    assert read_runs(tmp_path / "raced") == here


def test_a_fit_that_comes_no_further_in_five_tries_ends_the_study_in_one_line(tmp_path: Path, reached: Cluster) -> None:
    write_cluster_study(tmp_path, epochs=4000)
    stage = start(tmp_path, reached)
    while stage.poll() is None:
        for process in list_fits():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    told = stage.communicate()[0]
    assert stage.returncode == 1, told
    assert told.splitlines()[-1].startswith("the cluster must let a fit come further in 5 tries. Got "), told
    assert told.splitlines()[-1].endswith(" No epoch is lost: run it again.")
    assert len(re.findall(r"a fit goes on from epoch 0: ", told)) >= 4
    assert "Traceback" not in told
