"""The notebook of docs runs from its first cell to its last, beside a study that left a model."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests import toys
from tests.model.finished import make_model
from tests.project import ENVIRONMENT, ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a study that left a model, as dvc lays it out."""
    toy = tmp_path / "data"
    toys.write_study(toy)
    monkeypatch.setenv("DVC_ROOT", str(toy))
    make_model(toy, "block")
    return tmp_path


def read_outputs(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(
        str(output.get("text") or output.get("data", {}).get("text/plain"))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


def test_it_loads_audits_predicts_and_looks_inside(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for name, value in (ENVIRONMENT | {"STUDY": str(study), "PYTHONPATH": str(ROOT)}).items():
        monkeypatch.setenv(name, value)
    where = {"metadata": {"path": str(study)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    told = read_outputs(notebook)
    assert "plan block" in told
    assert "frozen tensors are as they were" in told
    assert "running_mean moved, although it is frozen" in told
    assert "gradcam.png" in told


def test_what_is_committed_was_executed_whole_and_names_no_folder_of_a_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    text = NOTEBOOK.read_text()
    for folder in ("/home/", "/tmp/", "/root/", "site-packages"):  # noqa: S108
        assert folder not in text
