"""The desk: an actor at which fits hand over what they came to, and wait until this machine has it on its disk."""

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline.cluster.progress import Progress
from frostline.files import open_whole_file

WAITS = 0.5
"""Seconds for which the desk is asked before it is asked again."""


@dataclass(frozen=True)
class Report:
    """What a fit, named by where its checkpoint lies on this machine, came to: its files, by suffix, and its epochs."""

    checkpoint: str
    files: dict[str, bytes]
    epochs: int


class Desk:
    """Holds reports until they are taken, and each fit up until what it reported is kept."""

    def __init__(self) -> None:  # noqa: D107
        self.reports: list[tuple[int, Report]] = []
        self.waiting: dict[int, asyncio.Event] = {}
        self.came = asyncio.Event()
        self.handed = 0

    async def hand_over(self, report: Report) -> None:
        """Return once the report is kept."""
        self.handed += 1
        kept = self.waiting[self.handed] = asyncio.Event()
        self.reports.append((self.handed, report))
        self.came.set()
        await kept.wait()

    async def take(self, kept: list[int]) -> list[tuple[int, Report]]:
        """Return the reports that are new, as soon as there are any; those that are named have been `kept`."""
        for number in kept:
            self.waiting.pop(number).set()
        if not self.reports:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.came.wait(), WAITS)
        self.came.clear()
        taken, self.reports = self.reports, []
        return taken


class Collector:
    """Brings what lies at the desk to this machine's disk, in a thread, and opens another desk where one is gone."""

    def __init__(self, progress: Progress) -> None:  # noqa: D107
        self.progress = progress
        self.desk = open_desk()
        self.failed: BaseException | None = None
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take nothing more."""
        self._ends.set()
        self._thread.join()

    def _collect(self) -> None:
        import ray

        kept: list[int] = []
        while not self._ends.is_set():
            try:
                reports = ray.get(self.desk.take.remote(kept))
                for _, report in reports:
                    self.keep(report)
                kept = [number for number, _ in reports]
            except ray.exceptions.RayActorError:
                self.desk, kept = open_desk(), []
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where fits are waited for
                self.failed = error
                return

    def keep(self, report: Report) -> None:
        """Write the files of the report, whole or not at all, what says that they are finished last."""
        checkpoint = Path(report.checkpoint)
        for suffix in sorted(report.files, reverse=True):
            with open_whole_file(checkpoint.with_suffix(suffix)) as unfinished:
                unfinished.write_bytes(report.files[suffix])
        self.progress.note(report.checkpoint, report.epochs)


def open_desk() -> Any:
    """Return a new desk, which is on this machine's node if it can be."""
    import ray

    from frostline.cluster.connecting import stay_on

    where = stay_on(ray.get_runtime_context().get_node_id(), soft=True)
    return ray.remote(Desk).options(num_cpus=0, max_concurrency=10_000, scheduling_strategy=where).remote()
