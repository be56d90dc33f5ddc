"""A team's processes: the first starts the others, which run a function beside it, and end with it or before it."""

import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, TypeVarTuple

import torch
from torch import distributed
from torch.distributed import DistError, FileStore  # type: ignore[attr-defined]

from frostline.distributed.team import ALONE, Team
from frostline.errors import InputError

Given = TypeVarTuple("Given")
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
"""What carries tensors between processes, by the type of device that they are on."""
LONGEST_WAIT = timedelta(days=30)
"""For another process that trains the same fit."""
ENDS_WITHIN = 10.0
"""Seconds that a process has to tell of an error that it met, or to end when it is told to."""
TICK = 0.02
"""Seconds between two looks at whether all have come."""
ENDED = "a process that the system ended"


def check_devices(wanted: int, kind: str) -> None:
    """Raise an `InputError` if this machine has not so many devices of the kind: a core of a processor is one."""
    here = torch.cuda.device_count() if kind == "cuda" else os.cpu_count() or 1
    if wanted > here:
        what = "GPUs" if kind == "cuda" else "cores"
        raise InputError.of("training.devices_per_fit", f"be at most {here}, the {what} of this machine", str(wanted))


@contextmanager
def open_team(
    size: int, kind: str, follow: Callable[[Team, torch.device, *Given], None], *given: *Given
) -> Iterator[Team]:
    """Yield this process's place in a team of so many, whose others run `follow` on devices of the kind beside it.

    What they call together they must call in one order. All of them end when this does. Raises the `InputError` that
    another met, where this one waits for it in vain.
    """
    if size == 1:
        yield ALONE
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([follow.__module__])  # imported once, by the process from which others are forked
    told: SimpleQueue[tuple[bool, str]] = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "team"
        others = [
            context.Process(target=_join, args=(told, place, rank, size, kind, follow, given), daemon=True)
            for rank in range(1, size)
        ]
        for other in others:
            other.start()
        try:
            _await(place, others)
            with _take_place(place, 0, size, kind) as team:
                yield team
        except RuntimeError as error:
            is_torchs = type(error) is RuntimeError or isinstance(error, DistError)  # as where another is gone
            cause = _find_cause(others, told) if is_torchs else None
            if cause is None:
                raise
            raise cause from error
        finally:
            _end(others)


def _await(place: Path, others: Sequence[BaseProcess]) -> None:
    """Return when all others have come. Raises `RuntimeError` if one has ended: torch would wait for it."""
    while missing := [rank for rank in range(1, len(others) + 1) if not _locate_note(place, rank).exists()]:
        if any(others[rank - 1].exitcode is not None for rank in missing):
            raise RuntimeError("A process of the team has ended before it came.")
        time.sleep(TICK)


def _locate_note(place: Path, rank: int) -> Path:
    """Return the file by which a process says that it has come."""
    return place.with_name(f"rank-{rank}")


def _end(others: Sequence[BaseProcess]) -> None:
    """Return when these processes are gone."""
    for end in (BaseProcess.terminate, BaseProcess.kill):
        for other in others:
            if other.is_alive():
                end(other)
        for other in others:
            other.join(ENDS_WITHIN)


def _find_cause(others: Sequence[BaseProcess], told: "SimpleQueue[tuple[bool, str]]") -> Exception | None:
    """Return what another process met, if that is why this one did not come further."""
    for other in others:
        other.join(ENDS_WITHIN)
    if not told.empty():
        is_input, line = told.get()
        return InputError(line) if is_input else RuntimeError(line)
    if any(other.exitcode for other in others):
        return InputError.of("the machine", "let all processes of a fit run", ENDED, "No epoch is lost: run it again.")
    return None


def _join(
    told: "SimpleQueue[tuple[bool, str]]",
    place: Path,
    rank: int,
    size: int,
    kind: str,
    follow: Callable[..., None],
    given: tuple[Any, ...],
) -> None:
    """Be one of the others, until the function has ended."""
    end_with_parent()
    try:
        with _take_place(place, rank, size, kind) as team:
            follow(team, torch.device(kind, rank) if kind == "cuda" else torch.device(kind), *given)
    except InputError as error:
        told.put((True, str(error)))
    except Exception:  # noqa: BLE001 - whatever it is, the first process tells of it
        told.put((False, traceback.format_exc()))


@contextmanager
def _take_place(place: Path, rank: int, size: int, kind: str) -> Iterator[Team]:
    """Yield this process's place, once all have come to the file `place`."""
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)  # they are all on this machine
    if kind == "cuda":
        torch.cuda.set_device(rank)
    _locate_note(place, rank).touch()
    store = FileStore(str(place), size)
    distributed.init_process_group(BACKENDS[kind], store=store, rank=rank, world_size=size)
    try:
        yield Team(rank, size, distributed.new_group(backend="gloo", timeout=LONGEST_WAIT))
    finally:
        distributed.destroy_process_group()


def end_with_parent() -> None:
    """Let this process end when the one that started it is interrupted, or gone."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
