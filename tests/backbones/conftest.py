"""What tests of this room are given."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from frostline import downloads
from tests.backbones.published import Published
from tests.loopback import serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    monkeypatch.setattr(downloads, "WAITS", (0.01, 0.01))
    with serving(Published) as mine:
        yield mine


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """Give torch a cache of its own."""
    usual = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "cache")
    yield tmp_path / "cache" / "checkpoints"
    torch.hub.set_dir(usual)
