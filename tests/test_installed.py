"""Who installs the package, and has no clone of this repository, lays down a study, runs it and updates by pip."""

import subprocess
import sys
from pathlib import Path

import pytest

from frostline.files import read_csv, read_json
from tests.project import ENVIRONMENT, ROOT, load_yaml, read_params, run, write_params

PACKAGES = Path(pytest.__file__).parents[1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of commands of a new environment, in which the wheel lies beside all that it requires."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "requirements.pth").write_text(f"{PACKAGES}\n")
    python = str(folder / "bin" / "python")
    asked = (
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    )
    run(ROOT, *asked, "--disable-pip-version-check")
    return folder / "bin"


def frostline(installed: Path, folder: Path, *words: str, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
    return run(folder, str(installed / "frostline"), *words, succeeds=succeeds)


def make_small(study: Path) -> None:
    """Let the study be of two plans of a small network, in two folds, for an epoch."""
    params = read_params(study)
    params["data"] |= {"package": "digits", "source": "package", "groups": "none", "folds": 2, "image_px": 32}
    params["backbones"], params["study"]["plans"] = ["cnn2"], ["scratch", "wide"]
    scratch = {"from": "stem", "weights": "none", "learning_rates": [0.003]}
    params["plans"] = {"scratch": scratch, "wide": scratch | {"views": 1}}
    params["training"] |= {"epochs": 1, "patience": 1, "views": 1}
    write_params(study, params)


@pytest.fixture(scope="module")
def laid(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty folder in which a small study was laid down and run."""
    folder = tmp_path_factory.mktemp("empty")
    told = frostline(installed, folder, "new", "digits", "--study", "quick").stdout
    assert "`frostline study` runs all of it" in told
    study = folder / "digits"
    make_small(study)
    ended = frostline(installed, study, "study").stdout
    assert "How deep to unfreeze" in ended
    return study


@pytest.mark.long
def test_a_study_that_was_laid_down_runs_to_its_report_and_its_model(laid: Path) -> None:
    assert (laid / "reports" / "report.html").stat().st_size > 10_000
    assert read_json(laid / "data" / "model" / "model.json")["made"]
    names = {path.name for path in laid.iterdir()}
    assert {"params.yaml", "dvc.yaml", "Makefile", "code.yaml", ".dvc", ".git"} <= names
    assert not {"frostline", "stages", "tests"} & names


@pytest.mark.long
def test_it_predicts_as_a_command(laid: Path, installed: Path, tmp_path: Path) -> None:
    image = next((ROOT / "reports" / "figures").glob("difference.png"))
    frostline(installed, tmp_path, "predict", str(image), "--model", str(laid / "data/model"))
    assert len(read_csv(tmp_path / "predictions.csv")) == 1


@pytest.mark.long
def test_run_again_nothing_runs_and_plans_and_experiments_are_shown(laid: Path, installed: Path) -> None:
    assert "Running stage" not in frostline(installed, laid, "study").stdout
    assert "scratch on cnn2" in frostline(installed, laid, "plans").stdout
    run(laid, "git", "add", "--all")
    run(laid, "git", "commit", "--quiet", "--message", "a study")
    assert "advised_plan" in frostline(installed, laid, "show").stdout


@pytest.mark.long
def test_after_an_update_only_what_the_update_changed_runs_anew(laid: Path, installed: Path) -> None:
    (site,) = (installed.parent / "lib").glob("python*/site-packages")
    module = site / "frostline" / "interpret" / "captions.py"
    before = module.read_text()
    module.write_text(before + "# a later version\n")
    try:
        told = frostline(installed, laid, "plans").stdout
        assert "the installed package has changed" in told
        would_run = run(laid, str(installed / "python"), "-m", "dvc", "repro", "--dry").stdout
        assert "Running stage 'look'" in would_run
        assert "Running stage 'train" not in would_run
    finally:
        module.write_text(before)
        frostline(installed, laid, "plans")


@pytest.mark.long
def test_its_stages_are_those_of_the_package_and_depend_on_its_rooms(laid: Path) -> None:
    stages = load_yaml((laid / "dvc.yaml").read_text())["stages"]
    ours = load_yaml((ROOT / "dvc.yaml").read_text())["stages"]
    code = load_yaml((laid / "code.yaml").read_text())
    assert list(stages) == list(ours)
    for name, stage in stages.items():
        assert f"python -m frostline.stages.{name} " in stage["cmd"]
        (rooms,) = (each["code.yaml"] for each in stage["params"] if isinstance(each, dict))
        assert len(rooms) == len([dep for dep in ours[name]["deps"] if dep.startswith(("frostline", "stages"))])
        assert set(rooms) <= set(code)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("new", "full"), "FOLDER must be a new or an empty folder. Got 'full', which is not empty instead."),
        (("new", "file"), "FOLDER must be a new or an empty folder. Got the file 'file' instead."),
        (("new", "other", "--study", "nope"), "STUDY must name a file in studies: adapt,"),
        (("study",), "this folder must be a study's. Got one without dvc.yaml instead. `frostline new` lays one down."),
        (("predict", "nothing"), "data/model must be the folder of a model. Got one without model.json instead."),
        (("look", "run", "image"), "data/runs must hold trained runs. Got none instead."),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    installed: Path, tmp_path: Path, words: tuple[str, ...], line: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    done = frostline(installed, tmp_path, *words, succeeds=False)
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"full", "file"}


@pytest.mark.parametrize("word", ["study", "check", "plans", "look", "show", "new", "predict"])
def test_every_command_says_what_it_is_for(installed: Path, tmp_path: Path, word: str) -> None:
    told = frostline(installed, tmp_path, word, "--help").stdout
    assert told.startswith(f"usage: frostline {word}")
    assert word in frostline(installed, tmp_path, "--help").stdout


def test_in_a_checkout_it_says_that_make_does_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "frostline.commands", "new", str(tmp_path / "x")], cwd=ROOT, env=ENVIRONMENT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("frostline new must be run by an installed package. Got a checkout's instead.")
