"""A model that the toy study left, made once for all tests of this folder that only read it."""

from pathlib import Path

import pytest

from tests import toys
from tests.model.finished import make_model


@pytest.fixture(scope="package")
def part_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model of the plan `part`, beside the study that it is of."""
    toy = tmp_path_factory.mktemp("study") / "toy"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(toy))
        toys.write_study(toy)
        return make_model(toy, "part")
