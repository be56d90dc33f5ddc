"""What a study lets learn is told before anything is trained."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.backbones.registry import build_original_classifier
from frostline.commands import __main__ as command
from frostline.commands import check, plans
from frostline.constants import PARTS
from frostline.files import write_json
from tests.project import ENVIRONMENT, ROOT, dump_yaml, load_yaml, run

RESNET18 = (9_536, 147_968, 525_568, 2_099_712, 8_393_728, 1_539)  # stem to head, with three classes
NO_FILE = "data/weights/not-there.safetensors"

Row = tuple[str, ...]


def write_study(tmp_path: Path, plans: dict[str, dict[str, Any]], backbone: str = "resnet18") -> Path:
    """Return the committed params, with these plans on this backbone in their place."""
    params = load_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))
    usual = {"weights": "pretrained", "learning_rates": [0.001]}
    params["plans"] = {name: usual | plan for name, plan in plans.items()}
    params["study"]["plans"] = list(plans)
    params["backbones"] = [backbone]
    params["data"]["image_px"] = 224
    path = tmp_path / "params.yaml"
    path.write_text(dump_yaml(params), encoding="utf-8")
    return path


def prepare(tmp_path: Path, classes: list[str]) -> Path:
    path = tmp_path / "prepared.json"
    write_json(path, {"classes": classes})
    return path


def tables(printed: str) -> dict[str, list[Row]]:
    """Return the rows, header and footer included, of every printed table, by the line above it."""
    found: dict[str, list[Row]] = {}
    for line in printed.splitlines():
        cells = tuple(cell.strip() for cell in re.split("[│┃]", line)[1:-1])
        if cells:
            found[[*found][-1]].append(cells)
        elif " on " in line:
            found[line] = []
    return found


def refusal(tool: Any, *paths: Path) -> str:
    with pytest.raises(SystemExit) as ended:
        tool.main(*paths)
    assert "\n" not in str(ended.value.code)
    return str(ended.value.code)


def in_full(trainable: tuple[int, ...], *words: str) -> list[Row]:
    total, learns = sum(RESNET18), sum(trainable)
    rows = [
        (part, f"{all_of_it:,}", f"{each:,}", word)
        for part, all_of_it, each, word in zip(PARTS, RESNET18, trainable, words, strict=True)
    ]
    return [
        ("part", "parameters", "trainable", "learns or frozen"),
        *rows,
        ("total", f"{total:,}", f"{learns:,}", f"{100 * learns / total:.2f} % learns"),
    ]


def test_each_plan_is_printed_part_by_part_with_the_published_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(
        tmp_path,
        {
            "head": {"from": "head"},
            "half": {"from": "stage4.1"},
            "edges": {"train": ["stem", "head"]},
            "norms": {"train": ["norms", "head"]},
            "all": {"from": "stem"},
        },
    )
    plans.main(study, prepare(tmp_path, ["cat", "dog", "owl"]))
    printed = capsys.readouterr().out
    frozen, some, learns = "frozen", "some of it learns", "learns"
    assert tables(printed) == {
        "head on resnet18: head": in_full((0, 0, 0, 0, 0, 1_539), *[frozen] * 5, learns),
        "half on resnet18: stage4.1 head": in_full((0, 0, 0, 0, 4_720_640, 1_539), *[frozen] * 4, some, learns),
        "edges on resnet18: stem head": in_full((9_536, 0, 0, 0, 0, 1_539), learns, *[frozen] * 4, learns),
        # Of each norm a weight and a bias for every channel: 4 norms at the width of each stage, and those of the
        # shortcuts of stages 2 to 4.
        "norms on resnet18: head norms": in_full(
            (2 * 64, 4 * 2 * 64, 5 * 2 * 128, 5 * 2 * 256, 5 * 2 * 512, 1_539), *[some] * 5, learns
        ),
        "all on resnet18: stem stage1 stage2 stage3 stage4 head": in_full(RESNET18, *[learns] * 6),
    }
    assert printed.endswith("Counted with 3 classes.\n")
    assert "11,178,051" in printed


def test_before_images_are_prepared_two_classes_are_counted_and_this_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plans.main(write_study(tmp_path, {"head": {"from": "head"}}), tmp_path / "prepared.json")
    printed = capsys.readouterr().out
    (rows,) = tables(printed).values()
    assert rows[6] == ("head", "1,026", "1,026", "learns")  # 512 x 2 weights and 2 biases
    assert printed.endswith("Counted with 2 classes, as none are prepared yet.\n")


def test_a_part_without_parameters_neither_learns_nor_is_frozen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path, {"all": {"from": "stem"}}, "shufflenet_v2_x1_0")
    plans.main(study, tmp_path / "prepared.json")
    (rows,) = tables(capsys.readouterr().out).values()
    assert rows[2] == ("stage1", "0", "0", "has no parameters")


@pytest.mark.parametrize(
    ("backbone", "plan", "words"),
    [
        ("resnet18", {"from": "stage3.2"}, "name stage3.0 or stage3.1. Got 'stage3.2' instead."),
        ("resnet18", {"train": ["head", "stage4.9"]}, "Got 'stage4.9' instead."),
        ("alexnet", {"train": ["norms", "head"]}, "name what the backbone has; it has no norms. Got 'norms' instead."),
        (
            "shufflenet_v2_x1_0",
            {"train": ["stage4.5", "head"]},  # it only pools
            "name what has parameters. Got 'stage4.5', which has none instead.",
        ),
    ],
)
@pytest.mark.parametrize("tool", ["plans", "check"])
def test_a_plan_that_does_not_fit_its_backbone_is_one_line_that_names_both(
    tmp_path: Path, tool: str, backbone: str, plan: dict[str, Any], words: str
) -> None:
    study = write_study(tmp_path, {"head": {"from": "head"}, "deep": plan}, backbone)
    line = refusal(plans, study, tmp_path / "prepared.json") if tool == "plans" else refusal(check, study)
    assert line.startswith(f"plans.deep on {backbone} must name ")
    assert line.endswith(words)


def test_a_part_that_has_nothing_to_learn_is_refused_by_its_name_before_anything_is_cleared(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"pool": {"train": ["stage1", "head"]}}, "shufflenet_v2_x1_0")
    line = "plans.pool on shufflenet_v2_x1_0 must name what has parameters. Got 'stage1', which has none instead."
    assert refusal(plans, study, tmp_path / "prepared.json") == line
    assert refusal(check, study) == line


@pytest.mark.parametrize("tool", ["plans", "check"])
def test_params_that_do_not_load_are_one_line(tmp_path: Path, tool: str) -> None:
    missing = tmp_path / "params.yaml"
    line = refusal(plans, missing, missing) if tool == "plans" else refusal(check, missing)
    assert line == f"{missing} must be a YAML file. Got no file instead."


def test_a_weights_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"own": {"from": "head", "weights": NO_FILE}})
    assert refusal(check, study) == (
        f"plans.own.weights must be pretrained, none or a file. Got no file '{NO_FILE}' instead."
    )


def test_a_folder_in_place_of_a_weights_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_study(tmp_path, {"own": {"from": "head", "weights": "data/weights/own"}})
    (tmp_path / "data" / "weights" / "own").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    run(tmp_path, "git", "init", "--quiet")
    assert refusal(check, study).startswith("plans.own.weights must be pretrained, none or a file. ")


def test_a_study_in_order_passes_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"train": ["stage3.1", "biases"], "weights": "data/weights/own.pth"}
    study = write_study(tmp_path, {"own": own, "head": {"from": "head"}, "deep": {"from": "stage2.0"}})
    weights = tmp_path / "data" / "weights"
    weights.mkdir(parents=True)
    torch.save(build_original_classifier("resnet18", "none").state_dict(), weights / "own.pth")
    monkeypatch.chdir(tmp_path)
    run(tmp_path, "git", "init", "--quiet")
    check.main(study)
    assert capsys.readouterr() == ("", "")


def test_a_plan_that_is_not_in_the_study_is_not_checked_against_its_backbones(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"head": {"from": "head"}, "unused": {"from": "stage4.9", "weights": NO_FILE}})
    params = load_yaml(study.read_text(encoding="utf-8"))
    params["study"]["plans"] = ["head"]
    study.write_text(dump_yaml(params), encoding="utf-8")
    check.main(study)


def test_a_study_is_checked_before_dvc_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dvc clears the outputs of a stage before it runs it."""
    study = write_study(tmp_path, {"deep": {"from": "stage3.2"}})
    study.rename(tmp_path / "params.yaml")
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    monkeypatch.chdir(tmp_path)
    run(tmp_path, "git", "init", "--quiet")
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(command, "run_dvc", lambda *words: started.append(words) or 0)
    for run_command in (command.study, command.check):
        with pytest.raises(SystemExit, match=r"^plans.deep on resnet18 must name stage3.0 or stage3.1\."):
            run_command(None, None)
    assert not started


@pytest.mark.parametrize("tool", ["plans", "check"])
def test_on_the_command_line_a_mistake_is_one_line_and_exit_code_1(tmp_path: Path, tool: str) -> None:
    study = write_study(tmp_path, {"deep": {"from": "stage3.2"}})
    command = (sys.executable, "-m", f"frostline.commands.{tool}", study)
    ended = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "plans.deep on resnet18 must name stage3.0 or stage3.1. Got 'stage3.2' instead.\n"
    assert ended.stdout == ""
