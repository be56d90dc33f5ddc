"""What tests of this room are given."""

from collections.abc import Iterator

import pytest

from frostline import downloads
from tests.backbones.published import Published
from tests.loopback import serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    monkeypatch.setattr(downloads, "WAITS", (0.01, 0.01))
    with serving(Published) as mine:
        yield mine
