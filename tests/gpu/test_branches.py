"""What is decided by whether there is a GPU: of a cluster's nodes, of a team's processes, and of what is kept where."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from frostline.distributed import processes
from frostline.training import workers
from frostline.training.job import Job
from tests import toys
from tests.toys import plan, training

GPU = torch.device("cuda")
ON_GPU, ON_CPU = (
    SimpleNamespace(gpu_bytes=gpu_bytes, kind=kind, processor=f"a {kind}", bfloat16=bfloat16)
    for gpu_bytes, kind, bfloat16 in ((80_000_000_000, "cuda", True), (0, "cpu", False))
)


def asked(folder: Path, **changes: object) -> Job:
    return toys.job("cnn3", plan(from_="head", weights="none"), folder, training(**changes))


@pytest.fixture
def fits() -> Any:
    return pytest.importorskip("frostline.cluster.fits")


def make_cluster(fits: Any, *nodes: object) -> Any:
    return fits.Cluster(list(nodes), None, None, None)


def test_a_cluster_with_a_gpu_computes_as_that_one_and_leaves_its_prefixes_to_it(
    fits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [{"Alive": True, "Resources": {"GPU": 2, "CPU": 8}}]
    monkeypatch.setattr(fits.ray, "nodes", lambda: nodes)
    cluster, put = make_cluster(fits, ON_CPU, ON_GPU), []
    assert cluster.has_gpus
    assert cluster.find_feeds() == {}
    suited = cluster.suit(asked(tmp_path, precision="auto", devices_per_fit=2))
    assert (suited.precision, suited.hardware) == ("bfloat16", ("cuda", "a cuda"))
    with pytest.raises(ValueError, match=r"be at most 2, the GPUs of the node that has most. Got 3 instead."):
        cluster.check_devices(3)
    monkeypatch.setattr(fits.ray, "put", put.append)
    fits.Run(cluster, "a run", suited)
    assert put[0][0].device == GPU


def test_a_cluster_without_one_computes_on_its_processors(
    fits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8}}])
    put: list[Any] = []
    monkeypatch.setattr(fits.ray, "put", put.append)
    cluster = make_cluster(fits, ON_CPU)
    suited = cluster.suit(asked(tmp_path, precision="auto"))
    assert (suited.precision, suited.hardware) == ("float32", ("cpu", "a cpu"))
    fits.Run(cluster, "a run", suited)
    assert put[0][0].device.type == "cpu"


def test_a_node_tells_of_its_gpu_and_its_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    connecting = pytest.importorskip("frostline.cluster.connecting")
    monkeypatch.setattr(connecting, "choose_device", lambda: GPU)
    monkeypatch.setattr(connecting, "check_sums", lambda _: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80_000_000_000))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    told = connecting.tell_of_node(SimpleNamespace(check=lambda: None, prepared=tmp_path))
    assert (told.processor, told.gpu_bytes, told.bfloat16) == ("a GPU", 80_000_000_000, True)
    assert told.kind.startswith("cuda (")


@pytest.mark.parametrize(("device", "budget"), [(GPU, 123), (torch.device("cpu"), 0)])
def test_a_process_that_is_handed_no_feed_keeps_outputs_on_a_gpu_alone(
    device: torch.device, budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[int] = []

    def make_feed(job: Job, *_: object) -> Any:
        budgets.append(job.training.cache_bytes)
        return SimpleNamespace(pretrained={})

    monkeypatch.setattr(workers, "make_feed", make_feed)
    job = replace(asked(tmp_path, cache_bytes=123), device=device)
    workers.make_own_feed(job, 1, {})
    node = pytest.importorskip("frostline.cluster.node")
    monkeypatch.setattr(node, "make_feed", make_feed)
    monkeypatch.setattr(node, "_own", {})
    node.find_feed(SimpleNamespace(run="a run", phase=1, replicates=[0]), job, None)
    assert budgets == [budget, budget]


@pytest.mark.parametrize(("kind", "backend"), [("cuda", "nccl"), ("cpu", "gloo")])
def test_a_process_of_a_team_takes_the_device_of_its_rank(
    kind: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    opened: list[tuple[str, int, int]] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(processes, "FileStore", lambda *_: None)
    monkeypatch.setattr(
        processes.distributed, "init_process_group",
        lambda name, *, rank, world_size, store: opened.append((name, rank, world_size)),  # noqa: ARG005
    )  # fmt: skip
    monkeypatch.setattr(processes.distributed, "new_group", lambda **how: how["backend"])
    monkeypatch.setattr(processes.distributed, "destroy_process_group", lambda: None)
    followed: list[torch.device] = []
    monkeypatch.setattr(processes, "end_with_parent", lambda: None)

    def follow(_team: object, device: torch.device) -> None:
        followed.append(device)

    processes._join(None, tmp_path / "team", 1, 2, kind, follow, ())  # type: ignore[arg-type]
    assert opened == [(backend, 1, 2)]
    assert chosen == ([1] if kind == "cuda" else [])
    assert followed == [torch.device(kind, 1) if kind == "cuda" else torch.device(kind)]


def test_on_a_gpu_the_benchmark_s_other_scripts_compute_as_who_knows_gpus_would_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks import machine, plain_script

    monkeypatch.setattr(machine, "IS_GPU", True)
    monkeypatch.setattr(machine, "name_processor", lambda _: "NVIDIA H200 (SXM)")
    assert machine.name_kind() == "nvidia-h200-sxm"
    placed = machine.place(nn.Conv2d(3, 8, 3))
    assert next(placed.parameters()).is_contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(plain_script, "IS_GPU", True)
    ((pixels, labels),) = plain_script.move(iter([(torch.zeros(2, 3, 4, 4), torch.zeros(2))]))
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert labels.shape == (2,)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    with plain_script.compute():
        assert torch.get_autocast_dtype("cuda") == torch.bfloat16
        assert torch.is_autocast_enabled("cuda")
