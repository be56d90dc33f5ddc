"""What loads, and the one line by which a person mends what does not."""

from pathlib import Path

import pytest

from frostline.constants import BACKBONES
from frostline.errors import InputError, join_names
from frostline.params import check_params, load_params
from tests.changed_params import LEFT_OUT, PARTS, _changed, _committed, _refusal, _refusal_of
from tests.project import STUDIES, dump_yaml, load_yaml, read_study

AS_TEXT = "It is text: write {} without quotes."


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
