"""A byte that changed at rest is found by the next stage, and a disk that takes no more is told in one line."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from frostline.errors import InputError
from frostline.files import SUMS, check_sums, open_whole_folder, write_json
from stages import compare, evaluate, look, plot, prepare
from stages import train as train_stage
from tests import toys
from tests.model.finished import finish_toy, train_and_score, write_facts, write_reports
from tests.project import ENVIRONMENT, ROOT, list_names, seal
from tests.reports import write_study
from tests.stages.prepared import make_class, prepare_pictures

pytestmark = pytest.mark.usefixtures("one_thread")
PICTURES = make_class("cat", 12, green=0) | make_class("dog", 12, green=200)


def flip(path: Path, at: float) -> None:
    """Change a byte of the file, at this share of its length, and leave its length and time as they are."""
    content, times = bytearray(path.read_bytes()), path.stat()
    content[min(len(content) - 1, int(at * len(content)))] ^= 0x10
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def find_damage(path: Path, stage: Callable[[], object], at: float) -> None:
    """Let the stage run on a file with a changed byte, see it refuse in one line, and bring the byte back."""
    before = path.read_bytes()
    flip(path, at)
    with pytest.raises(InputError) as refused:
        stage()
    assert path.name in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500
    path.write_bytes(before)


@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
def test_prepare_finds_a_changed_byte_of_what_was_fetched(at: float, tmp_path: Path) -> None:
    prepare_pictures(tmp_path, PICTURES)
    for name in ("images.parquet", "source.json", SUMS):
        find_damage(
            tmp_path / "raw" / name,
            lambda: prepare.main(params=tmp_path / "params.yaml", raw=tmp_path / "raw", out=tmp_path / "again"),
            at,
        )
    assert not (tmp_path / "again").exists()


def test_every_stage_finds_a_changed_byte_of_what_it_reads(toy: Path) -> None:
    params, prepared, key = toy / "params.yaml", toy / "prepared", "efficientnet_lite0-head"
    run, scores = toy / "runs" / key, toy / "scores" / key
    seal(toy / "race")

    def train() -> None:
        train_stage.main(
            params=params, prepared=prepared, race=toy / "race", backbone="efficientnet_lite0", plan="head", out=run
        )

    def score() -> None:
        evaluate.main(params=params, prepared=prepared, run=run, out=scores)

    for name in list_names(prepared):
        find_damage(prepared / name, train, 0.9)
    find_damage(toy / "race" / "race.json", train, 0.5)
    train()
    for name in list_names(run):
        find_damage(run / name, score, 0.3)
    find_damage(prepared / "images.npy", score, 0.7)
    score()
    toys.set_params(toy, study__plans=["head"])

    def side_by_side() -> None:
        compare.main(params=params, prepared=prepared, runs=toy / "runs", scores=toy / "scores", out=toy / "reports")

    for path in (run / "run.json", scores / "predictions.parquet", scores / "metrics.json", prepared / "splits.csv"):
        find_damage(path, side_by_side, 0.6)
    write_json(toy / "reports" / "advice.json", {"backbone": "efficientnet_lite0", "plan": "head"})
    seal(toy / "reports")

    def inside() -> None:
        look.main(
            params=params, advice=toy / "reports" / "advice.json", prepared=prepared, runs=toy / "runs",
            scores=toy / "scores", out=toy / "look",
        )  # fmt: skip

    for path in (toy / "reports" / "advice.json", run / "history.csv", scores / "shifted.parquet"):
        find_damage(path, inside, 0.4)


def test_the_stage_that_leaves_the_model_finds_a_changed_byte_of_what_it_reads(toy: Path) -> None:
    write_facts(toy)
    name = train_and_score(toy, "head")
    write_reports(toy, [("efficientnet_lite0", "head")])
    read = [
        toy / "raw" / "source.json", toy / "reports" / "advice.json", toy / "reports" / "plans.csv",
        toy / "runs" / name / "run.json", toy / "runs" / name / "replicate-1.safetensors",
        toy / "scores" / name / "predictions.parquet", toy / "prepared" / "images.npy",
    ]  # fmt: skip
    for path in read:
        find_damage(path, lambda: finish_toy(toy), 0.5)
    assert not (toy / "model").exists()


def test_the_report_finds_a_changed_byte_of_what_it_draws(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "reports")

    def draw() -> None:
        plot.main(
            reports=folder, look=folder / "look", source=folder / "source.json", model=folder / "model",
            told=tmp_path / "model.json",            figures=tmp_path / "figures", report=tmp_path / "report.html",
        )  # fmt: skip

    for name in ("plans.csv", "advice.json", "source.json", "look/look.json", "look/gradcam.svg", "model/model.json"):
        find_damage(folder / name, draw, 0.5)
    assert not (tmp_path / "report.html").exists()


def test_the_sums_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    with open_whole_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
        (folder / "in").mkdir()
        (folder / "in" / "b.txt").write_text("b")
    for inside in (tmp_path / "out", tmp_path / "out" / "in"):
        checked = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=inside, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_file_that_is_gone_is_told_with_what_brings_it_back(tmp_path: Path) -> None:
    with open_whole_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
    (tmp_path / "out" / "a.txt").unlink()
    with pytest.raises(
        InputError,
        match=r"a\.txt must be a file, as SHA256SUMS says\. Got no file instead\. `dvc repro` brings it back\.$",
    ):
        check_sums(tmp_path / "out")


FULL = """
import resource, sys
from pathlib import Path
from stages import {stage}
from frostline.errors import end_in_one_line
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
folder = Path(sys.argv[1])
with end_in_one_line():
    {stage}.main({arguments})
"""
PATHS = {
    "fetch": "params=folder / 'params.yaml', out=folder / 'raw'",
    "prepare": "params=folder / 'params.yaml', raw=folder / 'raw', out=folder / 'prepared'",
}


@pytest.mark.parametrize(("stage", "size"), [("fetch", 500), ("prepare", 500), ("prepare", 18_000)])
def test_a_disk_that_takes_no_more_is_told_and_what_was_there_stands(stage: str, size: int, tmp_path: Path) -> None:
    """A file may not grow beyond so many bytes, which a full disk comes to: writing fails in the same places."""
    prepare_pictures(tmp_path, PICTURES)
    out = tmp_path / {"fetch": "raw", "prepare": "prepared"}[stage]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    command = [sys.executable, "-c", FULL.format(stage=stage, size=size, arguments=PATHS[stage]), str(tmp_path)]
    environment = ENVIRONMENT | {"DVC_ROOT": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "must be written. Got 'File too large' instead. What was there before stands." in ended.stderr
    assert str(tmp_path) in ended.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert {*list_names(tmp_path)} - {".dvc"} == {"images", "params.yaml", "prepared", "raw"}


def test_a_folder_that_may_not_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as refused, open_whole_folder(tmp_path / "file" / "out"):
        pass
    assert (
        str(refused.value)
        == f"{tmp_path / 'file' / 'out'} must be written. Got 'Not a directory' instead. What was there before stands."
    )


def test_a_disk_without_room_for_the_images_is_told_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_pictures(tmp_path, PICTURES)
    usage = type("Usage", (), {"free": 1_000})
    monkeypatch.setattr("frostline.files.shutil.disk_usage", lambda _path: usage)
    with pytest.raises(InputError) as refused:
        prepare.main(params=tmp_path / "params.yaml", raw=tmp_path / "raw", out=tmp_path / "prepared")
    assert "have room for images.npy, 18,560 bytes. Got 1,000 free bytes instead." in str(refused.value)
    assert list_names(tmp_path / "prepared")
