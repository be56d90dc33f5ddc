"""A file or folder takes its name when it is whole, and reads back as it was written."""

import errno
from pathlib import Path

import pandas as pd
import pytest

from frostline.errors import InputError
from frostline.files import SUMS, hash_file, open_whole_file, open_whole_folder, read_json, write_csv, write_json
from tests.project import list_names


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with open_whole_folder(tmp_path / "new" / "out") as folder:
        (folder / "a.txt").write_text("new")
        assert not (tmp_path / "new" / "out").exists()
    assert list_names(tmp_path / "new") == ["out"]
    assert (tmp_path / "new" / "out" / "a.txt").read_text() == "new"


def test_a_whole_folder_keeps_nothing_of_the_earlier_one(tmp_path: Path) -> None:
    for name in ("earlier.txt", "later.txt"):
        with open_whole_folder(tmp_path / "out") as folder:
            (folder / name).write_text(name)
    assert list_names(tmp_path / "out") == [SUMS, "later.txt"]


def test_a_folder_that_could_not_be_finished_leaves_the_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("earlier")

    def fail() -> None:
        with open_whole_folder(tmp_path / "out") as folder:
            (folder / "a.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list_names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "a.txt").read_text() == "earlier"


def test_what_a_killed_process_left_unfinished_does_not_get_into_the_next_folder(tmp_path: Path) -> None:
    killed = open_whole_folder(tmp_path / "out")
    with killed as folder:
        place = folder
    place.mkdir()
    (place / "left.txt").write_text("left")
    with open_whole_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("new")
    assert list_names(tmp_path) == ["out"]
    assert list_names(tmp_path / "out") == [SUMS, "a.txt"]


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with open_whole_file(tmp_path / "new" / "a.txt") as path:
        path.write_text("new")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert list_names(tmp_path / "new") == ["a.txt"]
    assert (tmp_path / "new" / "a.txt").read_text() == "new"


def test_a_file_that_could_not_be_finished_leaves_the_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("earlier")

    def fail() -> None:
        with open_whole_file(tmp_path / "a.txt") as path:
            path.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list_names(tmp_path) == ["a.txt"]
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
    assert list_names(tmp_path) == []


def test_numbers_in_a_csv_have_six_significant_digits(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", pd.DataFrame({"plan": ["head"], "accuracy": [2 / 3], "seconds": [123456.789]}))
    assert (tmp_path / "a.csv").read_bytes() == b"plan,accuracy,seconds\nhead,0.666667,123457\n"


def test_sha256_is_the_one_that_everybody_knows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abc")
    assert hash_file(tmp_path / "a.txt") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_elsewhere_that_cannot_be_read_is_told_as_that(tmp_path: Path) -> None:
    """Its name may hold the folder's."""
    strange = str(tmp_path / "raw_images" / "out.png")
    with pytest.raises(InputError) as refused, open_whole_folder(tmp_path / "raw"):
        raise PermissionError(errno.EACCES, "no", strange)
    assert str(refused.value).startswith(f"{strange} must be read. Got 'Permission denied' instead.")
