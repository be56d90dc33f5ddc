"""A mistake is one line, an output is whole or absent."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from frostline.errors import InputError, end_in_one_line, join_names
from frostline.files import hash_file, open_whole_file, open_whole_folder, read_json, write_csv, write_json
from tests.project import ROOT


def _run(stage: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"stages.{stage}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_mistake_in_params_ends_a_stage_with_one_line_and_exit_code_1(tmp_path: Path) -> None:
    committed = (ROOT / "params.yaml").read_text(encoding="utf-8")
    broken = tmp_path / "params.yaml"
    broken.write_text(committed.replace("source: package", "source: pakage", 1), encoding="utf-8")
    ended = _run("fetch", "--params", broken, "--out", tmp_path / "raw")
    assert ended.returncode == 1
    assert ended.stderr == "data.source must be 'package', 'folder' or 'hub'. Got 'pakage' instead.\n"
    assert ended.stdout == ""
    assert _names(tmp_path) == ["params.yaml"]


def test_preparing_before_fetching_ends_with_one_line_and_no_traceback(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "prepared"
    ended = _run("prepare", "--params", "params.yaml", "--raw", raw, "--out", out)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"{raw / 'source.json'} must be a file. Got no file instead. `dvc repro` runs the stage that writes it.\n"
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


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with open_whole_folder(tmp_path / "new" / "out") as folder:
        (folder / "a.txt").write_text("new")
        assert not (tmp_path / "new" / "out").exists()
    assert _names(tmp_path / "new") == ["out"]
    assert (tmp_path / "new" / "out" / "a.txt").read_text() == "new"


def test_a_whole_folder_keeps_nothing_of_the_earlier_one(tmp_path: Path) -> None:
    for name in ("earlier.txt", "later.txt"):
        with open_whole_folder(tmp_path / "out") as folder:
            (folder / name).write_text(name)
    assert _names(tmp_path / "out") == ["later.txt"]


def test_a_folder_that_could_not_be_finished_leaves_the_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("earlier")

    def fail() -> None:
        with open_whole_folder(tmp_path / "out") as folder:
            (folder / "a.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert _names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "a.txt").read_text() == "earlier"


def test_what_a_killed_process_left_unfinished_does_not_get_into_the_next_folder(tmp_path: Path) -> None:
    killed = open_whole_folder(tmp_path / "out")
    with killed as folder:
        place = folder
    place.mkdir()
    (place / "left.txt").write_text("left")
    with open_whole_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("new")
    assert _names(tmp_path) == ["out"]
    assert _names(tmp_path / "out") == ["a.txt"]


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with open_whole_file(tmp_path / "new" / "a.txt") as path:
        path.write_text("new")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert _names(tmp_path / "new") == ["a.txt"]
    assert (tmp_path / "new" / "a.txt").read_text() == "new"


def test_a_file_that_could_not_be_finished_leaves_the_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("earlier")

    def fail() -> None:
        with open_whole_file(tmp_path / "a.txt") as path:
            path.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert _names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "earlier"


def test_an_unfinished_file_has_the_ending_that_its_writers_go_by(tmp_path: Path) -> None:
    with open_whole_file(tmp_path / "a.png") as path:
        path.write_bytes(b"")
        assert path.suffix == ".png"
        assert path.name.startswith(".")


def test_json_is_read_back_as_it_was_written_and_by_other_tools(tmp_path: Path) -> None:
    content = {"licence": "CC-BY, für alle", "images": 3, "classes": ["cat", "dog"]}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert (tmp_path / "a.json").read_text(encoding="utf-8").startswith('{\n  "licence": "CC-BY, für alle",\n')


def test_a_number_that_json_does_not_know_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        write_json(tmp_path / "a.json", {"accuracy": float("nan")})
    assert _names(tmp_path) == []


def test_numbers_in_a_csv_have_six_significant_digits(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", pd.DataFrame({"plan": ["head"], "accuracy": [2 / 3], "seconds": [123456.789]}))
    assert (tmp_path / "a.csv").read_bytes() == b"plan,accuracy,seconds\nhead,0.666667,123457\n"


def test_sha256_is_the_one_that_everybody_knows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc")
    assert hash_file(tmp_path / "a.txt") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
