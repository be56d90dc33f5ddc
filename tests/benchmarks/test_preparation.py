"""The benchmark of prepare measures a whole run of it, on images that it writes."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import preparation
from frostline.files import check_sums


def test_it_writes_so_many_images_as_fetch_would(tmp_path: Path) -> None:
    preparation.write_raw(tmp_path / "raw", 1_050, 20)
    check_sums(tmp_path / "raw")
    table = pq.read_table(tmp_path / "raw" / "images.parquet")
    assert table.num_rows == 1_050
    assert table.column("id")[-1].as_py() == "1049.jpg"


def test_it_tells_seconds_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    preparation.main([30], None)
    line = capsys.readouterr().out
    assert line.startswith("30 images of 48 px: ")
    assert " MB of its own, " in line
