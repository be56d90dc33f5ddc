"""What loads, and the one line by which a person mends what does not."""

from pathlib import Path
from typing import Any

import pytest

from frostline.constants import BACKBONES, MOST_PX, WITHOUT_WEIGHTS
from frostline.errors import InputError, join_names
from frostline.params import Params, Phase, Plan, check_params, load_params
from tests.project import ROOT, STUDIES, dump_yaml, load_yaml, read_study

COMMITTED = ROOT / "params.yaml"
PARTS = "stem, stage1, stage2, stage3, stage4"
LEFT_OUT = object()
AS_TEXT = "It is text: write {} without quotes."


def _committed() -> dict[str, Any]:
    return load_yaml(COMMITTED.read_text(encoding="utf-8"))


def _changed(name: str, value: object) -> dict[str, Any]:
    """Return the committed params with one value changed, added or left out. `name` is dotted."""
    params = _committed()
    *sections, last = name.split(".")
    section = params
    for each in sections:
        section = section[each]
    if value is LEFT_OUT:
        del section[last]
    else:
        section[last] = value
    return params


def _refusal(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_params(path)
    return str(caught.value)


def _refusal_of(tmp_path: Path, params: object) -> str:
    return _refusal(tmp_path / "params.yaml", dump_yaml(params))


@pytest.mark.parametrize("name", STUDIES)
def test_every_ready_study_loads_and_keeps_its_values(name: str) -> None:
    written = read_study(name)
    loaded = check_params(written).model_dump(by_alias=True, exclude_unset=True)
    assert loaded == written


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "data.image_px",
            8,
            "data.image_px must be greater than or equal to 16. Got 8 instead.",
        ),
        (
            "data.image_px",
            2000,
            "data.image_px must be less than or equal to 1024. Got 2000 instead.",
        ),
        ("data.source", "hug", "data.source must be 'package', 'folder' or 'hub'. Got 'hug' instead."),
        ("data.package", "beans", "data.package must be 'elpv' or 'digits'. Got 'beans' instead."),
        ("data.groups", None, "data.groups must be 'blocks' or 'none'. Got None instead."),
        ("data.folder", 3, "data.folder must be a valid string. Got 3 instead."),
        (
            "data.elpv_defective",
            "probability>0",
            "data.elpv_defective must be 'probability >= 0.5' or 'probability > 0'. Got 'probability>0' instead.",
        ),
        (
            "data.block_files",
            1,
            "data.block_files must be greater than or equal to 2. Got 1 instead.",
        ),
        (
            "data.validation_percent",
            0,
            "data.validation_percent must be greater than 0. Got 0 instead.",
        ),
        ("data.test_percent", 100, "data.test_percent must be less than 100. Got 100 instead."),
        ("study.seeds", [-1], "study.seeds.0 must be greater than or equal to 0. Got -1 instead."),
        ("study.seeds", 3, "study.seeds must be a valid list. Got 3 instead."),
        ("advice.margin", 0, "advice.margin must be greater than 0. Got 0 instead."),
        (
            "advice.cost",
            "money",
            "advice.cost must be 'trainable_parameters', 'train_flops', 'train_seconds' or 'peak_memory_bytes'. "
            "Got 'money' instead.",
        ),
        ("training.epochs", 0, "training.epochs must be greater than or equal to 1. Got 0 instead."),
        ("training.epochs", 6.5, "training.epochs must be a valid integer. Got 6.5 instead."),
        ("training.epochs", True, "training.epochs must be a valid integer. Got True instead."),
        ("training.batch_size", 1, "training.batch_size must be greater than or equal to 3. Got 1 instead."),
        (
            "training.precision",
            "float16",
            "training.precision must be 'auto', 'float32' or 'bfloat16'. Got 'float16' instead.",
        ),
        (
            "training.weight_decay",
            float("inf"),
            "training.weight_decay must be a finite number. Got inf instead.",
        ),
        (
            "plans.head.weights",
            "imagenet",
            "plans.head.weights must be pretrained, none or a file in data/weights. Got 'imagenet' instead.",
        ),
        (
            "plans.head.weights",
            "../own.pth",
            "plans.head.weights must be pretrained, none or a file in data/weights. Got '../own.pth' instead.",
        ),
        (
            "plans.head.learning_rates",
            [0.001, 0],
            "plans.head.learning_rates.1 must be greater than 0. Got 0 instead.",
        ),
        (
            "plans.head.learning_rates",
            [float("nan")],
            "plans.head.learning_rates.0 must be a finite number. Got nan instead.",
        ),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(tmp_path: Path, name: str, value: object, line: str) -> None:
    assert _refusal_of(tmp_path, _changed(name, value)) == line


@pytest.mark.parametrize(
    ("name", "value", "must", "write"),
    [
        ("training.epochs", "6", "be a valid integer", "6"),
        ("data.image_px", "80", "be a valid integer", "80"),
        ("data.validation_percent", "15", "be a valid number", "15"),
        ("training.weight_decay", "1e-5", "be a valid number", "1e-5"),
        ("training.weight_decay", "1e-2", "be a valid number", "1e-2"),
    ],
)
def test_the_number_advised_for_a_number_given_as_text_is_accepted(
    tmp_path: Path, name: str, value: str, must: str, write: str
) -> None:
    line = f"{name} must {must}. Got {value!r} instead. {AS_TEXT.format(write)}"
    assert _refusal_of(tmp_path, _changed(name, value)) == line
    mended = tmp_path / "mended.yaml"
    mended.write_text(dump_yaml(_changed(name, load_yaml(write))), encoding="utf-8")
    section, last = name.split(".")
    assert getattr(getattr(load_params(mended), section), last) == float(value)


@pytest.mark.parametrize("rate", ["1e-3", "1.0e-03", "0.001", ".001"])
def test_a_learning_rate_is_a_number_however_it_is_written(tmp_path: Path, rate: str) -> None:
    text = dump_yaml(_changed("plans.head.learning_rates", ["RATE"])).replace("RATE", rate)
    (tmp_path / "params.yaml").write_text(text)
    assert load_params(tmp_path / "params.yaml").plans["head"].learning_rates == [0.001]


@pytest.mark.parametrize("word", ["yes", "no", "on", "off"])
def test_what_older_yaml_took_for_true_or_false_is_refused_in_plain_words(tmp_path: Path, word: str) -> None:
    text = dump_yaml(_changed("study.racing", "WORD")).replace("WORD", word)
    assert _refusal(tmp_path / "params.yaml", text) == f"study.racing must be true or false. Got {word!r} instead."


def test_a_name_that_is_given_twice_is_refused_with_the_place(tmp_path: Path) -> None:
    line = _refusal(tmp_path / "params.yaml", "data: 1\nstudy: 2\ndata: 3\n")
    assert line.startswith(f"{tmp_path / 'params.yaml'} must be YAML. Got an error in line 3, column 1 instead. ")
    assert "\n" not in line


@pytest.mark.parametrize("word", ["nan", "inf", "six"])
def test_text_that_is_no_finite_number_gets_no_advice_to_write_it_as_one(tmp_path: Path, word: str) -> None:
    line = f"training.weight_decay must be a valid number. Got {word!r} instead."
    assert _refusal_of(tmp_path, _changed("training.weight_decay", word)) == line


@pytest.mark.parametrize(
    "name", ["training", "backbones", "data.folder", "training.views", "plans.head.learning_rates"]
)
def test_a_missing_name_is_asked_for_by_its_full_name(tmp_path: Path, name: str) -> None:
    assert _refusal_of(tmp_path, _changed(name, LEFT_OUT)) == f"{name} must be given. Got nothing instead."


UNKNOWN = [
    ("trainig", "params.yaml must hold only data, study, backbones, plans, training or advice. Got 'trainig' instead."),
    (
        "data.imagepx",
        "data must hold only source, package, folder, hub, elpv_defective, image_px, groups, block_files, "
        "validation_percent or test_percent. Got 'imagepx' instead.",
    ),
    ("study.seed", "study must hold only seeds, plans, racing or shifts. Got 'seed' instead."),
    (
        "training.epoch",
        "training must hold only epochs, patience, batch_size, weight_decay, precision, schedule, plateau_factor, "
        "plateau_patience, warmup_epochs, label_smoothing, augmentation, views, cache_bytes, augmentation_seed or "
        "tensorboard. Got 'epoch' instead.",
    ),
    (
        "plans.head.learning_rate",
        "plans.head must hold only from, train, weights, learning_rates, layer_decay, phases, views or train_percent. "
        "Got 'learning_rate' instead.",
    ),
]


@pytest.mark.parametrize(("name", "line"), UNKNOWN)
def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path, name: str, line: str) -> None:
    assert _refusal_of(tmp_path, _changed(name, 1)) == line


@pytest.mark.parametrize(
    ("name", "line"),
    [(right, line) for right, (_, line) in zip(
        ["training", "data.image_px", "study.seeds", "training.epochs", "plans.head.learning_rates"],
        UNKNOWN,
        strict=True,
    )],
)  # fmt: skip
def test_a_misspelt_name_is_told_as_misspelt_and_not_as_missing(tmp_path: Path, name: str, line: str) -> None:
    misspelt = line.split("Got '")[1].removesuffix("' instead.")
    params = _changed(name, LEFT_OUT)
    section = params
    for each in name.split(".")[:-1]:
        section = section[each]
    section[misspelt] = 1
    assert _refusal_of(tmp_path, params) == line


PLANS = join_names(_committed()["plans"])


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        *(
            (
                "plans.head.from",
                name,
                f"plans.head.from must name {PARTS} or head, or a block such as stage4.1. Got {name!r} instead.",
            )
            for name in ("stage9", "Head", "stage9.1", "stage4.", "stage4.one", "stage4.1.conv1", ".1", "norms", "")
        ),
        ("study.plans", ["head", "hed"], f"study.plans must name {PLANS}. Got 'hed' instead."),
        ("backbones", ["resnet"], f"backbones must name {join_names(BACKBONES)}. Got 'resnet' instead."),
    ],
)
def test_an_unknown_part_plan_or_backbone_is_refused_with_the_known_ones(
    tmp_path: Path, name: str, value: object, line: str
) -> None:
    assert _refusal_of(tmp_path, _changed(name, value)) == line


def test_an_unknown_part_among_those_to_train_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    plan = {"train": ["stem", "neck"], "weights": "none", "learning_rates": [0.1]}
    line = (
        f"plans.head.train must name {PARTS}, head, norms or biases, or a block such as stage4.1. Got 'neck' instead."
    )
    assert _refusal_of(tmp_path, _changed("plans.head", plan)) == line


@pytest.mark.parametrize(
    ("crop", "padding", "refused"), [("padding", 72, True), ("padding", 71, False), ("none", 72, False)]
)
def test_an_image_is_padded_with_less_than_there_is_of_it(
    tmp_path: Path, crop: str, padding: int, *, refused: bool
) -> None:
    params = _changed("training.augmentation.crop", crop)
    params["training"]["augmentation"]["crop_padding"] = padding
    if refused:
        line = "training.augmentation.crop_padding must be less than data.image_px, 72. Got 72 instead."
        assert _refusal_of(tmp_path, params) == line
    else:
        (tmp_path / "params.yaml").write_text(dump_yaml(params))
        assert load_params(tmp_path / "params.yaml").training.augmentation.crop_padding == padding


@pytest.mark.parametrize(("said", "got"), [({}, "neither"), ({"from": "head", "train": ["stem"]}, "both")])
def test_a_plan_says_either_from_or_train(tmp_path: Path, said: dict[str, object], got: str) -> None:
    plan = {**said, "weights": "none", "learning_rates": [0.1]}
    line = f"plans.head must say either from: <part> or train: [<part>, ...], or phases: [...]. Got {got} instead."
    assert _refusal_of(tmp_path, _changed("plans.head", plan)) == line


@pytest.mark.parametrize(
    ("name", "value", "twice"),
    [
        ("study.seeds", [0, 1, 0], "0"),
        ("study.plans", ["head", "head"], "'head'"),
        ("backbones", ["efficientnet_lite0"] * 2, "'efficientnet_lite0'"),
        ("plans.head.learning_rates", [0.1, 0.1], "0.1"),
    ],
)
def test_what_is_named_more_than_once_is_refused(tmp_path: Path, name: str, value: list[object], twice: str) -> None:
    line = f"{name} must name each value once. Got {twice} more than once instead."
    assert _refusal_of(tmp_path, _changed(name, value)) == line


@pytest.mark.parametrize(("validation", "test", "total"), [(75, 25, "100"), (60, 50.5, "110.5")])
def test_percents_that_leave_nothing_to_train_on_are_refused(
    tmp_path: Path, validation: float, test: float, total: str
) -> None:
    params = _changed("data.validation_percent", validation)
    params["data"]["test_percent"] = test
    assert _refusal_of(tmp_path, params) == (
        "data must leave images to train on: data.validation_percent + data.test_percent below 100. "
        f"Got {total} instead."
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("study.seeds", []), ("study.plans", []), ("backbones", []), ("plans", {}), ("plans.head.learning_rates", [])],
)
def test_an_empty_list_is_refused_in_plain_words(tmp_path: Path, name: str, value: object) -> None:
    line = f"{name} must hold at least one value. Got {value!r} instead."
    assert _refusal_of(tmp_path, _changed(name, value)) == line


@pytest.mark.parametrize(
    ("params", "where", "got"),
    [
        (None, "params.yaml", "None"),
        (["a"], "params.yaml", "['a']"),
        (_changed("training", None), "training", "None"),
        (_changed("plans.head", "stem"), "plans.head", "'stem'"),
    ],
)
def test_a_section_that_is_no_mapping_is_refused_in_plain_words(
    tmp_path: Path, params: object, where: str, got: str
) -> None:
    assert _refusal_of(tmp_path, params) == f"{where} must be a mapping of names to values. Got {got} instead."


@pytest.mark.parametrize("name", ["he ad", "he-ad", "../head", ""])
def test_a_plan_whose_name_could_not_name_a_folder_is_refused_in_plain_words(tmp_path: Path, name: str) -> None:
    params = _committed()
    params["plans"][name] = params["plans"]["head"]
    line = f"plans.{name} must be a name of letters, digits and _. Got {name!r} instead."
    assert _refusal_of(tmp_path, params) == line


@pytest.mark.parametrize(
    ("text", "place"),
    [("data: {\n  source: [package\n", "line 3, column 1"), ("data:\n\tsource: package\n", "line 2, column 1")],
)
def test_a_file_that_is_not_yaml_is_refused_with_the_place_in_one_line(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "params.yaml"
    line = _refusal(path, text)
    assert line.startswith(f"{path} must be YAML. Got an error in {place} instead. ")
    assert "\n" not in line
    assert "<unicode string>" not in line


def test_a_missing_params_file_is_refused_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "parms.yaml"
    with pytest.raises(InputError) as caught:
        load_params(path)
    assert str(caught.value) == f"{path} must be a YAML file. Got no file instead."


def test_a_folder_in_place_of_a_params_file_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_params(tmp_path)
    assert str(caught.value) == f"{tmp_path} must be a YAML file. Got a folder instead."


def test_a_params_file_that_is_not_utf_8_is_refused_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"data: \xff\xfe")
    with pytest.raises(InputError) as caught:
        load_params(path)
    assert str(caught.value) == f"{path} must be YAML in UTF-8. Got other bytes instead."


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
    plan = _loaded(tmp_path, _changed("plans.head", {**said, "weights": "pretrained", "learning_rates": [0.1]})).plans
    assert plan["head"].model_dump(by_alias=True, include=set(said) | {"from_"}, exclude_none=True) == said


def test_a_block_written_as_a_number_would_be_is_refused_in_words(tmp_path: Path) -> None:
    assert _refusal_of(tmp_path, _changed("plans.head.from", 4.1)) == (
        "plans.head.from must be a valid string. Got 4.1 instead."
    )


def test_what_is_named_twice_to_train_is_refused(tmp_path: Path) -> None:
    plan = {"train": ["head", "norms", "head"], "weights": "pretrained", "learning_rates": [0.1]}
    line = "plans.head.train must name each value once. Got 'head' more than once instead."
    assert _refusal_of(tmp_path, _changed("plans.head", plan)) == line


def test_a_plan_that_trains_nothing_is_refused(tmp_path: Path) -> None:
    plan = {"train": [], "weights": "pretrained", "learning_rates": [0.1]}
    line = "plans.head.train must hold at least one value. Got [] instead."
    assert _refusal_of(tmp_path, _changed("plans.head", plan)) == line


EVERY_PART = ["stem", "stage1", "stage2", "stage3", "stage4", "head"]


@pytest.mark.parametrize(
    "said", [{"from": "stage4"}, {"from": "stem.1"}, {"train": ["norms", "head"]}, {"train": EVERY_PART[1:]}], ids=str
)
def test_random_weights_where_anything_is_frozen_are_refused(tmp_path: Path, said: dict[str, Any]) -> None:
    """They would stay random."""
    plan = {**said, "weights": "none", "learning_rates": [0.1]}
    line = "plans.head.weights must be pretrained or a file where parts are frozen. Got 'none' instead."
    assert _refusal_of(tmp_path, _changed("plans.head", plan)) == line


@pytest.mark.parametrize("said", [{"from": "stem"}, {"train": EVERY_PART}], ids=str)
def test_random_weights_of_which_all_learn_are_welcome(tmp_path: Path, said: dict[str, Any]) -> None:
    plan = {**said, "weights": "none", "learning_rates": [0.1]}
    assert _loaded(tmp_path, _changed("plans.head", plan)).plans["head"].weights == "none"


def test_a_file_in_the_folder_that_dvc_watches_may_be_the_weights(tmp_path: Path) -> None:
    """Whether it is there, tools/check.py looks."""
    params = _loaded(tmp_path, _changed("plans.head.weights", "data/weights/mine.safetensors"))
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
    assert _refusal_of(tmp_path, params) == line
    assert _loaded(tmp_path, _with_image_px(smallest, "resnet18", backbone)).data.image_px == smallest


@pytest.mark.parametrize("image_px", [72, 223, 225, 448])
def test_a_vision_transformer_takes_images_of_the_side_that_it_was_trained_on_and_no_other(
    tmp_path: Path, image_px: int
) -> None:
    line = f"data.image_px must be 224 for vit_b_16. Got {image_px} instead."
    assert _refusal_of(tmp_path, _with_image_px(image_px, "vit_b_16")) == line
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
    assert _refusal_of(tmp_path, params) == f"{line} Nobody has published any."


@pytest.mark.parametrize(
    ("shifts", "line"),
    [
        ([0], "study.shifts.0 must be greater than or equal to 1. Got 0 instead."),
        ([4, 72], "study.shifts must be less than data.image_px, 72. Got 72 instead."),
        ([4, 4], "study.shifts must name each value once. Got 4 more than once instead."),
    ],
)
def test_images_are_shifted_by_a_pixel_at_least_and_by_less_than_there_is_of_them(
    tmp_path: Path, shifts: list[int], line: str
) -> None:
    assert _refusal_of(tmp_path, _changed("study.shifts", shifts)) == line


@pytest.mark.parametrize(("percent", "must"), [(0, "greater than 0"), (101, "less than or equal to 100")])
def test_a_plan_is_shown_some_of_the_training_images_and_all_at_most(tmp_path: Path, percent: int, must: str) -> None:
    line = f"plans.head.train_percent must be {must}. Got {percent} instead."
    assert _refusal_of(tmp_path, _changed("plans.head.train_percent", percent)) == line


def _from_scratch(params: dict[str, Any]) -> dict[str, Any]:
    """Let the study's plans be those alone that need no pretrained weights."""
    params["study"]["plans"] = ["scratch"]
    return params


def _with_image_px(image_px: int, *backbones: str) -> dict[str, Any]:
    params = _changed("data.image_px", image_px)
    params["backbones"] = list(backbones)
    return params


def _loaded(tmp_path: Path, params: dict[str, Any]) -> Params:
    path = tmp_path / "params.yaml"
    path.write_text(dump_yaml(params), encoding="utf-8")
    return load_params(path)


# --- Plans with phases, and schedules -----------------------------------------------------------------------------

PHASE = {"from": "head", "epochs": 2, "learning_rates": [0.1]}


def _phased(*phases: dict[str, object], **more: object) -> dict[str, Any]:
    return _changed("plans.head", {"weights": "pretrained", "phases": list(phases), **more})


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
            "plans.head.phases.1 must say either from: <part> or train: [<part>, ...]. Got neither instead.",
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
            "plans.head.phases.0 must hold only from, train, epochs, learning_rates or layer_decay. "
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
    assert _refusal_of(tmp_path, _phased(*phases, **more)) == line


def test_a_warm_up_that_leaves_no_epoch_at_full_height_is_refused(tmp_path: Path) -> None:
    params = _changed("training.warmup_epochs", 4)
    must = "training.warmup_epochs must be less than"
    assert _refusal_of(tmp_path, params) == f"{must} training.epochs, 4. Got 4 instead."
    params = _phased(PHASE)
    params["training"]["warmup_epochs"] = 2
    assert _refusal_of(tmp_path, params) == f"{must} plans.head.phases.0.epochs, 2. Got 2 instead."


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
    assert _refusal_of(tmp_path, _changed(name, 1)) == f"{section} must hold only {known}. Got {last!r} instead."
