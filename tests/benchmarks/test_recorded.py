"""Benchmarks that pages tell of print a line for each way, and keep what they measured instead of what was older."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks import devices, kept_rows, preparation, recording
from benchmarks.machine import name_kind

linux = pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="asks Linux")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which benchmarks keep their tables now."""
    monkeypatch.setattr(recording.record, "__defaults__", (tmp_path,))
    return tmp_path


def test_a_new_row_takes_the_place_of_the_old_one_of_the_same_and_others_stay(kept: Path) -> None:
    recording.record("table", [{"images": 2, "seconds": 9.0}, {"images": 1, "seconds": 5.0}], ["images"])
    recording.record("table", [{"images": 2, "seconds": 8.0}], ["images"])
    table = pd.read_csv(kept / "table.csv")
    assert table[["images", "seconds"]].to_numpy().tolist() == [[1, 5.0], [2, 8.0]]
    assert set(table.processor) == {name_kind()}


def test_preparation_is_kept_only_when_asked_for(kept: Path) -> None:
    preparation.main([24], None)
    assert not list(kept.iterdir())
    preparation.main([24], None, keep=True)
    assert pd.read_csv(kept / "preparation.csv").images.tolist() == [24]


@linux
def test_rows_are_read_from_memory_and_from_a_disk_in_every_way(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    kept_rows.main(500, 4096, 1, disk=False, keep=True)
    table = pd.read_csv(kept / "kept_rows.csv")
    assert len(table) == 4
    assert (table.seconds > 0).all()
    assert set(table.rows) == {500}
    assert "500 rows of 4,096 bytes, memory: " in capsys.readouterr().out


@pytest.mark.long
def test_a_fit_is_measured_on_one_device_and_on_two(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "ROUNDS", 1)
    monkeypatch.setattr(devices, "EPOCHS", 2)
    devices.main(2, 40, 32, keep=True)
    table = pd.read_csv(kept / "devices.csv")
    assert table.precision.tolist() == ["bfloat16", "float32"]
    assert (table[["one_seconds", "several_seconds"]] > 0).all(axis=None)
