"""A fit that was interrupted goes on as if it had not been, where code, params and data are the same."""

import shutil
from pathlib import Path

import pytest

from frostline.training import checkpoints
from frostline.training.checkpoints import locate_checkpoints, read_best, remove_checkpoints, restore_fit, save_fit
from frostline.training.loop import start_fit, train_epochs
from tests.project import ROOT
from tests.toys import TRAINING, assert_same, differing, training
from tests.training.fits import batches, doubted_batches, fit_to_end, learn, line, restless


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_fit_that_is_interrupted_and_restored_ends_as_one_that_was_not(tmp_path: Path, done: int) -> None:
    interrupted, path = start_fit(restless(), 0.01, 0.01, 0), tmp_path / "fit.pt"
    going = train_epochs(interrupted, batches(), TRAINING, "float32")
    for _ in range(done):
        next(going)
        save_fit(path, interrupted)
    restored = start_fit(restless(), 0.01, 0.01, 0)
    restore_fit(path, restored)
    assert restored.history == interrupted.history
    assert_same(fit_to_end(restored), learn(restless()))


def test_a_checkpoint_holds_the_tensors_of_the_best_epoch(tmp_path: Path) -> None:
    fit = fit_to_end(start_fit(line(), 0.1, 0.0, 0), training(epochs=30, patience=2), doubted_batches())
    save_fit(tmp_path / "fit.pt", fit)
    assert differing(read_best(tmp_path / "fit.pt"), fit.best) == set()
    assert differing(read_best(tmp_path / "fit.pt"), fit.suffix.state_dict()) == {"0.weight", "0.bias"}


def test_a_checkpoint_that_could_not_be_written_whole_leaves_the_one_before(tmp_path: Path) -> None:
    fit, path = learn(line()), tmp_path / "fit.pt"
    save_fit(path, fit)
    before = path.read_bytes()
    fit.best = {"unwritable": lambda: None}
    with pytest.raises(AttributeError, match="pickle"):
        save_fit(path, fit)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["fit.pt"]


FOLDERS = [path.parent for path in sorted((ROOT / "frostline").rglob("__init__.py"))] + [ROOT / "stages"]
"""The package, each of its rooms, and the verbs."""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the code, as which frostline/training/checkpoints.py takes its own."""
    for folder in checkpoints.CODE:
        shutil.copytree(folder, tmp_path / folder.name)
    monkeypatch.setattr(checkpoints, "CODE", [tmp_path / folder.name for folder in checkpoints.CODE])
    return tmp_path


def test_the_same_code_params_and_data_have_the_same_folder_wherever_the_code_lies(
    request: pytest.FixtureRequest,
) -> None:
    before = locate_checkpoints("data", "params")
    request.getfixturevalue("code")
    assert locate_checkpoints("data", "params") == before


def test_other_params_or_data_have_another_folder() -> None:
    asked = [("data", "params"), ("data", "params2"), ("data2", "params"), ("datap", "arams"), ("data", "params", "")]
    assert len({locate_checkpoints(*inputs) for inputs in asked}) == len(asked)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_file_that_changed_in_any_room_leaves_older_checkpoints_where_no_run_finds_them(
    code: Path, folder: Path
) -> None:
    before = locate_checkpoints("data", "params")
    for source in sorted(folder.glob("*.py")):
        edited = code / source.relative_to(ROOT)
        edited.write_text(edited.read_text() + "# edited\n")
        after = locate_checkpoints("data", "params")
        assert after != before
        before = after


def test_checkpoints_lie_in_dvcs_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", "/somewhere")
    assert locate_checkpoints("data").parent == Path("/somewhere/.dvc/tmp/frostline")


def test_removed_checkpoints_are_gone_and_may_be_removed_again(tmp_path: Path) -> None:
    save_fit(tmp_path / "run" / "fit.pt", learn(line()))
    remove_checkpoints(tmp_path / "run")
    remove_checkpoints(tmp_path / "run")
    assert [*tmp_path.iterdir()] == []
