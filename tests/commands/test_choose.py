"""A ready study becomes params.yaml, whole and checked, and nothing is lost."""

from pathlib import Path

import pytest

from frostline.commands import choose
from frostline.laying import studies
from frostline.params.loading import load_params
from tests.project import ROOT, commit, load_yaml, run
from tools import record

WHOLE = (ROOT / "studies" / "default.yaml").read_text()
FEW = """# Few epochs, on digits.
data:
  package: digits
  hub:
    validation: null
plans:
  head: {from: head, weights: pretrained, learning_rates: [1e-3]}  # one rate
study:
  plans: [head]
training:
  epochs: 2               # two will do
  cache_bytes: 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a repository with a committed params.yaml and three studies."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "params.yaml").write_text("mine")
    for name, text in {"default": WHOLE, "few": FEW, "many": "training: {epochs: 99}"}.items():
        (tmp_path / f"studies/{name}.yaml").write_text(text)
    run(tmp_path, "git", "init", "--quiet", "--initial-branch", "main")
    commit(tmp_path, "as it is")
    return tmp_path


def params(project: Path) -> str:
    return (project / "params.yaml").read_text()


def refusal(study: str, project: Path) -> str:
    with pytest.raises(SystemExit) as ended:
        choose.main(study, root=project)
    return str(ended.value.code)


def test_the_default_study_is_params_as_they_are_committed_byte_for_byte() -> None:
    assert studies.write_study("default", ROOT) == WHOLE == (ROOT / "params.yaml").read_text()


def test_a_study_says_what_differs_and_the_rest_is_the_default_with_its_comments(project: Path) -> None:
    choose.main("few", root=project)
    written = params(project)
    content, default = load_yaml(written), load_yaml(WHOLE)
    assert content["training"] == default["training"] | {"epochs": 2, "cache_bytes": 1}
    assert content["data"] == default["data"] | {
        "package": "digits", "hub": default["data"]["hub"] | {"validation": None}
    }  # fmt: skip
    assert (content["backbones"], content["advice"]) == (default["backbones"], default["advice"])
    assert written.startswith("# Few epochs, on digits.\n")
    assert "  epochs: 2               # two will do\n" in written
    assert "  cache_bytes: 1          # RAM for the frozen prefix's outputs" in written
    assert "    validation: null        # or null, as test: what is missing is drawn from train\n" in written
    assert "# Parts: stem, stage1, ..., stage4, head; `make plans` tells what they hold.\n" in written


def test_plans_are_a_studys_own_and_none_of_the_defaults(project: Path) -> None:
    choose.main("few", root=project)
    assert load_yaml(params(project))["plans"] == {
        "head": {"from": "head", "weights": "pretrained", "learning_rates": [0.001]}
    }


def test_a_study_may_be_a_whole_file_of_its_own(project: Path) -> None:
    own = WHOLE.replace("epochs: 4 ", "epochs: 5 ")
    (project / "studies/own.yaml").write_text(own)
    choose.main("own", root=project)
    assert params(project) == own


def test_a_study_takes_the_place_of_committed_params(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    choose.main("few", root=project)
    assert capsys.readouterr().out == (
        "params.yaml is now the study 'few'; `git checkout params.yaml` brings the committed one back.\n"
    )


def test_one_study_takes_the_place_of_another_which_is_still_in_its_file(project: Path) -> None:
    for name in ("few", "many", "few"):
        choose.main(name, root=project)
        assert params(project) == studies.write_study(name, project)


def test_an_unknown_study_is_refused_with_the_known_ones(project: Path) -> None:
    line = "STUDY must name a file in studies: default, few or many. Got 'bean' instead."
    assert refusal("bean", project) == line
    assert refusal("../params", project).endswith("Got '../params' instead.")
    assert params(project) == "mine"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("training: {epochs: 0}", "training.epochs must be greater than or equal to 1. Got 0 instead."),
        ("trainig: {epochs: 1}", "params.yaml must hold only data, study, backbones, plans, training, advice, finish "
                                 "or logging. Got 'trainig' instead."),
        ("plans: {}", "plans must hold at least one value. Got {} instead."),
        ("training: 3", "training must be a mapping of names to values. Got 3 instead."),
        ("just words", "studies/bad.yaml must be a mapping of names to values. Got 'just words' instead."),
        ("# nothing\n", "studies/bad.yaml must be a mapping of names to values. Got None instead."),
        ("a: [", "studies/bad.yaml must be YAML. Got an error in line 1, column 5 instead."),
        ("a: 1\na: 2\n", "studies/bad.yaml must be YAML. Got an error in line 2, column 1 instead."),
    ],
)  # fmt: skip
def test_a_study_that_is_wrong_is_refused_in_one_line_and_params_stay(project: Path, text: str, line: str) -> None:
    (project / "studies/bad.yaml").write_text(text)
    told = refusal("bad", project).replace(f"{project}/", "")
    assert told.startswith(line)
    assert "\n" not in told
    assert params(project) == "mine"


@pytest.mark.parametrize("staged", [False, True])
def test_changes_that_are_not_committed_are_not_overwritten(project: Path, staged: bool) -> None:
    (project / "params.yaml").write_text("mine, changed")
    if staged:
        run(project, "git", "add", "params.yaml")
    assert refusal("few", project) == (
        "params.yaml must hold no changes that would be lost. Got some that are not committed instead. "
        "`git commit params.yaml` keeps them, and so does a file in studies."
    )
    assert params(project) == "mine, changed"


def test_what_would_be_lost_is_named_with_both_values(project: Path) -> None:
    choose.main("few", root=project)
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", "few")
    before = params(project)
    (project / "params.yaml").write_text(before.replace("epochs: 2 ", "epochs: 3 "))
    assert "Got training.epochs: 3, not 2 instead." in refusal("many", project)
    (project / "params.yaml").write_text(before + "# mine\n")
    assert "Got other comments instead." in refusal("many", project)


@pytest.mark.parametrize("change", [("epochs: 2 ", "epochs: 3 "), ("# two will do", "# my own thought")])
def test_a_study_that_was_edited_in_place_is_not_overwritten(project: Path, change: tuple[str, str]) -> None:
    choose.main("few", root=project)
    (project / "params.yaml").write_text(params(project).replace(*change))
    assert refusal("many", project).startswith("params.yaml must hold no changes that would be lost.")


def test_params_that_are_the_study_already_are_left_as_they_are(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choose.main("few", root=project)
    before = (project / "params.yaml").stat().st_mtime_ns
    capsys.readouterr()
    choose.main("few", root=project)
    assert (project / "params.yaml").stat().st_mtime_ns == before
    assert capsys.readouterr().out == ""


def test_without_git_params_that_no_study_holds_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/default.yaml").write_text(WHOLE)
    (tmp_path / "params.yaml").write_text("mine")
    assert refusal("default", tmp_path).startswith("params.yaml must hold no changes that would be lost.")
    (tmp_path / "params.yaml").unlink()
    choose.main("default", root=tmp_path)
    assert params(tmp_path) == WHOLE


@pytest.mark.parametrize("folder", ["../beans", 'a "b" # c', "/home/me/\u00e4 \\ pfel", "no", "3"])
def test_a_study_can_be_run_on_a_folder_and_differs_in_those_two_lines_alone(project: Path, folder: str) -> None:
    choose.main("few", folder, project)
    chosen, plain = (text.splitlines() for text in (params(project), studies.write_study("few", project)))
    assert load_yaml(params(project))["data"]["folder"] == folder
    assert [line.split(":")[0] for line, other in zip(chosen, plain, strict=True) if line != other] == [
        "  source", "  folder"
    ]  # fmt: skip


def test_a_study_on_one_folder_makes_room_for_the_same_on_another_and_for_itself(project: Path) -> None:
    for folder in ("../my beans", "elsewhere", None):
        choose.main("few", folder, project)
    assert params(project) == studies.write_study("few", project)


def made(*arguments: str) -> list[str]:
    """Return the commands that make would run, but for the setting up."""
    command = ["make", "--dry-run", "--old-file", ".venv/bin/ready", "--old-file", ".dvc/plots/page.html", *arguments]
    return run(ROOT, *command).stdout.splitlines()


@pytest.mark.parametrize("target", ["study", "plans"])
def test_make_hands_the_study_and_the_folder_on_and_without_one_takes_params_as_they_are(target: str) -> None:
    command = f"python -m frostline.commands {target}"
    assert made(target) == [command]
    assert made(target, "STUDY=beans") == [f"{command} --study 'beans'"]
    assert made(target, "STUDY=beans", "FOLDER=../b") == [f"{command} --study 'beans' --folder '../b'"]
    assert made(target, "FOLDER=../b") == [f"{command} --folder '../b'"]


def test_make_predicts_what_it_is_told_and_where_to() -> None:
    command = 'python -m frostline.commands predict "$IMAGES"'
    assert made("predict", "IMAGES=new images") == [command]
    assert made("predict", "IMAGES=new", "OUT=a b.csv") == [f'{command} --out "$OUT"']


def test_a_study_is_recorded_as_it_stands_whichever_folder_it_ran_on() -> None:
    """So no path of this machine gets into docs."""
    recorded = " ".join(made("record", "STUDY=beans", "FOLDER=../b"))
    assert "python -m frostline.commands study --study 'beans' --folder '../b' " in recorded
    assert "python -m tools.record 'beans' 'docs/beans'" in recorded
    assert "'docs/leaves'" in " ".join(made("record", "STUDY=beans", "INTO=leaves"))


def test_a_record_holds_the_studys_params_its_tables_its_pictures_and_the_origin_of_its_images(project: Path) -> None:
    names = [
        *(f"{name}.csv" for name in ("plans", "runs", "costs", "pairs", "history", "shifted")),
        "advice.json", "study.json", "figures/difference.png", "figures/accuracy.svg", "figures/sizes.png",
        "figures/sizes.svg", "figures/curves.png", "report.html",
    ]  # fmt: skip
    for name in (*(f"reports/{name}" for name in names), "data/raw/source.json"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    record.main("few", project / "docs" / "few", project)
    kept = {Path(name).name for name in names[:-2]} | {"source.json", "params.yaml"}
    assert {path.name for path in (project / "docs" / "few").iterdir()} == kept
    assert load_params(project / "docs" / "few" / "params.yaml") == studies.load_study("few", project)
