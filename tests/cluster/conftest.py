"""Clusters of nodes on this machine, and what a study comes to without one."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from ray.cluster_utils import Cluster

from tests.cluster.clustered import NODE, PLANS, read_run, write_cluster_study
from tests.stages.test_race import BACKBONE
from tests.toys import train_toy


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """Return two nodes."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


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
