"""A fit that was interrupted goes on as if it had not been, where code, params and data are the same."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.training import checkpoints
from frostline.training.checkpoints import (
    Trained,
    drop_oldest,
    fingerprint,
    hash_code,
    hold,
    keep_best,
    locate_scratch,
    read_best,
    read_trained,
    restore_fit,
    save_fit,
    write_trained,
)
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


def test_a_fit_of_which_the_best_is_kept_comes_back_as_that(tmp_path: Path) -> None:
    fit = fit_to_end(start_fit(line(), 0.1, 0.0, 0), training(epochs=30, patience=2), doubted_batches())
    path = tmp_path / "fit.pt"
    save_fit(path, fit)
    whole = path.stat().st_size
    keep_best(path, fit)
    assert path.stat().st_size < whole
    restored = start_fit(line(), 0.1, 0.0, 0)
    restore_fit(path, restored)
    assert restored.history == fit.history
    assert differing(restored.suffix.state_dict(), fit.best) == set()


def test_the_same_code_and_inputs_have_the_same_name_wherever_the_code_lies(request: pytest.FixtureRequest) -> None:
    before = fingerprint("data", "params")
    request.getfixturevalue("code")
    assert fingerprint("data", "params") == before


def test_other_inputs_have_another_name() -> None:
    asked: list[tuple[object, ...]] = [
        ("data", "params"), ("data", "params2"), ("data2", "params"), ("datap", "arams"), ("data", "params", ""),
        ("data", ["params"]), ("data", 1), ("data", "1"), ("data", 1.5),
    ]  # fmt: skip
    assert len({fingerprint(*inputs) for inputs in asked}) == len(asked)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_file_that_changed_in_any_room_leaves_older_fits_where_no_run_finds_them(code: Path, folder: Path) -> None:
    before = fingerprint("data", "params")
    for source in sorted(folder.glob("*.py")):
        edited = code / source.relative_to(ROOT)
        edited.write_text(edited.read_text() + "# edited\n")
        hash_code.cache_clear()
        after = fingerprint("data", "params")
        assert after != before
        before = after


def test_fits_lie_in_dvcs_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", "/somewhere")
    assert locate_scratch() == Path("/somewhere/.dvc/tmp/frostline")


def write_checkpoints(folder: Path, *names: str) -> None:
    """Write checkpoints of 1,000 bytes, one later than the other."""
    for place, name in enumerate(names):
        for suffix in (".pt", ".json", ".lock"):
            (folder / f"{name}{suffix}").write_bytes(bytes(1_000 if suffix == ".pt" else 1))
        os.utime(folder / f"{name}.pt", (place, place))


@pytest.mark.parametrize(
    ("budget", "left"), [(0, []), (999, []), (1_000, ["c"]), (2_500, ["b", "c"]), (9_999, ["a", "b", "c"])]
)
def test_of_fits_beyond_the_budget_those_used_longest_ago_go_with_all_that_is_theirs(
    budget: int, left: list[str], tmp_path: Path
) -> None:
    write_checkpoints(tmp_path, "a", "b", "c")
    drop_oldest(tmp_path, budget)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}{suffix}" for name in left for suffix in (".pt", ".json", ".lock")
    )


def test_a_fit_that_is_being_trained_is_not_dropped(tmp_path: Path) -> None:
    write_checkpoints(tmp_path, "a", "b")
    with hold(tmp_path / "a.pt"):
        drop_oldest(tmp_path, 0)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["a.pt"]


@pytest.mark.long
def test_a_process_that_would_train_the_same_fit_waits_for_the_other(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from frostline.training.checkpoints import hold\n"
        "with hold(Path(sys.argv[1])): print('held', flush=True)"
    )
    with hold(tmp_path / "fit.pt"):
        other = subprocess.Popen([sys.executable, "-c", code, tmp_path / "fit.pt"], stdout=subprocess.PIPE, cwd=ROOT)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=20)
    assert other.communicate(timeout=60)[0] == b"held\n"


def flip_a_byte(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0.02, 0.2, 0.4, 0.6, 0.8, 0.99])
def test_an_unfinished_fit_of_which_a_byte_has_changed_is_trained_from_its_start_or_is_the_same(
    at: float, tmp_path: Path
) -> None:
    """torch itself notices few of them: what it takes for whole may be other numbers."""
    fit, path = start_fit(restless(), 0.01, 0.01, 0), tmp_path / "fit.pt"
    next(train_epochs(fit, batches(), TRAINING, "float32"))
    save_fit(path, fit)
    flip_a_byte(path, at)
    restored = start_fit(restless(), 0.01, 0.01, 0)
    restore_fit(path, restored)
    assert restored.history in ([], fit.history)
    assert path.exists() == (restored.history != [])
    assert_same(fit_to_end(restored), learn(restless()))


@pytest.mark.parametrize("suffix", [".pt", ".json"])
@pytest.mark.parametrize("at", [0.0, 0.3, 0.6, 0.99])
def test_a_finished_fit_of_which_a_byte_has_changed_is_gone(
    suffix: str, at: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit, path = learn(line()), tmp_path / "fit.pt"
    keep_best(path, fit)
    trained = Trained((0.1,), 0, fit.history, 2, 1_000, 0.5, "memory", 10)
    write_trained(path, trained)
    assert read_trained(path) == trained
    flip_a_byte(path.with_suffix(suffix), at)
    assert read_trained(path) is None
    assert "so it is trained again" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
