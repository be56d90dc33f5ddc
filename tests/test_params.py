"""What loads, and the one line by which a person mends what does not."""

from pathlib import Path

import pytest

from frostline.params.loading import check_params, load_params
from tests.changed_params import changed, refusal, refusal_of
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
        ("data.source", "hug", "data.source must be 'package', 'folder', 'table' or 'hub'. Got 'hug' instead."),
        ("data.package", "beans", "data.package must be 'elpv' or 'digits'. Got 'beans' instead."),
        ("data.groups", None, "data.groups must be a valid string. Got None instead."),
        (
            "data.groups",
            "patients",
            "data.groups must be none, blocks, folders, column, or name: <regular expression>. Got 'patients' instead.",
        ),
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
        ("data.validation_percent", 100, "data.validation_percent must be less than 100. Got 100 instead."),
        ("data.folds", 1, "data.folds must be greater than or equal to 2. Got 1 instead."),
        ("data.splits", "mine", "data.splits must be 'auto' or 'folds'. Got 'mine' instead."),
        ("study.repeats", 0, "study.repeats must be greater than or equal to 1. Got 0 instead."),
        ("study.repeats", [0, 1], "study.repeats must be a valid integer. Got [0, 1] instead."),
        ("study.tune", "last", "study.tune must be 'first' or 'all'. Got 'last' instead."),
        ("study.plans", 3, "study.plans must be a valid list. Got 3 instead."),
        (
            "advice.metric",
            "recall",
            "advice.metric must be 'accuracy', 'balanced_accuracy', 'macro_f1' or 'nll'. Got 'recall' instead.",
        ),
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
    assert refusal_of(tmp_path, changed(name, value)) == line


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
    assert refusal_of(tmp_path, changed(name, value)) == line
    mended = tmp_path / "mended.yaml"
    mended.write_text(dump_yaml(changed(name, load_yaml(write))), encoding="utf-8")
    section, last = name.split(".")
    assert getattr(getattr(load_params(mended), section), last) == float(value)


@pytest.mark.parametrize("rate", ["1e-3", "1.0e-03", "0.001", ".001"])
def test_a_learning_rate_is_a_number_however_it_is_written(tmp_path: Path, rate: str) -> None:
    text = dump_yaml(changed("plans.head.learning_rates", ["RATE"])).replace("RATE", rate)
    (tmp_path / "params.yaml").write_text(text)
    assert load_params(tmp_path / "params.yaml").plans["head"].learning_rates == [0.001]


@pytest.mark.parametrize("word", ["yes", "no", "on", "off"])
def test_what_older_yaml_took_for_true_or_false_is_refused_in_plain_words(tmp_path: Path, word: str) -> None:
    text = dump_yaml(changed("study.racing", "WORD")).replace("WORD", word)
    assert refusal(tmp_path / "params.yaml", text) == f"study.racing must be true or false. Got {word!r} instead."


def test_a_name_that_is_given_twice_is_refused_with_the_place(tmp_path: Path) -> None:
    line = refusal(tmp_path / "params.yaml", "data: 1\nstudy: 2\ndata: 3\n")
    assert line.startswith(f"{tmp_path / 'params.yaml'} must be YAML. Got an error in line 3, column 1 instead. ")
    assert "\n" not in line


@pytest.mark.parametrize("word", ["nan", "inf", "six"])
def test_text_that_is_no_finite_number_gets_no_advice_to_write_it_as_one(tmp_path: Path, word: str) -> None:
    line = f"training.weight_decay must be a valid number. Got {word!r} instead."
    assert refusal_of(tmp_path, changed("training.weight_decay", word)) == line
