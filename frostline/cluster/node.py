"""What is run on nodes: the outputs of a prefix, computed once for all fits there, and the fits."""

import os
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from filelock import FileLock, Timeout
from torch import nn

from frostline.backbones.audit import audit, check_loaded
from frostline.backbones.precision import compute_deterministically
from frostline.cluster.connecting import Expected
from frostline.cluster.desk import Report
from frostline.constants import Rates
from frostline.files import check_sums
from frostline.hardware import keep_freed_memory, measure_peak_memory
from frostline.training.checkpoints import read_trained
from frostline.training.grid import Feed, make_feed, train_cell
from frostline.training.job import Job, locate_checkpoint
from frostline.training.loop import Epoch
from frostline.training.prefix_cache import Cache, Layout, StoredInputs, Wanted, map_file, map_outputs
from frostline.training.workers import gather_team

Order = tuple[Job, Expected]
"""What a run is asked to do, and what a node must have for it."""
FOLDER = "frostline-fits"
PAUSE = 0.005
"""Seconds between two looks at whether an answer is there."""


@dataclass(frozen=True)
class Came:
    """What came of a fit so far: its epochs, what its audit found if it has ended, and what its prefix took."""

    history: list[Epoch]
    audited: int
    prefix_seconds: float
    cache: str
    cache_bytes: int
    peak_memory_bytes: int


def settle(order: Order, scratch: Path) -> Job:
    """Return the job as this process does it, with its files in `scratch`."""
    job, expected = order
    expected.check()
    keep_freed_memory()
    compute_deterministically(job.device)
    return replace(job, scratch=scratch)


def find_place() -> Path:
    """Return the folder on this node's disk in which all that fits need lies while they are trained."""
    place = Path(tempfile.gettempdir()) / f"{FOLDER}-{os.getuid()}"
    place.mkdir(exist_ok=True)
    return place


@contextmanager
def borrow_folder() -> Iterator[Path]:
    """Yield a folder on this node's disk, which goes when the process ends, or with the next that borrows one."""
    place = find_place()
    for lock in place.glob("*.lock"):
        try:
            with FileLock(lock, timeout=0):
                _clear(lock)
        except Timeout:
            continue
    own = place / f"{uuid.uuid4().hex}.lock"
    with FileLock(own):  # before there is a folder, lest another takes it for one that was left behind
        folder = own.with_suffix("")
        folder.mkdir()
        try:
            yield folder
        finally:
            _clear(own)


def _clear(lock: Path) -> None:
    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
    lock.unlink(missing_ok=True)


@dataclass(frozen=True)
class Kept:
    """The outputs of a prefix, for all processes of the node: in Ray's store, or in a file at `path` beyond it."""

    layout: Layout
    places: Wanted
    stored: list[Any]
    path: str
    on_disk: bool = False

    def open(self) -> StoredInputs:
        """Return the inputs, which are not copied."""
        if self.path:
            store = map_file(Path(self.path).open("r+b"), self.layout)  # noqa: SIM115 - as long as the store lives
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that they cannot be written to is as it should be
                store = map_outputs(torch.from_numpy(ray.get(self.stored[0])), self.layout)
        return StoredInputs(store, self.places, self.layout, torch.device("cpu"), self.on_disk)


@dataclass(frozen=True)
class Handed:
    """A feed for other processes of the node, and what is kept of its prefix: if nothing, each makes its own."""

    feed: Feed
    kept: Kept | None


class Feeds:
    """An actor, one on each node: makes the feed of a run's phase when its first fit there asks for it."""

    def __init__(self) -> None:  # noqa: D107
        self.made: dict[tuple[str, int], tuple[Handed, Feed | None]] = {}

    def make(self, run: str, orders: list[Any], phase: int, replicates: list[int], threads: int) -> Handed:
        """Return the feed for these replicates, whose prefix runs in so many threads."""
        if (run, phase) not in self.made:
            order: Order = ray.get(orders[0])
            job = settle(order, find_place())
            check_sums(order[1].prepared)
            torch.set_num_threads(threads)
            feed = make_feed(job, phase, replicates)
            audit(feed.prefix, feed.before)  # it runs nowhere else where its outputs are kept
            handed = hand_over(feed, in_file=job.training.devices_per_fit > 1)
            in_file = handed.kept is not None and handed.kept.path
            self.made[run, phase] = handed, feed if in_file else None  # whose file ends with it
        return self.made[run, phase][0]

    def forget(self, run: str) -> None:
        """Keep no feed of the run any longer."""
        self.made = {key: made for key, made in self.made.items() if key[0] != run}


def hand_over(feed: Feed, *, in_file: bool) -> Handed:
    """Return the feed for other processes of this node, what is kept of its prefix as a file if it must be one."""
    inputs = feed.cache.inputs
    bare = replace(feed, prefix=nn.Sequential(), before={}, cache=Cache(_nowhere, feed.cache.place, feed.cache.bytes))
    if not isinstance(inputs, StoredInputs) or inputs.store.file is None:
        return Handed(bare, None)
    file, layout = inputs.store.file, inputs.layout
    path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
    # Beyond the budget it would not fit into Ray's store either, and a fit of several processes hands them a file.
    if (feed.cache.place == "scratch" or in_file) and Path(path).exists():
        return Handed(bare, Kept(layout, inputs.places, [], path, inputs.on_disk))
    stored = [ray.put(np.memmap(file, dtype=np.uint8, mode="r"))]
    return Handed(bare, Kept(layout, inputs.places, stored, ""))


def _nowhere(*_: Any) -> Iterator[Any]:
    raise RuntimeError("A feed that was handed over must be opened first.")


_own: dict[tuple[str, int], Feed] = {}
"""The feed that this process made for itself, the last one."""


@dataclass(frozen=True)
class Asked:
    """A fit that is asked for: of which run and phase, at which rates, in which replicate, up to how many epochs.

    `given` are files of checkpoints that it goes on from, by name; `replicates` are those that its feed serves.
    """

    run: str
    phase: int
    rates: Rates
    replicate: int
    most: int | None
    checkpoint: str
    given: dict[str, bytes]
    replicates: list[int]
    feed_threads: int


def find_feed(asked: Asked, job: Job, handed: Handed | None) -> Feed:
    """Return the feed of the phase: what was handed over if anything is kept, else this process's own."""
    if handed is not None and handed.kept is not None:
        return replace(handed.feed, cache=replace(handed.feed.cache, inputs=handed.kept.open()))
    key = asked.run, asked.phase
    if key not in _own:
        _own.clear()
        budget = job.training.cache_bytes if job.device.type == "cuda" else 0  # a GPU keeps them for itself
        training = job.training.model_copy(update={"cache_bytes": budget})
        _own[key] = make_feed(replace(job, training=training), asked.phase, asked.replicates)
    if handed is not None:
        check_loaded(handed.feed.pretrained, _own[key].pretrained)
    return _own[key]


def wait_for(answer: Any) -> Any:
    """Return the answer once it is there, and keep the core meanwhile.

    Ray gives away the core of a task that waits in `ray.get`, and each that is given it is a process with torch.
    """
    while not ray.wait([answer], timeout=0)[0]:
        time.sleep(PAUSE)
    return ray.get(answer)


def train_there(orders: list[Any], asked: Asked, feeds: Mapping[str, Any], desk: Any) -> Came:
    """Train the fit, handing over each epoch; return what came of it. The order stands alone in the list, unread."""
    wait_for(desk.hand_over.remote(Report(asked.checkpoint, {}, 0)))
    order: Order = ray.get(orders[0])
    with borrow_folder() as folder:
        job = settle(order, folder)
        for name, content in asked.given.items():
            (folder / name).write_bytes(content)
        mine, handed = feeds.get(ray.get_runtime_context().get_node_id()), None
        if mine is not None:
            wanted = (asked.run, orders, asked.phase, asked.replicates, asked.feed_threads)
            handed = wait_for(mine.make.remote(*wanted))
        torch.set_num_threads(job.threads)
        feed = find_feed(asked, job, handed)
        labels = torch.tensor(job.data.labels, device=job.device)  # a copy: what Ray hands over cannot be written to
        checkpoint = locate_checkpoint(job, asked.rates, asked.replicate)
        cell = asked.rates, asked.replicate
        with gather_team(job, feed, [cell], asked.most) as team:
            for epochs, fit in enumerate(train_cell(job, feed, labels, *cell, team)):
                if epochs:
                    report = Report(asked.checkpoint, {".pt": checkpoint.read_bytes()}, len(fit.of_phase))
                    wait_for(desk.hand_over.remote(report))
                if asked.most is not None and len(fit.history) >= asked.most:
                    break
        if read_trained(checkpoint) is not None:
            files = {suffix: checkpoint.with_suffix(suffix).read_bytes() for suffix in (".pt", ".json")}
            wait_for(desk.hand_over.remote(Report(asked.checkpoint, files, len(fit.of_phase))))
        took = feed.seconds, feed.cache.place, feed.cache.bytes, measure_peak_memory()
        return Came(fit.history, fit.audited or 0, *took)
