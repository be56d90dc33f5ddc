"""What tests share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Threads that wait by spinning slow each other down tenfold where the processor has other work. Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Tests that run side by side share the cores, and so do the commands that they start. Who shares the tests out loads
# this file too, and hands its environment on: it must not say anything here.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    at_once = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // at_once)))

import pytest
import torch

from tests import toys
from tests.project import copy_project, run

# The longest first, lest one of those who share the tests waits for the other at the end.
LONGEST = ("test_pipeline.py", "test_race.py", "test_freezing.py", "test_prefix_cache.py", "test_cached_fits.py")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(params=[1, 2], ids=["one-thread", "two-threads"])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compute with so many threads: each number has kernels of its own."""
    usual = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Compute in one thread: over images this small, two wait for each other longer than they compute."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder with the params and the prepared pictures of the toy study."""
    toys.write_study(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    yield tmp_path
    torch.set_deterministic_debug_mode("default")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel as it is built from the files that git knows, without the network."""
    source = copy_project(tmp_path_factory.mktemp("source"))
    run(source, sys.executable, "-m", "hatchling", "build", "--target", "wheel")
    (built,) = (source / "dist").glob("*.whl")
    return built
