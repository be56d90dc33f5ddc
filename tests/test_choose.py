"""Claims about tools/choose.py and `make study STUDY=`: a ready study becomes params.yaml, and nothing is lost."""

import subprocess
from pathlib import Path

import pytest

from tests.project import ROOT, commit, run
from tools import choose


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a repository with a committed params.yaml and two studies."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "params.yaml").write_text("mine")
    for name in ("beans", "digits"):
        (tmp_path / f"studies/{name}.yaml").write_text(name)
    run(tmp_path, "git", "init", "--quiet", "--initial-branch", "main")
    commit(tmp_path, "as it is")
    return tmp_path


def params(project: Path) -> str:
    return (project / "params.yaml").read_text()


def refusal(study: str, project: Path) -> str:
    with pytest.raises(SystemExit) as ended:
        choose.main(study, project)
    return str(ended.value.code)


def test_a_study_takes_the_place_of_committed_params(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    choose.main("beans", project)
    assert params(project) == "beans"
    assert capsys.readouterr().out == (
        "params.yaml is now studies/beans.yaml; `git checkout params.yaml` brings the committed one back.\n"
    )


def test_one_study_takes_the_place_of_another_which_is_still_in_its_file(project: Path) -> None:
    for name in ("beans", "digits", "beans"):
        choose.main(name, project)
        assert params(project) == name


def test_an_unknown_study_is_refused_with_the_known_ones(project: Path) -> None:
    assert refusal("bean", project) == "STUDY must name a file in studies: beans or digits. Got 'bean' instead."
    assert refusal("../params", project).endswith("Got '../params' instead.")
    assert params(project) == "mine"


@pytest.mark.parametrize("staged", [False, True])
def test_changes_that_are_not_committed_are_not_overwritten(project: Path, staged: bool) -> None:
    (project / "params.yaml").write_text("mine, changed")
    if staged:
        run(project, "git", "add", "params.yaml")
    assert refusal("beans", project) == (
        "params.yaml must hold no changes that would be lost. Got some that are not committed instead. "
        "Commit it, or keep it as a file in studies."
    )
    assert params(project) == "mine, changed"


def test_params_that_are_the_study_already_are_left_as_they_are(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choose.main("beans", project)
    before = (project / "params.yaml").stat().st_mtime_ns
    capsys.readouterr()
    choose.main("beans", project)
    assert (project / "params.yaml").stat().st_mtime_ns == before
    assert capsys.readouterr().out == ""


def test_without_git_params_that_no_study_holds_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/beans.yaml").write_text("beans")
    (tmp_path / "params.yaml").write_text("mine")
    assert refusal("beans", tmp_path).startswith("params.yaml must hold no changes that would be lost.")
    (tmp_path / "params.yaml").unlink()
    choose.main("beans", tmp_path)
    assert params(tmp_path) == "beans"


def made(*arguments: str) -> list[str]:
    """Return the commands that make would run, but for the setting up."""
    command = ["make", "--dry-run", "--old-file", ".venv/bin/ready", "--old-file", ".dvc/plots/page.html", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_make_chooses_the_study_before_anything_else_and_without_one_takes_params_as_they_are() -> None:
    chosen, plain = made("study", "STUDY=beans"), made("study")
    assert chosen[0] == "python -m tools.choose 'beans'"
    assert chosen[1:] == plain
    assert plain[0] == "python -m tools.check params.yaml"
