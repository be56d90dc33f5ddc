"""Decoding many images: it goes on where it was killed, and trusts no byte that has changed meanwhile."""

import re
from pathlib import Path

import numpy as np
import pytest

from frostline.preparation import streaming
from stages import fetch, prepare
from tests.project import ROOT, dump_yaml, load_yaml
from tests.stages.prepared import Picture, make_class, write_pictures

PICTURES = make_class("cat", 20, green=0) | make_class("dog", 20, green=200)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of forty fetched pictures, which are decoded eight at a time."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(streaming, "IMAGES_AT_ONCE", 8)
    return fetch_pictures(tmp_path, PICTURES)


def fetch_pictures(folder: Path, pictures: dict[str, Picture]) -> Path:
    write_pictures(folder / "images", pictures)
    params = load_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"source": "folder", "folder": str(folder / "images"), "image_px": 16, "groups": "none"}
    (folder / "params.yaml").write_text(dump_yaml(params), encoding="utf-8")
    fetch.main(params=folder / "params.yaml", out=folder / "raw")
    return folder


def run(study: Path, out: str = "prepared") -> dict[str, bytes]:
    prepare.main(params=study / "params.yaml", raw=study / "raw", out=study / out)
    return {path.name: path.read_bytes() for path in (study / out).iterdir()}


def kill_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> list[int]:
    """Let the run be killed when so many batches were noted; return how many images each later batch decoded."""
    noted: list[int] = []
    write_note = streaming.write_note

    def note(path: Path, seen: streaming.Seen, pixels: streaming.Pixels, first: int) -> None:
        if len(noted) == batches:
            noted.append(0)
            raise KeyboardInterrupt
        write_note(path, seen, pixels, first)
        noted.append(seen.count - first)

    monkeypatch.setattr(streaming, "write_note", note)
    return noted


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_run_that_is_killed_goes_on_after_its_last_whole_batch_to_the_same_bytes(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], batches: int
) -> None:
    whole = run(study, "whole")
    noted = kill_after(monkeypatch, batches)
    with pytest.raises(KeyboardInterrupt):
        run(study)
    capsys.readouterr()
    assert run(study) == whole
    assert sum(noted) == 40
    told = f"prepare: {8 * batches} of 40 images were decoded before"
    assert (told in capsys.readouterr().out) == (batches > 0)
    assert not [*(study / ".dvc").rglob("decoded-*")]


@pytest.mark.parametrize("damage", ["pixels", "name", "look", "half a line"])
def test_what_has_changed_meanwhile_is_decoded_again(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    whole = run(study, "whole")
    kill_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        run(study)
    (scratch,) = (study / ".dvc").rglob("decoded-*")
    pixels, notes = scratch / "images.npy", scratch / "seen.jsonl"
    if damage == "pixels":
        changed = np.load(pixels, mmap_mode="r+")
        changed[9, 0, 0, 0] ^= 1
        changed.flush()
    elif damage in ("name", "look"):
        lines = notes.read_text().splitlines(keepends=True)
        digit = re.search(r'"looks": "(\w)', lines[1])
        assert digit is not None
        other = {"name": ("seen", "been"), "look": (digit[0], digit[0][:-1] + ("0" if digit[1] != "0" else "1"))}
        notes.write_text("".join([lines[0], lines[1].replace(*other[damage]), lines[2]]))
    else:
        text = notes.read_text()
        notes.write_text(text[: len(text) // 2])
    capsys.readouterr()
    assert run(study) == whole
    assert "prepare: 8 of 40 images were decoded before" in capsys.readouterr().out


def test_other_images_another_side_or_other_code_begin_anew(
    study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places = {streaming.locate_scratch(study / "raw/images.parquet", px) for px in (16, 32)}
    (tmp_path / "edited.py").write_text("# other code")
    monkeypatch.setattr(streaming, "CODE", (tmp_path / "edited.py",))
    places.add(streaming.locate_scratch(study / "raw/images.parquet", 16))
    other = fetch_pictures(tmp_path / "other", make_class("cat", 9, green=1) | make_class("dog", 9, green=99))
    places.add(streaming.locate_scratch(other / "raw/images.parquet", 16))
    assert len(places) == 4


def test_what_a_killed_run_of_another_study_left_is_taken_away(study: Path) -> None:
    left = streaming.locate_scratch(study / "raw/images.parquet", 99)
    left.mkdir(parents=True)
    (left / "images.npy").write_bytes(b"pixels")
    run(study)
    assert not left.exists()


def test_what_cannot_be_read_is_told_after_all_were_decoded(study: Path) -> None:
    (study / "images" / "cat" / "bad.png").write_bytes(b"no image")
    fetch.main(params=study / "params.yaml", out=study / "raw")
    with pytest.raises(ValueError, match=r"cat/bad.png \(cannot identify image file\)"):
        run(study)
    assert not [*(study / ".dvc").rglob("decoded-*")]
