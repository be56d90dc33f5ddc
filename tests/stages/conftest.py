"""What tests of this room are given."""

from pathlib import Path

import pytest

from tests.project import ROOT, dump_yaml, load_yaml
from tests.stages.compared import (
    write_cell,
    write_prepared,
)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_prepared(tmp_path / "prepared")
    write_cell(tmp_path, "head", 20, 1_000)
    write_cell(tmp_path, "stage4", 700, 4_000)
    params = load_yaml((ROOT / "params.yaml").read_text())
    params["study"] = {"plans": ["head", "stage4"], "repeats": 2, "tune": "all", "racing": False, "shifts": []}
    (tmp_path / "params.yaml").write_text(dump_yaml(params))
    return tmp_path
