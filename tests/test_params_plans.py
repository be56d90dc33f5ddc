"""Plans, phases, weights and image sizes that cannot be are refused before anything runs."""

from pathlib import Path
from typing import Any

import pytest

from frostline.constants import BACKBONES, MOST_PX, WITHOUT_WEIGHTS
from frostline.params.loading import load_params
from frostline.params.schema import Params, Phase, Plan
from tests.changed_params import PARTS, changed, refusal_of
from tests.project import dump_yaml


@pytest.mark.parametrize(
    "said",
    [
        *({"from": name} for name in ("head", "stem", "stage4.1", "stage3.12", "head.0")),
        *(
            {"train": names}
            for names in (["stem", "head"], ["norms", "head"], ["biases"], ["stage4.1", "stage2", "norms"])
        ),
    ],
    ids=str,
)
def test_a_plan_names_parts_blocks_and_selectors(tmp_path: Path, said: dict[str, Any]) -> None:
    """Which blocks there are, only a backbone knows."""
    plan = _loaded(tmp_path, changed("plans.head", {**said, "weights": "pretrained", "learning_rates": [0.1]})).plans
    assert plan["head"].model_dump(by_alias=True, include=set(said) | {"from_"}, exclude_none=True) == said


def test_a_block_written_as_a_number_would_be_is_refused_in_words(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, changed("plans.head.from", 4.1)) == (
        "plans.head.from must be a valid string. Got 4.1 instead."
    )


def test_what_is_named_twice_to_train_is_refused(tmp_path: Path) -> None:
    plan = {"train": ["head", "norms", "head"], "weights": "pretrained", "learning_rates": [0.1]}
    line = "plans.head.train must name each value once. Got 'head' more than once instead."
    assert refusal_of(tmp_path, changed("plans.head", plan)) == line


def test_a_plan_that_trains_nothing_is_refused(tmp_path: Path) -> None:
    plan = {"train": [], "weights": "pretrained", "learning_rates": [0.1]}
    line = "plans.head.train must hold at least one value. Got [] instead."
    assert refusal_of(tmp_path, changed("plans.head", plan)) == line


EVERY_PART = ["stem", "stage1", "stage2", "stage3", "stage4", "head"]


@pytest.mark.parametrize(
    "said", [{"from": "stage4"}, {"from": "stem.1"}, {"train": ["norms", "head"]}, {"train": EVERY_PART[1:]}], ids=str
)
def test_random_weights_where_anything_is_frozen_are_refused(tmp_path: Path, said: dict[str, Any]) -> None:
    """They would stay random."""
    plan = {**said, "weights": "none", "learning_rates": [0.1]}
    line = "plans.head.weights must be pretrained or a file where parts are frozen. Got 'none' instead."
    assert refusal_of(tmp_path, changed("plans.head", plan)) == line


@pytest.mark.parametrize("said", [{"from": "stem"}, {"train": EVERY_PART}], ids=str)
def test_random_weights_of_which_all_learn_are_welcome(tmp_path: Path, said: dict[str, Any]) -> None:
    plan = {**said, "weights": "none", "learning_rates": [0.1]}
    assert _loaded(tmp_path, changed("plans.head", plan)).plans["head"].weights == "none"


def test_a_file_in_the_folder_that_dvc_watches_may_be_the_weights(tmp_path: Path) -> None:
    """Whether it is there, frostline/commands/check.py looks."""
    params = _loaded(tmp_path, changed("plans.head.weights", "data/weights/mine.safetensors"))
    assert params.plans["head"].weights == "data/weights/mine.safetensors"


@pytest.mark.parametrize(
    ("backbone", "must"),
    [
        ("alexnet", "63 to 1024"),
        ("vgg16", "32 to 1024"),
        ("inception_v3", "75 to 1024"),
        ("densenet121", "29 to 1024"),
        ("squeezenet1_1", "17 to 1024"),
        ("convnext_tiny", "32 to 1024"),
    ],
)
def test_images_that_are_too_small_for_a_backbone_are_refused_and_the_smallest_are_not(
    tmp_path: Path, backbone: str, must: str
) -> None:
    smallest = int(must.split()[0])
    params = _with_image_px(smallest - 1, "resnet18", backbone)
    line = f"data.image_px must be {must} for {backbone}. Got {smallest - 1} instead."
    assert refusal_of(tmp_path, params) == line
    assert _loaded(tmp_path, _with_image_px(smallest, "resnet18", backbone)).data.image_px == smallest


@pytest.mark.parametrize("image_px", [72, 223, 225, 448])
def test_a_vision_transformer_takes_images_of_the_side_that_it_was_trained_on_and_no_other(
    tmp_path: Path, image_px: int
) -> None:
    line = f"data.image_px must be 224 for vit_b_16. Got {image_px} instead."
    assert refusal_of(tmp_path, _with_image_px(image_px, "vit_b_16")) == line
    assert _loaded(tmp_path, _with_image_px(224, "vit_b_16")).backbones == ["vit_b_16"]


def test_every_backbone_may_be_named_with_its_smallest_and_its_largest_images(tmp_path: Path) -> None:
    for backbone, sides in BACKBONES.items():
        for side in (sides[0], sides[-1]):
            assert 16 <= side <= MOST_PX
            assert _loaded(tmp_path, _from_scratch(_with_image_px(side, backbone))).backbones == [backbone]


@pytest.mark.parametrize("backbone", WITHOUT_WEIGHTS)
def test_pretrained_weights_are_refused_of_networks_of_which_nobody_has_published_any(
    tmp_path: Path, backbone: str
) -> None:
    params = _with_image_px(32, backbone)
    line = f"plans.head.weights must be none or a file for {backbone}. Got 'pretrained' instead."
    assert refusal_of(tmp_path, params) == f"{line} Nobody has published any."


@pytest.mark.parametrize(
    ("shifts", "line"),
    [
        ([0], "study.shifts.0 must be greater than or equal to 1. Got 0 instead."),
        ([4, 96], "study.shifts must be less than data.image_px, 96. Got 96 instead."),
        ([4, 4], "study.shifts must name each value once. Got 4 more than once instead."),
    ],
)
def test_images_are_shifted_by_a_pixel_at_least_and_by_less_than_there_is_of_them(
    tmp_path: Path, shifts: list[int], line: str
) -> None:
    assert refusal_of(tmp_path, changed("study.shifts", shifts)) == line


@pytest.mark.parametrize(("percent", "must"), [(0, "greater than 0"), (101, "less than or equal to 100")])
def test_a_plan_is_shown_some_of_the_training_images_and_all_at_most(tmp_path: Path, percent: int, must: str) -> None:
    line = f"plans.head.train_percent must be {must}. Got {percent} instead."
    assert refusal_of(tmp_path, changed("plans.head.train_percent", percent)) == line


def _from_scratch(params: dict[str, Any]) -> dict[str, Any]:
    """Let the study's plans be those alone that need no pretrained weights."""
    params["plans"] = {"scratch": {"from": "stem", "weights": "none", "learning_rates": [0.001]}}
    params["study"]["plans"] = ["scratch"]
    return params


def _with_image_px(image_px: int, *backbones: str) -> dict[str, Any]:
    params = changed("data.image_px", image_px)
    params["backbones"] = list(backbones)
    return params


def _loaded(tmp_path: Path, params: dict[str, Any]) -> Params:
    path = tmp_path / "params.yaml"
    path.write_text(dump_yaml(params), encoding="utf-8")
    return load_params(path)


PHASE = {"from": "head", "epochs": 2, "learning_rates": [0.1]}


def _phased(*phases: dict[str, object], **more: object) -> dict[str, Any]:
    return changed("plans.head", {"weights": "pretrained", "phases": list(phases), **more})


def test_a_plan_without_phases_has_one_of_all_the_epochs() -> None:
    plan = Plan.model_validate({"from": "stage4", "weights": "pretrained", "learning_rates": [0.1], "layer_decay": 0.5})
    (phase,) = plan.list_phases(7)
    assert phase == Phase.model_validate({"from": "stage4", "epochs": 7, "learning_rates": [0.1], "layer_decay": 0.5})


def test_phases_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(dump_yaml(_phased(PHASE, PHASE | {"from": "stem"})), encoding="utf-8")
    assert [phase.from_ for phase in load_params(path).plans["head"].list_phases(9)] == ["head", "stem"]


@pytest.mark.parametrize(
    ("phases", "more", "line"),
    [
        ([], {}, "plans.head.phases must hold at least one value. Got [] instead."),
        (
            [PHASE | {"from": "neck"}],
            {},
            f"plans.head.phases.0.from must name {PARTS} or head, or a block such as stage4.1. Got 'neck' instead.",
        ),
        (
            [PHASE, {"epochs": 2, "learning_rates": [0.1]}],
            {},
            "plans.head.phases.1 must say one of from: <part>, train: [<part>, ...] and "
            "adapt: {lora: <rank>, parts: [...]}. Got none of them instead.",
        ),
        (
            [{"from": "head", "learning_rates": [0.1]}],
            {},
            "plans.head.phases.0.epochs must be given. Got nothing instead.",
        ),
        ([PHASE | {"epochs": 0}], {}, "plans.head.phases.0.epochs must be greater than or equal to 1. Got 0 instead."),
        (
            [PHASE | {"rates": [1.0]}],
            {},
            "plans.head.phases.0 must hold only from, train, adapt, epochs, learning_rates or layer_decay. "
            "Got 'rates' instead.",
        ),
        (
            [PHASE | {"layer_decay": 1.5}],
            {},
            "plans.head.phases.0.layer_decay must be less than or equal to 1. Got 1.5 instead.",
        ),
        ([PHASE], {"from": "head"}, "plans.head must say from in each of its phases. Got from beside them instead."),
        (
            [PHASE],
            {"learning_rates": [0.1]},
            "plans.head must say learning_rates in each of its phases. Got learning_rates beside them instead.",
        ),
        (
            [PHASE],
            {"weights": "none"},
            "plans.head.weights must be pretrained or a file where parts are frozen. Got 'none' instead.",
        ),
    ],
)
def test_what_is_wrong_with_a_phase_is_told_by_its_place(
    tmp_path: Path, phases: list[dict[str, object]], more: dict[str, object], line: str
) -> None:
    assert refusal_of(tmp_path, _phased(*phases, **more)) == line


def test_a_warm_up_that_leaves_no_epoch_at_full_height_is_refused(tmp_path: Path) -> None:
    params = changed("training.warmup_epochs", 4)
    must = "training.warmup_epochs must be less than"
    assert refusal_of(tmp_path, params) == f"{must} training.epochs, 4. Got 4 instead."
    params = _phased(PHASE)
    params["training"]["warmup_epochs"] = 2
    assert refusal_of(tmp_path, params) == f"{must} plans.head.phases.0.epochs, 2. Got 2 instead."


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("data.hub.branch", "dataset, revision, image, label, train, validation or test"),
        ("training.augmentation.flip", "flips, crop, crop_padding, crop_scale, colour or policy"),
    ],
)
def test_an_unknown_name_in_a_section_of_a_section_is_refused_with_the_known_ones(
    tmp_path: Path, name: str, known: str
) -> None:
    section, _, last = name.rpartition(".")
    assert refusal_of(tmp_path, changed(name, 1)) == f"{section} must hold only {known}. Got {last!r} instead."
