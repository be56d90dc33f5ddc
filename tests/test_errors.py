"""A mistake ends a command with one line that says what must be, what is, and what may help."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.errors import InputError, end_in_one_line, join_names, list_some
from tests.project import ROOT, list_names


def _run(stage: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"stages.{stage}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_mistake_in_params_ends_a_stage_with_one_line_and_exit_code_1(tmp_path: Path) -> None:
    committed = (ROOT / "params.yaml").read_text(encoding="utf-8")
    broken = tmp_path / "params.yaml"
    broken.write_text(committed.replace("source: package", "source: pakage", 1), encoding="utf-8")
    ended = _run("fetch", "--params", broken, "--out", tmp_path / "raw")
    assert ended.returncode == 1
    assert ended.stderr == "data.source must be 'package', 'folder', 'table' or 'hub'. Got 'pakage' instead.\n"
    assert ended.stdout == ""
    assert list_names(tmp_path) == ["params.yaml"]


def test_preparing_before_fetching_ends_with_one_line_and_no_traceback(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "prepared"
    ended = _run("prepare", "--params", "params.yaml", "--raw", raw, "--out", out)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"{raw / 'SHA256SUMS'} must be a file. Got no file instead. `dvc repro` runs the stage that writes it.\n"
    )


def test_a_missing_flag_is_named(tmp_path: Path) -> None:
    ended = _run("fetch", "--out", tmp_path / "raw")
    assert ended.returncode == 2
    assert ended.stderr.endswith("error: the following arguments are required: --params\n")


def test_a_mistake_ends_the_process_with_its_words() -> None:
    with pytest.raises(SystemExit) as ended, end_in_one_line():
        raise InputError.of("data", "hold images", "none")
    assert ended.value.code == "data must hold images. Got none instead."


def test_an_interruption_from_the_keyboard_ends_with_the_shells_code_for_it() -> None:
    with pytest.raises(SystemExit) as ended, end_in_one_line():
        raise KeyboardInterrupt
    assert ended.value.code == 130


def test_an_error_of_our_own_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), end_in_one_line():
        _ = 1 / 0


def test_a_mistake_is_a_value_error_in_one_grammar_with_its_fix_last() -> None:
    error = InputError.of("data.image_px", "be a number", "'big'", "Write 80.")
    assert isinstance(error, InputError)
    assert isinstance(error, ValueError)
    assert str(error) == "data.image_px must be a number. Got 'big' instead. Write 80."


@pytest.mark.parametrize(("names", "said"), [(["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")])
def test_names_are_listed_as_a_person_would(names: list[str], said: str) -> None:
    assert join_names(names) == said


def test_what_stands_before_the_at_of_an_address_is_not_told() -> None:
    line = str(
        InputError.of("a", "come from http://user:secret@hub.example/x", "https://u:p@b.example", "Ask s3://k@b.")
    )
    assert line == "a must come from http://hub.example/x. Got https://b.example instead. Ask s3://b."


@given(st.text(max_size=5_000))
def test_an_error_is_one_printable_line_of_less_than_500_characters_whatever_was_given(got: str) -> None:
    line = str(InputError.of("data.folder", "hold images", got, "Put some there."))
    assert line.isprintable()
    assert len(line) < 500
    assert line.startswith("data.folder must hold images. Got ")
    assert line.endswith(" instead. Put some there.")


def test_of_many_names_as_many_are_told_as_a_line_takes() -> None:
    assert list_some(["a", "b"]) == "a, b"
    assert list_some([f"{number:03d}" for number in range(25)]).endswith("019 and 5 more")
    assert list_some(["x" * 100] * 5) == f"{'x' * 100}, {'x' * 100} and 3 more"
    assert list_some(["x" * 1_000]) == f"{'x' * 160}... (1,000 characters)"
