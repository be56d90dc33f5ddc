"""What is ready is what it says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frostline.backbones.freezing import apply_plan, count_parameters
from frostline.backbones.registry import build_backbone
from frostline.commands import check
from frostline.laying.studies import load_study, write_study
from frostline.params.schema import Params
from frostline.sources.hub import COMMIT
from tests.project import ROOT, STUDIES, load_yaml

ORIGINAL = {"stem_and_stage2": 11_030_083, "stem_and_stage3": 10_504_515, "stem_and_stage4": 8_404_803,
            "stem_and_head": 11_075}  # fmt: skip
"""Trainable parameters that the original study published, of ResNet18 with three classes."""
LACKED = {"all": 11_178_051, "scratch": 11_178_051, "stage4_1": 4_720_640 + 1_539, "head": 1_539}


def ready(name: str) -> Params:
    return load_study(name, ROOT)


def trainable(study: Params, name: str) -> int:
    (backbone,) = study.backbones
    parts = build_backbone(backbone, "none", classes=3)
    apply_plan(parts, study.plans[name])
    return count_parameters(parts)[0]


@pytest.mark.parametrize("name", STUDIES)
def test_every_plan_of_a_ready_study_fits_its_backbones(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text(write_study(name, ROOT))
    check.main(tmp_path / "params.yaml")
    assert capsys.readouterr() == ("", "")


def test_the_beans_study_lets_learn_to_the_digit_what_the_original_did_and_the_plans_that_it_lacked() -> None:
    study = ready("beans")
    assert {name: trainable(study, name) for name in study.study.plans} == ORIGINAL | LACKED


def test_the_beans_study_is_trained_as_the_original_was() -> None:
    study = ready("beans")
    taught, made = study.training, study.training.augmentation
    assert (study.backbones, study.data.image_px, study.study.repeats) == (["resnet18"], 224, 6)
    assert (taught.batch_size, taught.epochs, taught.patience) == (16, 30, 10)
    assert (taught.schedule, taught.plateau_factor, taught.plateau_patience) == ("plateau", 0.5, 3)
    assert (made.flips, made.crop, made.colour, made.policy, taught.views) == ("none", "none", 0, "none", 1)
    assert {rate for plan in study.plans.values() for rate in plan.learning_rates or ()} == {0.0001}


def test_both_beans_studies_are_of_the_same_images() -> None:
    full, lite = (ready(name).data for name in ("beans", "beans_lite0"))
    assert full.model_copy(update={"image_px": lite.image_px}) == lite
    assert ready("beans_lite0").backbones == ["efficientnet_lite0"]


@pytest.mark.parametrize("name", STUDIES)
def test_a_ready_study_of_the_hub_names_a_commit_which_nobody_can_move(name: str) -> None:
    assert COMMIT.fullmatch(ready(name).data.hub.revision)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_says_nothing_that_the_default_says_already(name: str) -> None:
    """But plans, which are a study's own."""
    said, default = (load_yaml((ROOT / "studies" / f"{file}.yaml").read_text()) for file in (name, "default"))
    if name != "default":
        assert list(repeat(said, default)) == []


def repeat(said: dict[str, Any], default: dict[str, Any], where: str = "") -> Iterator[str]:
    for key, value in said.items():
        if where + key == "plans":
            continue
        if isinstance(value, dict):
            yield from repeat(value, default[key], f"{where}{key}.")
        elif value == default[key]:
            yield where + key


PLAIN = [
    "adapt",
    "adapt_beans",
    "lites",
    "default_72",
    "beans_folds",
    "cifar10",
    "cifar10_batchnorm",
    "cifar10_lite0",
    "depth",
    "digits",
    "elpv_random",
    "quick",
    "size",
    "views",
]
KEPT = {
    "architectures": "architectures_lite0",
    "beans": "beans_lite0",
    "flowers102": "flowers102_lite0",
    "flowers102_folds": "flowers102_folds",
} | {name: name for name in PLAIN}
"""The studies that are recorded, by the folders of docs."""


def test_every_recorded_study_is_held_against_its_file() -> None:
    assert {path.parent.name for path in (ROOT / "docs").glob("*/params.yaml")} == set(KEPT)


@pytest.mark.parametrize("kept", KEPT)
def test_a_recorded_study_is_the_one_that_its_file_describes(kept: str) -> None:
    assert (ROOT / f"docs/{kept}/params.yaml").read_text() == write_study(KEPT[kept], ROOT)


def test_the_random_study_differs_from_the_default_one_in_its_split_alone() -> None:
    default, random = (ready(name) for name in ("default", "elpv_random"))
    assert (default.data.groups, random.data.groups) == ("blocks", "none")
    data = random.data.model_copy(update={"groups": "blocks"})
    assert random.model_copy(update={"data": data}) == default
