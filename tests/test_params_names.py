"""A name that is unknown, missing, misspelt or given twice is told with the known ones."""

from pathlib import Path

import pytest

from frostline.constants import BACKBONES
from frostline.errors import InputError, join_names
from frostline.params.loading import load_params
from tests.changed_params import LEFT_OUT, PARTS, changed, committed, refusal, refusal_of
from tests.project import dump_yaml


@pytest.mark.parametrize(
    "name", ["training", "backbones", "data.folder", "training.views", "plans.head.learning_rates"]
)
def test_a_missing_name_is_asked_for_by_its_full_name(tmp_path: Path, name: str) -> None:
    assert refusal_of(tmp_path, changed(name, LEFT_OUT)) == f"{name} must be given. Got nothing instead."


UNKNOWN = [
    (
        "trainig",
        "params.yaml must hold only data, study, backbones, plans, training, advice, finish or logging. "
        "Got 'trainig' instead.",
    ),
    (
        "data.imagepx",
        "data must hold only source, package, folder, table, hub, elpv_defective, image_px, groups, block_files, "
        "duplicates, splits, folds or validation_percent. Got 'imagepx' instead.",
    ),
    (
        "study.repeat",
        "study must hold only plans, repeats, tune, racing or shifts. Got 'repeat' instead.",
    ),
    (
        "training.epoch",
        "training must hold only epochs, patience, batch_size, weight_decay, precision, schedule, plateau_factor, "
        "plateau_patience, warmup_epochs, label_smoothing, class_weights, augmentation, views, "
        "workers, devices_per_fit, cache_bytes, keep_bytes or "
        "augmentation_seed. Got 'epoch' instead.",
    ),
    (
        "plans.head.learning_rate",
        "plans.head must hold only from, train, adapt, weights, learning_rates, layer_decay, phases, views, "
        "train_percent or head_after. "
        "Got 'learning_rate' instead.",
    ),
]


@pytest.mark.parametrize(("name", "line"), UNKNOWN)
def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path, name: str, line: str) -> None:
    assert refusal_of(tmp_path, changed(name, 1)) == line


@pytest.mark.parametrize(
    ("name", "line"),
    [(right, line) for right, (_, line) in zip(
        ["training", "data.image_px", "study.repeats", "training.epochs", "plans.head.learning_rates"],
        UNKNOWN,
        strict=True,
    )],
)  # fmt: skip
def test_a_misspelt_name_is_told_as_misspelt_and_not_as_missing(tmp_path: Path, name: str, line: str) -> None:
    misspelt = line.split("Got '")[1].removesuffix("' instead.")
    params = changed(name, LEFT_OUT)
    section = params
    for each in name.split(".")[:-1]:
        section = section[each]
    section[misspelt] = 1
    assert refusal_of(tmp_path, params) == line


PLANS = join_names(committed()["plans"])


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
        (
            "backbones",
            ["resnet"],
            f"backbones must name {join_names(BACKBONES)}, or one of a library, such as timm/vit_tiny_patch16_224. "
            "Got 'resnet' instead.",
        ),
    ],
)
def test_an_unknown_part_plan_or_backbone_is_refused_with_the_known_ones(
    tmp_path: Path, name: str, value: object, line: str
) -> None:
    assert refusal_of(tmp_path, changed(name, value)) == line


def test_an_unknown_part_among_those_to_train_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    plan = {"train": ["stem", "neck"], "weights": "none", "learning_rates": [0.1]}
    line = (
        f"plans.head.train must name {PARTS}, head, norms or biases, or a block such as stage4.1. Got 'neck' instead."
    )
    assert refusal_of(tmp_path, changed("plans.head", plan)) == line


@pytest.mark.parametrize(
    ("crop", "padding", "refused"), [("padding", 96, True), ("padding", 95, False), ("none", 96, False)]
)
def test_an_image_is_padded_with_less_than_there_is_of_it(
    tmp_path: Path, crop: str, padding: int, *, refused: bool
) -> None:
    params = changed("training.augmentation.crop", crop)
    params["training"]["augmentation"]["crop_padding"] = padding
    if refused:
        line = "training.augmentation.crop_padding must be less than data.image_px, 96. Got 96 instead."
        assert refusal_of(tmp_path, params) == line
    else:
        (tmp_path / "params.yaml").write_text(dump_yaml(params))
        assert load_params(tmp_path / "params.yaml").training.augmentation.crop_padding == padding


@pytest.mark.parametrize(
    ("said", "got"), [({}, "none of them"), ({"from": "head", "train": ["stem"]}, "from and train")]
)
def test_a_plan_says_either_from_or_train(tmp_path: Path, said: dict[str, object], got: str) -> None:
    plan = {**said, "weights": "none", "learning_rates": [0.1]}
    line = (
        "plans.head must say one of from: <part>, train: [<part>, ...] and adapt: {lora: <rank>, parts: [...]}, "
        f"or phases: [...]. Got {got} instead."
    )
    assert refusal_of(tmp_path, changed("plans.head", plan)) == line


@pytest.mark.parametrize(
    ("name", "value", "twice"),
    [
        ("study.plans", ["head", "head"], "'head'"),
        ("backbones", ["efficientnet_lite0"] * 2, "'efficientnet_lite0'"),
        ("plans.head.learning_rates", [0.1, 0.1], "0.1"),
    ],
)
def test_what_is_named_more_than_once_is_refused(tmp_path: Path, name: str, value: list[object], twice: str) -> None:
    line = f"{name} must name each value once. Got {twice} more than once instead."
    assert refusal_of(tmp_path, changed(name, value)) == line


@pytest.mark.parametrize(
    ("name", "value"),
    [("study.plans", []), ("backbones", []), ("plans", {}), ("plans.head.learning_rates", [])],
)
def test_an_empty_list_is_refused_in_plain_words(tmp_path: Path, name: str, value: object) -> None:
    line = f"{name} must hold at least one value. Got {value!r} instead."
    assert refusal_of(tmp_path, changed(name, value)) == line


@pytest.mark.parametrize(
    ("params", "where", "got"),
    [
        (None, "params.yaml", "None"),
        (["a"], "params.yaml", "['a']"),
        (changed("training", None), "training", "None"),
        (changed("plans.head", "stem"), "plans.head", "'stem'"),
    ],
)
def test_a_section_that_is_no_mapping_is_refused_in_plain_words(
    tmp_path: Path, params: object, where: str, got: str
) -> None:
    assert refusal_of(tmp_path, params) == f"{where} must be a mapping of names to values. Got {got} instead."


@pytest.mark.parametrize("name", ["he ad", "he-ad", "../head", ""])
def test_a_plan_whose_name_could_not_name_a_folder_is_refused_in_plain_words(tmp_path: Path, name: str) -> None:
    params = committed()
    params["plans"][name] = params["plans"]["head"]
    line = f"plans.{name} must be a name of letters, digits and _. Got {name!r} instead."
    assert refusal_of(tmp_path, params) == line


@pytest.mark.parametrize(
    ("text", "place"),
    [("data: {\n  source: [package\n", "line 3, column 1"), ("data:\n\tsource: package\n", "line 2, column 1")],
)
def test_a_file_that_is_not_yaml_is_refused_with_the_place_in_one_line(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "params.yaml"
    line = refusal(path, text)
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
