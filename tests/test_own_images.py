"""One's own images on the road that README tells: put in, dvc add, a queue, push, a colleague who adds some."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from frostline.files import read_json
from tests.project import commit, copy_project, read_params, run, write_params

WHERE = "data/leaves"


def put_images(folder: Path, first: int, count: int) -> None:
    """Write so many pictures of noise for each of two classes, no two of them alike."""
    for place, name in enumerate(("healthy", "rust")):
        (folder / WHERE / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            pixels = np.random.default_rng([place, number]).integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / WHERE / name / f"{number}.png")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with images of one's own, which are dvc's and committed as README says."""
    project = copy_project(tmp_path_factory.mktemp("own"))
    put_images(project, 0, 12)
    params = read_params(project)
    params["data"] |= {"source": "folder", "folder": WHERE, "groups": "none", "image_px": 20}
    write_params(project, params)
    run(project, "git", "add", "--all")
    assert WHERE not in run(project, "git", "status", "--short").stdout  # git does not take the images
    run(project, "dvc", "add", "--quiet", WHERE)
    commit(project, "leaves")
    assert f"{WHERE}.dvc" in run(project, "git", "ls-files").stdout
    run(project, "dvc", "repro", "--quiet", "prepare")
    commit(project, "prepared")
    return project


def show_of(project: Path, experiment: str, file: str) -> str:
    """Return what the experiment has as the file."""
    run(project, "dvc", "exp", "branch", experiment, f"of_{experiment}")
    return run(project, "git", "show", f"of_{experiment}:{file}").stdout


def wait_for_queue(project: Path) -> None:
    until = time.monotonic() + 300
    while "Success" not in (status := run(project, "dvc", "queue", "status").stdout):
        assert time.monotonic() < until, status
        assert "Failed" not in status, status
        time.sleep(1)


@pytest.mark.long
def test_a_queued_experiment_finds_the_images(study: Path) -> None:
    run(study, "dvc", "exp", "run", "--queue", "--name", "other", "-S", "data.image_px=18", "prepare")
    run(study, "dvc", "queue", "start")
    wait_for_queue(study)
    changed = show_of(study, "other", "dvc.lock")
    assert "data.image_px: 18" in changed
    assert WHERE in changed


def test_a_colleague_pulls_adds_images_and_runs_again(study: Path, tmp_path: Path) -> None:
    remote, clone = tmp_path / "remote", tmp_path / "clone"
    run(study, "dvc", "remote", "add", "--force", "--local", "shared", str(remote))
    run(study, "dvc", "push", "--quiet", "--remote", "shared", f"{WHERE}.dvc", "prepare", "fetch")
    run(tmp_path, "git", "clone", "--quiet", str(study), str(clone))
    run(clone, "dvc", "remote", "add", "--local", "shared", str(remote))
    run(clone, "dvc", "pull", "--quiet", "--remote", "shared", f"{WHERE}.dvc", "prepare", "fetch")
    assert "Running stage" not in run(clone, "dvc", "repro", "prepare").stdout
    assert read_json(clone / "data/prepared/prepared.json")["images"] == 24
    put_images(clone, 100, 3)
    run(clone, "dvc", "add", "--quiet", WHERE)
    told = run(clone, "dvc", "repro", "prepare").stdout
    assert "prepare: 30 images" in told
    assert len(pd.read_csv(clone / "data/prepared/images.csv")) == 30
    status = run(clone, "git", "status", "--short").stdout
    assert {line[3:] for line in status.splitlines()} == {f"{WHERE}.dvc", "dvc.lock"}


def test_a_number_that_dvc_writes_in_its_own_way_is_read_as_the_number(study: Path) -> None:
    rate = "plans.head.learning_rates=[0.00003]"
    run(study, "dvc", "exp", "run", "--quiet", "--temp", "--name", "rate", "-S", rate, "prepare")
    assert "3e-05" in show_of(study, "rate", "params.yaml")


def test_a_checkout_that_was_moved_calls_its_own_dvc(study: Path) -> None:
    """Scripts of .venv name the place where it was made: make calls modules, and none of them."""
    recipes = [line.strip().lstrip("@") for line in (study / "Makefile").read_text().splitlines() if line[:1] == "\t"]
    commands = [command.split()[0] for line in recipes for command in line.split("&&") if command.split()]
    assert not {"dvc", "ruff", "mypy", "uv", "pytest", "pip"} & set(commands)


def test_without_git_one_line_says_so(study: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in run(study, "git", "ls-files").stdout.splitlines():
        (bare / name).parent.mkdir(parents=True, exist_ok=True)
        (bare / name).write_bytes((study / name).read_bytes())
    ended = run(bare, "python", "-m", "frostline.commands.check", "params.yaml", succeeds=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("this folder must be a git repository, which dvc keeps experiments in. Got ")
    assert ended.stderr.count("\n") == 1
