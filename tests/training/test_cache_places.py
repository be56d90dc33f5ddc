"""A cache takes the bytes that it says, where it says, and leaves nothing."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from frostline.training.grid import build_frozen, make_feed
from frostline.training.prefix_cache import cache_inputs, choose_place
from tests import toys
from tests.project import ROOT
from tests.toys import CPU, plan, train, training
from tests.training.cached import BUDGETS, count_up, kept_places

linux = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into Linux's /proc")


@pytest.mark.parametrize(
    ("needed", "budget", "place"),
    [(100, 100, "memory"), (100, 1_000, "memory"), (101, 100, "scratch"), (100, 1, "scratch"), (1, 0, "off")],
)
def test_what_the_budget_holds_is_kept_in_memory_the_rest_in_scratch_and_a_budget_of_0_keeps_nothing(
    needed: int, budget: int, place: str, tmp_path: Path
) -> None:
    assert choose_place(needed, budget, tmp_path / "new") == place


def test_scratch_takes_at_most_half_of_the_free_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_place(shutil.disk_usage(tmp_path).total, 1, tmp_path) == "off"
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1_000, 800, 200))
    assert [choose_place(needed, 1, tmp_path) for needed in (99, 100, 101)] == ["scratch", "scratch", "off"]


def test_what_is_kept_nowhere_is_computed_each_time(tmp_path: Path) -> None:
    cache = cache_inputs(count_up, {0: np.arange(5)}, 0, tmp_path, CPU)
    assert cache.inputs is count_up
    assert (cache.place, cache.bytes) == ("off", 0)


@kept_places
def test_the_bytes_of_a_cache_are_those_of_its_numbers(place: str, tmp_path: Path) -> None:
    cache = cache_inputs(count_up, {None: np.arange(3), 0: np.arange(5)}, BUDGETS[place], tmp_path, CPU)
    assert (cache.place, cache.bytes) == (place, (3 + 5) * 4)


def in_a_process(folder: Path, code: str, *, ends: bool = True) -> subprocess.Popen[str]:
    """Run code that may use `keep(rows, numbers)`: so many float32 numbers for each row, kept in `folder`."""
    begun = f"""
import resource, sys, time
from pathlib import Path
import numpy as np, torch
from frostline.training.prefix_cache import cache_inputs
from frostline.errors import end_in_one_line
def keep(rows, numbers, budget=1):
    def source(batches, view):
        return (torch.ones(len(batch), numbers) for batch in batches)
    return cache_inputs(source, {{0: np.arange(rows)}}, budget, Path({str(folder)!r}), torch.device("cpu"))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", begun + code], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    if ends:
        process.wait()
    return process


@pytest.mark.parametrize(("numbers", "limit"), [(1000, 4_000_100), (1, 7_000)], ids=["large outputs", "small outputs"])
def test_a_disk_that_fills_up_under_the_cache_ends_the_run_in_one_line_and_leaves_nothing(
    numbers: int, limit: int, tmp_path: Path
) -> None:
    """A limit on the size of files stands for the disk: it fails in the same way, in the midst of a write."""
    code = f"""
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
with end_in_one_line():
    keep(2000, {numbers})
"""
    process = in_a_process(tmp_path, code)
    told = process.stderr.read()
    assert told == (
        f"{tmp_path} must have room for the prefix cache ({8000 * numbers} bytes). Got File too large instead. "
        "Free some, or set training.cache_bytes to 0 to do without the cache.\n"
    )
    assert process.returncode == 1
    assert list(tmp_path.iterdir()) == []


@linux
@pytest.mark.parametrize(("budget", "least", "most"), [(10**9, 0.7, 1.2), (1, -0.1, 0.1)], ids=["memory", "scratch"])
def test_filling_takes_the_bytes_of_the_cache_once_in_memory_and_next_to_none_in_scratch(
    budget: int, least: float, most: float, tmp_path: Path
) -> None:
    code = f"""
def peak():
    told = dict(line.split(":") for line in open("/proc/self/status"))
    return 1024 * int(told["VmHWM"].split()[0])
keep(16, 1000, {budget})
before = peak()
cache = keep(50_000, 1000, {budget})
print((peak() - before) / cache.bytes)
"""
    assert least < float(in_a_process(tmp_path, code).stdout.read()) < most


@linux
def test_a_file_in_scratch_has_no_name_and_is_gone_with_its_process_however_that_ends(
    tmp_path: Path,
) -> None:
    code = "cache = keep(2000, 1000)\nprint(cache.place, flush=True)\ntime.sleep(600)"
    process = in_a_process(tmp_path, code, ends=False)
    assert process.stdout.readline() == "scratch\n"
    mapped = [line for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines() if str(tmp_path) in line]
    assert len(mapped) == 1
    assert mapped[0].endswith("(deleted)")  # the disk is free again when nothing maps it
    assert list(tmp_path.iterdir()) == []
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@linux
@kept_places
def test_the_files_of_a_cache_are_closed_with_it(place: str, tmp_path: Path) -> None:
    opened = set(Path("/proc/self/fd").iterdir())
    cache = cache_inputs(count_up, {0: np.arange(4), 1: np.arange(4)}, BUDGETS[place], tmp_path, CPU)
    assert 1 <= len(set(Path("/proc/self/fd").iterdir()) - opened) <= 2, "one file, however many views"
    del cache
    assert set(Path("/proc/self/fd").iterdir()) == opened


class Counter:
    """Counts the images that come past the first convolution of any model."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...], _output: object) -> None:
        """Count a batch."""
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and not given[0].is_meta:
            self.images += len(given[0])


@pytest.fixture
def counter() -> Iterator[Counter]:
    counts = Counter()
    hook = register_module_forward_hook(counts)
    yield counts
    hook.remove()


@pytest.mark.parametrize(("first", "views"), [("head", 1), ("stage4", 3)])
@kept_places
def test_a_kept_prefix_runs_once_for_each_image_and_view_whatever_the_number_of_cells(
    place: str, first: str, views: int, counter: Counter, tmp_path: Path
) -> None:
    asked = training(cache_bytes=BUDGETS[place], views=views, epochs=4, patience=4)
    job = toys.job("efficientnet_lite0", plan(from_=first), tmp_path, asked)
    build_frozen(job, 0, 1)  # the first of its kind in a process is checked on two images
    counter.images = 0
    feed = make_feed(job)
    folded = 2 + 2  # before and after
    looked = 16 + 16 + 16 + folded  # the audit's two looks at batch mates, and one batch to learn the shape
    once = 32 + views * 70  # both replicates together validate on 32 images, and train on all 70
    assert counter.images == once + looked
    for (rate,), replicate in toys.cells(job):
        train(job, feed, rate, replicate)
    assert len(toys.cells(job)) == 4
    assert counter.images == once + looked


def test_a_prefix_that_is_not_kept_runs_in_every_epoch_of_every_cell(counter: Counter, tmp_path: Path) -> None:
    asked = training(cache_bytes=0, epochs=2)
    job = toys.job("efficientnet_lite0", plan("head"), tmp_path, asked)
    feed = make_feed(job)
    before = counter.images
    for (rate,), replicate in toys.cells(job):
        train(job, feed, rate, replicate)
    assert counter.images - before == 4 * 2 * (50 + 16)
