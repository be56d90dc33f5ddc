"""A ready study becomes params.yaml, and nothing is lost."""

import json
from pathlib import Path

import pytest
import yaml

from tests.project import ROOT, commit, run
from tools import choose, record


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
        choose.main(study, root=project)
    return str(ended.value.code)


def test_a_study_takes_the_place_of_committed_params(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    choose.main("beans", root=project)
    assert params(project) == "beans"
    assert capsys.readouterr().out == (
        "params.yaml is now studies/beans.yaml; `git checkout params.yaml` brings the committed one back.\n"
    )


def test_one_study_takes_the_place_of_another_which_is_still_in_its_file(project: Path) -> None:
    for name in ("beans", "digits", "beans"):
        choose.main(name, root=project)
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
    choose.main("beans", root=project)
    before = (project / "params.yaml").stat().st_mtime_ns
    capsys.readouterr()
    choose.main("beans", root=project)
    assert (project / "params.yaml").stat().st_mtime_ns == before
    assert capsys.readouterr().out == ""


def test_without_git_params_that_no_study_holds_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/beans.yaml").write_text("beans")
    (tmp_path / "params.yaml").write_text("mine")
    assert refusal("beans", tmp_path).startswith("params.yaml must hold no changes that would be lost.")
    (tmp_path / "params.yaml").unlink()
    choose.main("beans", root=tmp_path)
    assert params(tmp_path) == "beans"


IMAGES = """# A study.
data:
  source: {source}             # hub | folder
  package: elpv
  folder: {folder}     # with source: folder
  hub:
    dataset: a/b
plans:
  folder: 1
"""


@pytest.mark.parametrize("folder", ["../beans", 'a "b" # c', "/home/me/\u00e4 \\ pfel"])
def test_a_study_can_be_run_on_a_folder_and_differs_in_those_two_lines_alone(project: Path, folder: str) -> None:
    (project / "studies/beans.yaml").write_text(IMAGES.format(source="hub", folder="data/images"))
    choose.main("beans", folder, project)
    chosen = params(project)
    assert chosen == IMAGES.format(source="folder", folder=json.dumps(folder, ensure_ascii=False))
    assert yaml.safe_load(chosen)["data"]["folder"] == folder


def test_a_study_on_one_folder_makes_room_for_the_same_on_another_and_for_itself(project: Path) -> None:
    (project / "studies/beans.yaml").write_text(IMAGES.format(source="hub", folder="data/images"))
    for folder in ("../my beans", "elsewhere", None):
        choose.main("beans", folder, project)
    assert params(project) == (project / "studies/beans.yaml").read_text()
    (project / "params.yaml").write_text(params(project).replace("package: elpv", "package: digits"))
    assert refusal("beans", project).startswith("params.yaml must hold no changes that would be lost.")


def made(*arguments: str) -> list[str]:
    """Return the commands that make would run, but for the setting up."""
    command = ["make", "--dry-run", "--old-file", ".venv/bin/ready", "--old-file", ".dvc/plots/page.html", *arguments]
    return run(ROOT, *command).stdout.splitlines()


@pytest.mark.parametrize("target", ["study", "parallel", "plans"])
def test_make_chooses_the_study_before_anything_else_and_without_one_takes_params_as_they_are(target: str) -> None:
    plain = made(target)
    assert made(target, "STUDY=beans") == ["python -m tools.choose 'beans'", *plain]
    assert made(target, "STUDY=beans", "FOLDER=../b") == ["python -m tools.choose 'beans' --folder '../b'", *plain]
    assert made(target, "FOLDER=../b")[0] == "python -m tools.choose '' --folder '../b'"  # which is refused
    assert not [line for line in plain if "tools.choose" in line]


def test_a_study_is_recorded_as_its_file_stands_whichever_folder_it_ran_on() -> None:
    """So no path of this machine gets into docs."""
    recorded = " ".join(made("record", "STUDY=beans", "FOLDER=../b"))
    assert "python -m tools.choose 'beans' --folder '../b' " in recorded
    assert "python -m tools.record 'studies/beans.yaml' 'docs/beans'" in recorded
    assert "'docs/leaves'" in " ".join(made("record", "STUDY=beans", "INTO=leaves"))


def test_a_record_holds_the_studys_file_its_tables_its_pictures_and_the_origin_of_its_images(tmp_path: Path) -> None:
    names = [
        *(f"{name}.csv" for name in ("plans", "runs", "costs", "pairs", "history", "shifted")),
        "advice.json", "study.json", "figures/tradeoff.png", "figures/tradeoff.svg", "figures/sizes.png",
        "figures/sizes.svg", "figures/curves.png", "report.html",
    ]  # fmt: skip
    for name in (*(f"reports/{name}" for name in names), "data/raw/source.json", "studies/mine.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    record.main(tmp_path / "studies" / "mine.yaml", tmp_path / "docs" / "mine", tmp_path)
    kept = {Path(name).name for name in names[:-2]} | {"source.json", "params.yaml"}
    assert {path.name for path in (tmp_path / "docs" / "mine").iterdir()} == kept
    assert (tmp_path / "docs" / "mine" / "params.yaml").read_text() == "studies/mine.yaml"
