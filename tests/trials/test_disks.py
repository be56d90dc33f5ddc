"""A disk that takes no more is told in one line, whatever stage meets it, and what was there before stands."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project import ENVIRONMENT, read_params, run, write_params
from tests.test_pipeline import BACKBONE, tiny_study

HEAD = f"{BACKBONE}-head"
PREPARED = "--params params.yaml --prepared data/prepared"
STAGES = {
    "fetch": "--params params.yaml --out data/raw",
    "prepare": "--params params.yaml --raw data/raw --out data/prepared",
    "race": f"{PREPARED} --out data/race",
    "train": f"{PREPARED} --race data/race/{HEAD} --backbone {BACKBONE} --plan head --out data/runs/{HEAD}",
    "evaluate": f"{PREPARED} --run data/runs/{HEAD} --out data/scores/{HEAD}",
    "compare": f"{PREPARED} --runs data/runs --scores data/scores --out reports",
    "look": (
        "--params params.yaml --advice reports/advice.json --prepared data/prepared --runs data/runs "
        "--scores data/scores --out reports/look"
    ),
    "finish": (
        f"{PREPARED} --source data/raw/source.json --runs data/runs --scores data/scores --reports reports "
        "--out data/model"
    ),
    "plot": (
        "--reports reports --look reports/look --source data/raw/source.json --model data/model "
        "--told reports/model.json --figures reports/figures --report reports/report.html"
    ),
}
FULL = [
    ("fetch", 20), ("fetch", 200), ("prepare", 20), ("prepare", 1_000), ("race", 0), ("train", 20), ("train", 2),
    ("evaluate", 20), ("compare", 0), ("look", 8), ("finish", 2), ("finish", 60), ("plot", 8), ("plot", 60),
]  # fmt: skip
"""Stages, and the kilobytes beyond which no file of theirs may grow: writing fails where it would on a full disk."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_study(tmp_path_factory.mktemp("disks"))
    run(folder, "dvc", "repro")
    return folder


def set_cache(folder: Path, size: int) -> None:
    """Let a prefix's outputs take so many bytes of memory: 0 keeps none of them, 1 keeps them on the disk."""
    params = read_params(folder)
    params["training"]["cache_bytes"] = size
    write_params(folder, params)


def forget_fits(folder: Path) -> None:
    """Take away what was trained and decoded, so that it is not found again."""
    for path in (folder / ".dvc/tmp/frostline").glob("*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def list_outputs(folder: Path) -> dict[str, bytes]:
    found = [path for top in ("data", "reports") for path in (folder / top).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def run_full(folder: Path, stage: str, kilobytes: int) -> subprocess.CompletedProcess[str]:
    command = f"ulimit -f {kilobytes}; exec python -m stages.{stage} {STAGES[stage]}"
    environment = {**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def check(ended: subprocess.CompletedProcess[str], told: str) -> None:
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.strip().splitlines()[-1].endswith(told), ended.stderr
    assert len(ended.stderr.strip().splitlines()[-1]) < 500


@pytest.mark.trial
@pytest.mark.parametrize(("stage", "kilobytes"), FULL)
def test_a_stage_whose_disk_is_full_says_so_and_leaves_what_was_there(study: Path, stage: str, kilobytes: int) -> None:
    forget_fits(study)
    set_cache(study, 0)
    before = list_outputs(study)
    check(run_full(study, stage, kilobytes), "What was there before stands.")
    changed = {name for name, content in list_outputs(study).items() if before.get(name) != content}
    assert changed <= {f"reports/{name}" for name in ("plans.csv", "pairs.csv")}  # each of which is whole
    assert before.keys() == list_outputs(study).keys()


@pytest.mark.trial
def test_a_prefix_whose_scratch_is_full_says_so(study: Path) -> None:
    set_cache(study, 1)
    forget_fits(study)
    before = list_outputs(study)
    check(run_full(study, "train", 100), "to do without the cache.")
    assert list_outputs(study) == before
