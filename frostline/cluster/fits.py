"""Fits: a study's fits as Ray's tasks, which are sent again, from their last epoch, when what they ran on ended."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import ray
import torch
from ray.exceptions import RayError, RayTaskError
from torch import nn

from frostline.cluster.connecting import Expected, Node, ask_nodes, join_cluster, list_node_ids, stay_on
from frostline.cluster.desk import Collector
from frostline.cluster.node import Asked, Came, Feeds, train_there
from frostline.cluster.progress import Progress
from frostline.errors import InputError, quote_error
from frostline.training.checkpoints import hold
from frostline.training.job import Job, locate_checkpoint
from frostline.training.results import Cell
from frostline.training.workers import SHARE_OF_MEMORY, estimate_bytes

Given = TypeVarTuple("Given")
Answer = TypeVar("Answer")
TICK = 0.5
"""Seconds between two looks at whether a task has ended."""
MOST_TRIES = 5
"""Of a task that comes no further, before what ends it is taken for its own fault."""
MOST_ON_A_GPU = 8
"""Fits: more of them wait for each other's kernels."""


@dataclass
class Cluster:
    """Nodes that answered, what they must have, and what of this study is on them."""

    nodes: list[Node]
    expected: Expected
    progress: Progress
    collector: Collector
    feeds: dict[str, Any] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def has_gpus(self) -> bool:
        """Whether fits are trained on GPUs: they are where there is one, and on no processor beside it."""
        return any(node.gpu_bytes for node in self.nodes)

    def check(self) -> None:
        """Raise what ended the study in another thread."""
        if self.collector.failed is not None:
            raise self.collector.failed
        if self.stopped.is_set():
            raise KeyboardInterrupt

    def find_feeds(self) -> dict[str, Any]:
        """Return the actors that make feeds, by node; a node that came since the last time has a new one.

        GPUs keep what their own fits need.
        """
        with self._lock:
            here = [] if self.has_gpus else list_node_ids()
            make = ray.remote(Feeds)
            self.feeds = {
                node: self.feeds.get(node) or make.options(num_cpus=0, scheduling_strategy=stay_on(node)).remote()
                for node in here
            }
            return self.feeds

    def replace_feed(self, error: BaseException) -> None:
        """Give up the actors that have ended, if it was one that a task missed."""
        with self._lock:
            ended = str(getattr(error, "actor_id", "")) or None
            self.feeds = {node: feed for node, feed in self.feeds.items() if feed._actor_id.hex() != ended}

    def count_slots(self, job: Job) -> int:
        """Return how many fits of the job the cluster trains at once."""
        resources = ray.cluster_resources()
        return max(1, int(resources.get("CPU", 0) // (job.threads * job.training.devices_per_fit)))

    def suit(self, job: Job) -> Job:
        """Return the job as the nodes will do it: in the number format and on the hardware that they tell of."""
        node = next((each for each in self.nodes if each.gpu_bytes), self.nodes[0])
        is_faster = all(each.bfloat16 for each in self.nodes if bool(each.gpu_bytes) == self.has_gpus)
        asked = job.training.precision
        self.check_devices(job.training.devices_per_fit)
        precision = ("bfloat16" if is_faster else "float32") if asked == "auto" else asked
        return replace(job, precision=precision, hardware=(node.kind, node.processor))

    def check_devices(self, wanted: int) -> None:
        """Raise an `InputError` if no node has so many GPUs, or cores where there are none, for one fit."""
        name, what = ("GPU", "GPUs") if self.has_gpus else ("CPU", "cores")
        most = max(int(each["Resources"].get(name, 0)) for each in ray.nodes() if each["Alive"])
        if wanted > most:
            must = f"be at most {most}, the {what} of the node that has most"
            raise InputError.of("training.devices_per_fit", must, str(wanted))

    def share_gpu(self, job: Job, frozen: nn.Sequential) -> float:
        """Return which share of a GPU a fit of the job takes, by its memory; or how many, if it takes several."""
        if not self.has_gpus:
            return 0.0
        if job.training.devices_per_fit > 1:
            return float(job.training.devices_per_fit)
        least = min(node.gpu_bytes for node in self.nodes if node.gpu_bytes)
        return 1 / max(1, min(MOST_ON_A_GPU, int(SHARE_OF_MEMORY * least) // estimate_bytes(job, frozen)))

    def ask(self, do: Callable[[*Given], Answer], *arguments: *Given, cpus: int = 1) -> Answer:
        """Return what the function returns on a node; it is asked again where what it ran on ended."""
        remote = ray.remote(do).options(num_cpus=cpus, num_gpus=0, max_retries=0)
        for _ in range(MOST_TRIES):
            try:
                answer: Answer = ray.get(remote.remote(*arguments))
            except RayError as error:
                last = _tell_of_end(error)
            else:
                return answer
        raise _give_up(last)


@contextmanager
def open_cluster(prepared: Path) -> Iterator[Cluster]:
    """Yield the cluster, once each of its nodes has the prepared images and this code; nothing stays on it.

    At its end, or when this process is interrupted, threads that wait for fits are told to stop.
    """
    with join_cluster():
        expected = Expected.here(prepared)
        nodes = ask_nodes(expected)
        progress = Progress()
        collector = Collector(progress)
        cluster = Cluster(nodes, expected, progress, collector)

        def stop(*_: object) -> None:
            cluster.stopped.set()
            raise KeyboardInterrupt

        usual = signal.signal(signal.SIGINT, stop)
        try:
            print(f"Ray: {len(nodes)} node{'' if len(nodes) == 1 else 's'}, {nodes[0].kind}", flush=True)
            yield cluster
        finally:
            cluster.stopped.set()
            signal.signal(signal.SIGINT, usual)
            collector.close()


def _tell_of_end(error: RayError) -> RayError:
    """Return what ended a task from without; raise what it met itself."""
    if not isinstance(error, RayTaskError):
        return error
    if isinstance(error.cause, InputError):
        raise InputError(str(error.cause)) from None
    if isinstance(error.cause, RayError):
        return error.cause
    raise error


def _give_up(last: RayError) -> InputError:
    must = f"let a fit come further in {MOST_TRIES} tries"
    return InputError.of("the cluster", must, quote_error(last), "No epoch is lost: run it again.")


@dataclass
class Run:
    """A run's fits on the cluster; `job` is as this machine has it, with the checkpoints in its scratch folder."""

    cluster: Cluster
    name: str
    job: Job
    gpu: float = 0.0
    orders: list[Any] = field(default_factory=list)
    ends: dict[Cell, int] = field(default_factory=dict)
    reached: dict[Cell, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Let the nodes have the order, once for all fits."""
        device = torch.device("cuda" if self.cluster.has_gpus else "cpu")
        there = replace(self.job, device=device, logs=None)
        self.orders = [ray.put((there, self.cluster.expected))]

    def train(
        self, phase: int, cells: Sequence[Cell], replicates: list[int], most: int | None = None
    ) -> Iterator[tuple[Cell, Came]]:
        """Yield each cell of the phase when it has ended, or has so many epochs, and what came of it.

        The phase's feed serves these replicates. Raises the `InputError` that a fit met.
        """
        waiting = sorted(cells, key=self.locate, reverse=True)  # all studies wait for each other's in one order
        running: dict[Any, Cell] = {}
        held: dict[Cell, ExitStack] = {}
        try:
            while waiting or running:
                self.cluster.check()
                while waiting and len(running) < 2 * self.cluster.count_slots(self.job):
                    cell = waiting.pop()
                    if cell not in held:
                        held[cell] = _enter(hold(Path(self.locate(cell))))
                    running[self.send(phase, cell, replicates, most)] = cell
                ended, _ = ray.wait(list(running), num_returns=1, timeout=TICK)
                for task in ended:
                    cell = running.pop(task)
                    came = self.receive(task, cell)
                    if came is None:
                        waiting.append(cell)
                        continue
                    held.pop(cell).close()
                    self.note(cell)
                    yield cell, came
        finally:
            for task in running:
                ray.cancel(task, force=True)
            for stack in held.values():
                stack.close()

    def note(self, cell: Cell) -> None:
        """Count the cell as one that runs no more, and as done if it has ended its phase."""
        key = self.locate(cell)
        if Path(key).with_suffix(".json").exists():
            self.cluster.progress.end(key, self.job.phases[len(cell[0]) - 1].epochs)
        else:
            self.cluster.progress.stop(key)

    def locate(self, cell: Cell) -> str:
        """Return where the cell's checkpoint lies on this machine."""
        return str(locate_checkpoint(self.job, *cell))

    def send(self, phase: int, cell: Cell, replicates: list[int], most: int | None) -> Any:
        """Send a task that trains the cell from where it is."""
        rates, replicate = cell
        before = [locate_checkpoint(self.job, rates[:-1], replicate)] if rates[:-1] else []
        checkpoint = locate_checkpoint(self.job, rates, replicate)
        files = (checkpoint, checkpoint.with_suffix(".json"), *before)
        given = {path.name: path.read_bytes() for path in files if path.exists()}
        asked = Asked(
            self.name, phase, rates, replicate, most, str(checkpoint), given, replicates, torch.get_num_threads()
        )
        cpus = self.job.threads * self.job.training.devices_per_fit
        task = ray.remote(train_there).options(
            num_cpus=cpus, num_gpus=self.gpu, max_retries=0, scheduling_strategy="SPREAD"
        )
        return task.remote(self.orders, asked, self.cluster.find_feeds(), self.cluster.collector.desk)

    def receive(self, task: Any, cell: Cell) -> Came | None:
        """Return what came of the cell; None if it must be sent again. Raises the `InputError` that it met."""
        try:
            came: Came = ray.get(task)
        except RayError as error:
            last, key = _tell_of_end(error), self.locate(cell)
            self.cluster.replace_feed(last)
            reached = self.cluster.progress.running.get(key, 0)
            self.ends[cell] = 1 if reached > self.reached.get(cell, 0) else self.ends.get(cell, 0) + 1
            self.reached[cell] = reached
            self.cluster.progress.stop(key)
            if self.ends[cell] >= MOST_TRIES:
                raise _give_up(last) from None
            print(f"{self.name}: a fit goes on from epoch {reached}: {quote_error(last)}", flush=True)
            return None
        return came

    def end(self) -> None:
        """Let the nodes keep nothing of the run."""
        for feed in self.cluster.feeds.values():
            feed.forget.remote(self.name)


def _enter(lock: AbstractContextManager[None]) -> ExitStack:
    stack = ExitStack()
    stack.enter_context(lock)
    return stack
