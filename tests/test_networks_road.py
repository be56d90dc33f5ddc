"""An own network and one of timm walk the whole road of dvc, with LoRA, an earlier head and balanced classes."""

from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from frostline.backbones.registry import build_original_classifier
from frostline.backbones.runs import load_backbone
from frostline.files import read_json
from tests.project import commit, copy_project, read_study, run, write_params

pytestmark = pytest.mark.long

OWN = "models/example.py:build"
WEIGHTS = "data/weights/example.safetensors"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository in which the small study has run and is committed."""
    folder = copy_project(tmp_path_factory.mktemp("study"))
    params = read_study("quick")
    params["backbones"] = [OWN]
    params["data"]["folds"] = 2
    params["training"] |= {"epochs": 2, "batch_size": 128, "schedule": "constant", "class_weights": "balanced"}
    learned = {"weights": WEIGHTS, "learning_rates": [0.001]}
    params["plans"] = {
        "head": {"from": "head", **learned},
        "lora": {"adapt": {"lora": 2, "parts": ["stage3", "stage4"]}, **learned},
        "early": {"from": "stage2", "head_after": "stage2", **learned},
        "scratch": {"from": "stem", "weights": "none", "learning_rates": [0.001]},
    }
    params["study"]["plans"] = [*params["plans"]]
    save_file(build_original_classifier(OWN, "none").state_dict(), folder / WEIGHTS)
    write_params(folder, params)
    commit(folder, "an own network")
    run(folder, "dvc", "repro")
    commit(folder, "study")
    return folder


def test_each_plan_learned_what_it_says_and_the_audit_passed(study: Path) -> None:
    plans = pd.read_csv(study / "reports/plans.csv").set_index("plan")
    assert set(plans.audit) == {"passed"}
    assert plans.learns["lora"] == "head LoRA-2(stage3 stage4)"
    assert plans.learns["early"] == "stage2 head"
    lora, head = (plans.trainable_parameters[name] for name in ("lora", "head"))
    layers = ((64 * 9, 128), (64, 128), (128 * 9, 128), (128, 128))
    assert lora - head == 2 * sum(inputs + outputs for inputs, outputs in layers)
    assert plans.parameters["early"] < plans.parameters["head"]


def test_what_lora_learned_is_kept_alone_and_comes_back_merged(study: Path) -> None:
    folder = study / f"data/runs/{OWN}-lora"
    kept = load_file(folder / "replicate-0.safetensors")
    assert {name.rpartition(".")[2] for name in kept} == {"lora_down", "lora_up", "weight", "bias"}
    assert {name.partition(".")[0] for name in kept if name.endswith(("weight", "bias"))} == {"head"}
    merged = run_in(study, folder)
    assert not any("lora" in name for name in merged)


def run_in(study: Path, folder: Path) -> set[str]:
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(study)
        return set(load_backbone(folder, 0).state_dict())


def test_run_json_tells_what_the_network_was_made_for(study: Path) -> None:
    told = read_json(study / f"data/runs/{OWN}-head/run.json")
    assert told["image_px"] == 32
    scaling = {"mean": [127.5] * 3, "deviation": [127.5] * 3}
    assert told["preprocessing"] == {"px": 64, "interpolation": "bilinear", **scaling}


def test_a_change_of_the_network_s_file_trains_its_runs_anew_and_a_second_repro_nothing(study: Path) -> None:
    assert "Data and pipelines are up to date." in run(study, "dvc", "repro").stdout
    file = study / "models/example.py"
    original = file.read_text()
    file.write_text(original.replace("MEAN, DEVIATION = (0.5, 0.5, 0.5)", "MEAN, DEVIATION = (0.4, 0.5, 0.5)"))
    before = pd.read_csv(study / "reports/plans.csv")
    output = run(study, "dvc", "repro").stdout
    assert f"Running stage 'train@{OWN}-head'" in output
    after = pd.read_csv(study / "reports/plans.csv")
    assert not before.negative_log_likelihood.equals(after.negative_log_likelihood)
    file.write_text(original)


def test_a_network_of_timm_is_trained_beside_it(study: Path) -> None:
    run(study, "git", "checkout", "--", "params.yaml", "models")
    params = {"backbones": "[timm/test_resnet, models/example.py:build]", "study.plans": "[scratch]"}
    run(study, "dvc", "exp", "run", *(part for name, value in params.items() for part in ("-S", f"{name}={value}")))
    plans = pd.read_csv(study / "reports/plans.csv")
    assert list(plans.backbone) == ["timm/test_resnet", OWN]
    assert (study / "data/runs/timm/test_resnet-scratch/run.json").is_file()
