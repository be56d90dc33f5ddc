"""What tests of this room are given."""

import pandas as pd
import pytest

from docs.architectures.build import tabulate
from tests.docs.architectures import BACKBONES


@pytest.fixture(scope="module")
def plain() -> pd.DataFrame:
    """Return the table of all backbones where nothing was measured."""
    return tabulate(BACKBONES, None, None)
