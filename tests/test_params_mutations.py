"""Whatever is in params.yaml, it is loaded or refused in one short line."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frostline.errors import InputError
from frostline.params.loading import load_params
from tests.project import ROOT

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
LINES = TEXT.splitlines()
BOMB = "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9 if before else ['x'] * 9)}]"
    for before, name in zip(["", *"abcdefg"], "abcdefgh", strict=True)
)
NASTY = (
    "", "~", "null", "no", "true", "0", "-1", "1e12", "1e300", "-.inf", ".nan", "1e-400", "9" * 30, "9" * 4_301, "0x1f",
    "1_0", "!!int abc", "!!python/object:os.system x", "!!binary x", "&a [*a]", "*a", "2001-99-99", "2001-01-01", "[",
    "{", "}", "'", '"\\x1b]0;title\\x07"', '"\\0"', "\u202e", "[" * 900 + "]" * 900, "x" * 100_000, "{a: b}", "[1, 2]",
    "[[]]", "? x", "- x", "|", ">", "%YAML 1.1", "---", "...", "<<: {a: b}", "pretrained", "stage4.1", "../..",
    "[" + ", ".join(["1"] * 5_000) + "]",
)  # fmt: skip
"""Values that YAML, dvc, pydantic or Python do something of their own with."""


def refusal(path: Path, text: str) -> str | None:
    """Return the line with which the params are refused, or nothing."""
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    try:
        load_params(path)
    except InputError as error:
        return str(error)
    return None


def check(path: Path, text: str) -> str | None:
    line = refusal(path, text)
    if line is not None:
        assert len(line) < 500
        assert line.isprintable()
    return line


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_params_is_loaded_or_refused_in_one_short_line(tmp_path: Path, data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(lines) - 1))
        head, colon, _ = lines[place].partition(":")
        kind = data.draw(st.sampled_from(["value", "drop", "twice", "text", "indent"]))
        if kind == "value":
            lines[place] = f"{head}{colon} {data.draw(st.sampled_from(NASTY))}"
        elif kind == "drop":
            lines[place] = ""
        elif kind == "twice":
            lines.insert(place, lines[place])
        elif kind == "indent":
            lines[place] = " " * data.draw(st.integers(0, 5)) + lines[place].lstrip()
        else:
            lines[place] = data.draw(st.text(st.characters(codec="utf-8"), max_size=30))
    check(tmp_path / "params.yaml", "\n".join(lines))


@pytest.mark.parametrize("value", NASTY, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("name", ["epochs", "folder", "plans", "backbones", "learning_rates"])
def test_no_value_is_too_odd_for_one_line(tmp_path: Path, name: str, value: str) -> None:
    lines = [f"{line.partition(':')[0]}: {value}" if line.strip().startswith(f"{name}:") else line for line in LINES]
    check(tmp_path / "params.yaml", "\n".join(lines))


def test_a_few_lines_that_mean_millions_are_refused_at_once(tmp_path: Path) -> None:
    line = check(tmp_path / "params.yaml", f"{TEXT}\n{BOMB}\n")
    assert line is not None
    assert "of 20 levels and 500,000 values at most. Got " in line


def test_what_is_named_once_and_used_twice_is_read_as_what_it_stands_for(tmp_path: Path) -> None:
    text = TEXT.replace("learning_rates: [0.0003, 0.001]", "learning_rates: *few").replace(
        "*few", "&few [0.0003, 0.001]", 1
    )
    assert text.count("*few") == 2
    assert check(tmp_path / "params.yaml", text) is None


@pytest.mark.parametrize(
    ("old", "new", "must"),
    [
        ("epochs: 4 ", "epochs: 1000000000000 ", "training.epochs must be less than or equal to 100000."),
        ("block_files: 60", "block_files: 1" + "0" * 30, "data.block_files must be less than or equal to 1000000."),
        ("[0.0003, 0.001, 0.003]", "[1e300]", "plans.head.learning_rates.0 must be less than or equal to 100."),
        ("epochs: 4 ", "epochs: !!int abc ", "be YAML without tags, of 20 levels"),
        ("epochs: 4 ", "epochs: 2001-99-99 ", "must be YAML. Got a value that cannot be read instead."),
        ("epochs: 4 ", "epochs: 4\n  epochs: 5 ", 'found duplicate key "epochs"'),
        ("[0.0003, 0.001, 0.003]", f"[{', '.join(map(str, range(1, 200)))}]", "must have at most 100 items."),
    ],
)
def test_what_is_beyond_sense_is_refused_with_what_there_may_be(tmp_path: Path, old: str, new: str, must: str) -> None:
    line = check(tmp_path / "params.yaml", TEXT.replace(old, new))
    assert line is not None
    assert must in line


def test_a_small_number_in_the_form_in_which_dvc_writes_it_is_a_number(tmp_path: Path) -> None:
    assert check(tmp_path / "params.yaml", TEXT.replace("[0.0003, 0.001, 0.003]", "[3e-05, 0.001]")) is None


def test_control_characters_of_a_name_are_told_as_what_they_are() -> None:
    assert (
        str(InputError.of("x", "be y", "\x1b]0;title\x07\nERROR"))
        == r"x must be y. Got \x1b]0;title\x07\nERROR instead."
    )
