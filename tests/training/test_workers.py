"""Fits that are trained side by side are those that are trained one after the other."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from frostline.backbones.audit import AuditError
from frostline.errors import InputError
from frostline.training import workers
from frostline.training.checkpoints import Trained, read_best
from frostline.training.grid import make_feed
from frostline.training.job import Job, locate_checkpoint
from frostline.training.loop import Epoch
from frostline.training.results import build_frozen_backbone
from frostline.training.workers import count_workers, share_cores, train_fits
from tests import toys
from tests.project import ROOT
from tests.toys import differing, plan, training
from tests.training.fits import PLACES

AT_ONCE = 2


def asked(folder: Path, first: str = "head", place: str = "memory", **changes: object) -> Job:
    """Return a job with four cells. Frozen weights must be the same for all replicates, and random ones are not."""
    folder.mkdir(exist_ok=True)
    name, weights = ("cnn3", "none") if first == "stem" else ("efficientnet_lite0", "pretrained")
    taught = training(cache_bytes=PLACES[place], **changes)
    return replace(toys.job(name, plan(from_=first, weights=weights), folder, taught), threads=1)


def fit_all(job: Job, at_once: int) -> dict[tuple[float, int], Trained]:
    fits = train_fits(job, make_feed(job), toys.cells(job), at_once, lambda _: None)
    return {(fit.rates[0], fit.replicate): fit for fit in fits}


def timeless(fit: Trained) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in fit.history]


@pytest.mark.parametrize(
    ("first", "place"), [("head", "memory"), ("head", "scratch"), ("head", "off"), ("stem", "memory")],
    ids=["memory", "scratch", "off", "no prefix"],
)  # fmt: skip
def test_fits_side_by_side_are_bit_for_bit_those_one_after_the_other(first: str, place: str, tmp_path: Path) -> None:
    beside, alone = (asked(tmp_path / name, first, place) for name in ("beside", "alone"))
    fits, expected = fit_all(beside, AT_ONCE), fit_all(alone, 1)
    assert set(fits) == {(0.001, 0), (0.001, 1), (0.01, 0), (0.01, 1)}
    for (rate, replicate), fit in fits.items():
        assert timeless(fit) == timeless(expected[rate, replicate])
        assert fit.audited == expected[rate, replicate].audited
        mine, other = (read_best(locate_checkpoint(job, (rate,), replicate)) for job in (beside, alone))
        assert differing(mine, other) == set()


def test_epochs_are_told_as_they_end_and_those_that_an_early_end_spared_too(tmp_path: Path) -> None:
    job = asked(tmp_path, "stem", epochs=50, patience=1)
    heard: list[int] = []
    fits = list(train_fits(job, make_feed(job), toys.cells(job), AT_ONCE, heard.append))
    assert sum(len(fit.history) for fit in fits) < 50 * len(toys.cells(job))
    assert sum(heard) == 50 * len(toys.cells(job))
    assert len(heard) > len(fits)


def test_what_a_worker_refuses_is_raised_here_and_no_worker_is_left(tmp_path: Path) -> None:
    job = asked(tmp_path)
    feed = make_feed(job)
    meddled = replace(feed, pretrained=dict.fromkeys(feed.pretrained, "other"))
    with pytest.raises(AuditError):
        list(train_fits(job, meddled, toys.cells(job), AT_ONCE, lambda _: None))
    assert multiprocessing.active_children() == []


def test_a_worker_that_the_system_ends_is_told_of_in_one_line(tmp_path: Path) -> None:
    job = asked(tmp_path, epochs=1000, patience=1000)
    heard: list[int] = []

    def end_one(epochs: int) -> None:
        heard.append(epochs)
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    line = r"^memory must hold the fits that are trained at once\. Got a process that the system ended instead\. No"
    with pytest.raises(InputError, match=line):
        list(train_fits(job, make_feed(job), toys.cells(job), AT_ONCE, end_one))
    assert multiprocessing.active_children() == []


def test_workers_end_with_a_run_that_was_killed(tmp_path: Path) -> None:
    code = """
import multiprocessing, os
from pathlib import Path
from frostline.training.grid import make_feed
from frostline.training.workers import train_fits
from tests import toys
from tests.training.test_workers import asked
if __name__ == "__main__":
    job = asked(Path.cwd() / "scratch", epochs=1000, patience=1000)
    def end(_):
        print(*(process.pid for process in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), 9)
    list(train_fits(job, make_feed(job), toys.cells(job), 2, end))
"""
    script = tmp_path / "run.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    left = [Path("/proc", pid) for pid in done.stdout.split()]
    assert len(left) == AT_ONCE
    until = time.monotonic() + 60
    while any(process.exists() and "Z" not in (process / "stat").read_text().split()[2] for process in left):
        assert time.monotonic() < until, "a worker goes on"
        time.sleep(0.1)


@pytest.fixture
def _sixteen_cores() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(16)
    yield
    torch.set_num_threads(usual)


def frozen(job: Job) -> nn.Sequential:
    return build_frozen_backbone(job, "asked")


@pytest.mark.usefixtures("_sixteen_cores")
@pytest.mark.parametrize(("rates", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_all_cores_work_however_few_fits_there_are(rates: int, threads: int, tmp_path: Path) -> None:
    several = plan(from_="stem", weights="none", learning_rates=[0.001 * (1 + rate) for rate in range(rates)])
    job = replace(asked(tmp_path), plan=several)  # two replicates
    assert share_cores(job, frozen(job)).threads == threads


@pytest.mark.usefixtures("_sixteen_cores")
def test_no_more_fits_are_trained_at_once_than_memory_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = asked(tmp_path, "stem")
    needed = workers.estimate_bytes(job, frozen(job))
    monkeypatch.setattr(workers, "WORTH_A_PROCESS", 0)
    for fits, threads in ((0.5, 16), (1.1, 16), (2.1, 8), (3.9, 5), (4.1, 4), (100, 4)):
        monkeypatch.setattr(workers, "measure_memory", lambda fits=fits: fits * needed / workers.SHARE_OF_MEMORY)
        shared = share_cores(job, frozen(job))
        assert (shared.threads, count_workers(shared, frozen(job), 1)) == (threads, 16 // threads)


def test_a_larger_batch_is_estimated_to_take_more_by_what_its_images_save_twice(tmp_path: Path) -> None:
    small, large = (asked(tmp_path, "stem", batch_size=size) for size in (24, 48))
    more = workers.estimate_bytes(large, frozen(large)) - workers.estimate_bytes(small, frozen(small))
    # Of cnn3 at 32 px, autograd saves of an image at least what comes out of its first convolution, norm and ReLU.
    assert more > 2 * 24 * 3 * 32 * 32 * 4 * 8


@pytest.mark.usefixtures("_sixteen_cores")
def test_a_gpu_takes_one_fit_after_the_other(tmp_path: Path) -> None:
    job = replace(asked(tmp_path), device=torch.device("cuda"), threads=16)
    assert share_cores(job, frozen(job)).threads == 16


@pytest.mark.usefixtures("_sixteen_cores")
def test_fits_that_are_done_sooner_than_a_process_starts_are_trained_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = share_cores(asked(tmp_path), frozen(asked(tmp_path)))
    assert (job.threads, count_workers(job, frozen(job), 1)) == (4, 1)
    monkeypatch.setattr(workers, "WORTH_A_PROCESS", 1)
    assert count_workers(job, frozen(job), 1) == 4
