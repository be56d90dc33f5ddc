"""Whatever is killed whenever, the rerun ends with the same bytes and trains no finished fit again."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.project import ENVIRONMENT, run
from tests.test_pipeline import tiny_study

RUNS, KILLS = 10, 5
"""So many studies, each killed so many times on its way."""
LONGEST = 20.0
"""Seconds after which a study is killed at the latest: a stage takes three to ten."""
MEASURED = {"costs.json", "costs.csv", "metrics.json", "advice.json", "history.csv", "run.json", "SHA256SUMS"}
"""Files in which seconds and bytes stand, or their sums."""


def list_results(folder: Path) -> dict[str, bytes]:
    """Return what the study gave, but for what was measured."""
    found = [path for top in ("data", "reports") for path in (folder / top).rglob("*") if path.is_file()]
    drawn = [path for path in found if "figures" in path.parts or path.suffix == ".html"]
    plain = [path for path in found if path.name not in MEASURED and path not in drawn]
    return {str(path.relative_to(folder)): path.read_bytes() for path in plain}


def list_finished(folder: Path) -> dict[str, int]:
    """Return the file of each finished fit, by what a new one would have another of."""
    done = (folder / ".dvc/tmp/frostline").glob("*.json")
    return {path.stem: path.with_suffix(".pt").stat().st_ino for path in done}


def kill_once(folder: Path, rng: random.Random) -> str:
    """Start the study, kill all of it or a part at some moment, and return how."""
    process = subprocess.Popen(
        ["dvc", "repro"], cwd=folder, env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(rng.uniform(0.5, LONGEST))
    how = rng.choice(["group", "stage", "dvc", "interrupt"])
    group = list_group(process.pid)
    stages = [pid for pid, command in group.items() if "stages." in command]
    if how == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif how == "interrupt":
        os.killpg(process.pid, signal.SIGINT)
    elif how == "stage" and stages:
        os.kill(rng.choice(stages), signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    until = time.monotonic() + 120
    while any("stages." in command for command in list_group(process.pid).values()) and time.monotonic() < until:
        time.sleep(0.2)  # of dvc alone, its stage goes on: it is waited for, as a person would see it
    return how


def list_group(leader: int) -> dict[int, str]:
    """Return the processes of the session by number, with their commands."""
    shown = subprocess.run(["ps", "-s", str(leader), "-o", "pid=,args="], capture_output=True, text=True, check=False)
    rows = (line.split(maxsplit=1) for line in shown.stdout.splitlines())
    return {int(pid): command for pid, command in (row for row in rows if len(row) == 2)}


@pytest.mark.trial
def test_a_study_that_is_killed_at_any_moment_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = tiny_study(tmp_path / "whole")
    run(whole, "dvc", "repro")
    expected, rng = list_results(whole), random.Random(0)  # noqa: S311
    for number in range(RUNS):
        study = tiny_study(tmp_path / f"study{number}")
        told = []
        for _ in range(KILLS):
            told.append(kill_once(study, rng))
            (study / ".dvc/tmp/rwlock").unlink(missing_ok=True)
            before = list_finished(study)
            assert before.items() <= list_finished(study).items()
        before = list_finished(study)
        run(study, "dvc", "repro")
        assert list_results(study) == expected, told
        assert before.items() <= list_finished(study).items(), f"a finished fit was trained again after {told}"
        assert not [path for path in study.rglob(".unfinished-*") if ".dvc" not in path.parts], told
