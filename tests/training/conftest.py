"""What tests of this room are given."""

import pytest

from frostline.networks.catalog import ARCHITECTURES
from tests import toys


@pytest.fixture
def vision_transformer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make "vit" known: a small one, as no published one sees 32 pixels."""
    monkeypatch.setitem(ARCHITECTURES, "vit", toys.small_vision_transformer())
