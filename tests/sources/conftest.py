"""What tests of this room are given."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback import point_hub_at, serving
from tests.sources.fake_hub import (
    CARD,
    PUBLISHED,
    FakeHub,
    parquet,
    rows_of,
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Return a hub to which the library is pointed as by its environment variables, with caches of its own."""
    with serving(FakeHub) as mine:
        point_hub_at(mine.address, tmp_path / "cache", monkeypatch)
        yield mine


@pytest.fixture(scope="module")
def leaves() -> dict[str, bytes]:
    """Return the files of the data set: its card and a Parquet file for each split."""
    of_splits = {f"data/{split}-00000-of-00001.parquet": parquet(rows_of(split)) for split in PUBLISHED}
    return {"README.md": CARD, **of_splits}
