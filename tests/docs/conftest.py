"""What tests of this room are given."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from docs.architectures.build import tabulate
from tests.docs.architectures import BACKBONES
from tests.project import ROOT, copy_project, run


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the project with the study that is recorded, which is the committed one: who runs a study has another.

    Seconds are nobody else's, and a processor that computes in bfloat16 may be advised another plan.
    """
    folder = copy_project(tmp_path_factory.mktemp("recorded"))
    shutil.rmtree(folder / "reports")
    run(folder, "git", "fetch", "--quiet", str(ROOT), "HEAD")
    run(folder, "git", "checkout", "--quiet", "FETCH_HEAD", "--", "reports")
    return folder


@pytest.fixture(scope="module")
def plain() -> pd.DataFrame:
    """Return the table of all backbones where nothing was measured."""
    return tabulate(BACKBONES, None, None)
