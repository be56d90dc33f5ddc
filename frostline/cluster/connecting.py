"""Connecting: a study joins a cluster, or starts one on this machine, and its nodes are asked what they have."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from frostline.errors import InputError, quote_error
from frostline.files import SUMS, check_sums, hash_file
from frostline.hardware import choose_device, name_processor, resolve_precision, tell_kind
from frostline.training.checkpoints import CODE, PACKAGE, hash_code

ADDRESS = "RAY_ADDRESS"
HANDED_ON = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "TORCH_HOME")
"""What of this process's environment nodes have too, where it is set: how to compute, and where weights lie."""
LOOPBACK = "127.0.0.1"
"""Where a cluster on this machine listens: nobody else can reach it."""


def require_ray() -> None:
    """Raise an `InputError` if Ray is not installed."""
    if find_spec("ray") is None:
        fix = "`pip install 'frostline[ray]'` brings it."
        raise InputError.of("training.workers", "be local where Ray is not installed", "ray", fix)


@contextmanager
def join_cluster() -> Iterator[None]:
    """Join the cluster that `RAY_ADDRESS` names, or start Ray on this machine; leave it at the end."""
    import ray

    environment = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    environment |= {"PYTHONPATH": str(PACKAGE.parent), "OMP_WAIT_POLICY": "passive"}
    address = os.environ.get(ADDRESS)
    here: dict[str, Any] = {} if address else {"include_dashboard": False, "_node_ip_address": LOOPBACK}
    try:
        ray.init(
            address or "local", log_to_driver=False, logging_level="ERROR",
            runtime_env={"env_vars": environment}, **here,
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        must = "name a Ray cluster that answers, with Ray and Python as here"
        raise InputError.of(ADDRESS, must, f"{address!r} ({quote_error(error)})") from None
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class Expected:
    """What a node must have where this machine has it: the folder of the study, the same code, torch and images."""

    root: Path
    prepared: Path
    code: str
    torch: str
    sums: str

    @classmethod
    def here(cls, prepared: Path) -> "Expected":
        """Return what this machine has."""
        sums = hash_file(prepared / SUMS)
        return cls(Path.cwd(), prepared.absolute(), hash_code(*CODE), torch.__version__, sums)

    def check(self) -> None:
        """Raise an `InputError` about what this node has not; from then on the study's folder is the current one."""
        node = f"node {name_node()}"
        if not self.root.is_dir():
            fix = "Share it, or clone the repository there and `dvc pull data/prepared`."
            raise InputError.of(node, f"have the folder {self.root}", "none", fix)
        os.chdir(self.root)
        if not (self.prepared / SUMS).is_file() or hash_file(self.prepared / SUMS) != self.sums:
            must = f"have the images of the study in {self.prepared}"
            got = "others" if (self.prepared / SUMS).is_file() else "none"
            raise InputError.of(node, must, got, "`dvc pull data/prepared` there brings them.")
        for what, there, wanted in (
            ("torch", torch.__version__, self.torch), ("Frostline's code", hash_code(*CODE), self.code)
        ):  # fmt: skip
            if there != wanted:
                raise InputError.of(node, f"have the {what} of this machine, {wanted[:12]}", repr(there[:12]))


@dataclass(frozen=True)
class Node:
    """What a node told of itself: how it computes, with what, and the memory of its GPU, 0 if it has none.

    `bfloat16` says whether that is what "auto" is there.
    """

    kind: str
    processor: str
    gpu_bytes: int
    bfloat16: bool


def tell_of_node(expected: Expected) -> Node:
    """Return what this node is, once its images are found to be what they should be."""
    expected.check()
    check_sums(expected.prepared)
    device = choose_device()
    gpu_bytes = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
    bfloat16 = resolve_precision("auto", device) == "bfloat16"
    return Node(tell_kind(device), name_processor(device), gpu_bytes, bfloat16)


def name_node() -> str:
    """Return the address of this node."""
    import ray

    return str(ray.util.get_node_ip_address())


def list_node_ids() -> list[str]:
    """Return the nodes that are there and have processors to compute on."""
    import ray

    return [each["NodeID"] for each in ray.nodes() if each["Alive"] and each["Resources"].get("CPU", 0) > 0]


def stay_on(node: str, *, soft: bool = False) -> Any:
    """Return how Ray is told that something runs on the node; `soft`: if it can."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=soft)


def ask_nodes(expected: Expected) -> list[Node]:
    """Return what each node tells of itself, or raise the `InputError` of the first that cannot take part."""
    import ray

    ask = ray.remote(tell_of_node)
    has_gpu = {each["NodeID"]: each["Resources"].get("GPU", 0) > 0 for each in ray.nodes()}
    asked = [
        ask.options(
            num_cpus=0, num_gpus=0.01 if has_gpu[node] else 0, scheduling_strategy=stay_on(node)
        ).remote(expected)
        for node in list_node_ids()
    ]  # fmt: skip
    try:
        nodes: list[Node] = ray.get(asked)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause)) from None
        raise
    kinds = sorted({node.kind for node in nodes})
    if len(kinds) > 1:
        print(f"Nodes compute as {' and '.join(kinds)}: the last digits depend on where a fit was trained", flush=True)
    return nodes
