"""Every command of the guide's page about sharing, run as it stands, by people who have only git and dvc in common."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.files import check_sums, read_csv, read_json
from tests.project import ENVIRONMENT, ROOT, commit, copy_project, read_params, run, write_params

pytestmark = pytest.mark.long

PAGE = ROOT / "docs" / "guide" / "sharing.md"
BLOCK = re.compile(r"```sh (\w+)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Done:
    """A command of the page, who said it, and what it printed."""

    who: str
    command: str
    output: str


def draw(folder: Path, count: int, seed: int, brightness: int) -> None:
    """Write so many pictures of noise of a brightness into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        noise = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8) + brightness
        Image.fromarray(noise.astype(np.uint8)).save(folder / f"{seed}-{number:03d}.png")


def begin_study(folder: Path) -> None:
    """Make a study of images in data/leaves, small enough to be run twice."""
    copy_project(folder)
    draw(folder / "data/leaves/healthy", 14, 1, 0)
    draw(folder / "data/leaves/rust", 14, 2, 100)
    params = read_params(folder)
    params["data"] |= {"source": "folder", "folder": "data/leaves", "groups": "none", "folds": 2, "image_px": 32}
    params["backbones"], params["study"]["plans"] = ["cnn2"], ["scratch", "slow"]
    scratch = {"from": "stem", "weights": "none", "learning_rates": [0.003]}
    params["plans"] = {"scratch": scratch, "slow": scratch | {"learning_rates": [0.001]}}
    params["training"] |= {"epochs": 1, "patience": 1, "views": 1, "batch_size": 8}
    write_params(folder, params)
    (folder / "reports/.gitignore").unlink(missing_ok=True)
    run(folder, "dvc", "repro")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Done]]:
    """Return the folder of all people's folders, and each command of the page, run in the folder of who says it."""
    world = tmp_path_factory.mktemp("world")
    (world / "srv").mkdir()
    run(world, "git", "init", "--quiet", "--bare", "--initial-branch", "main", "srv/leaves.git")
    begin_study(world / "you")
    for who in ("anyone", "other", "colleague"):
        (world / who).mkdir()
    draw(world / "anyone/new", 5, 3, 50)
    run(world / "other", "git", "init", "--quiet", "--initial-branch", "main")
    run(world / "other", "dvc", "init", "--quiet")
    commit(world / "other", "theirs")
    told = []
    for who, block in BLOCK.findall(PAGE.read_text()):
        for line in block.strip().splitlines():
            if "cp new/" in line:
                draw(world / who / "new", 6, 4, 0)
            command = line.replace("/srv/", f"{world}/srv/")
            shown = subprocess.run(
                ["bash", "-c", command], cwd=world / who, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert shown.returncode == 0, f"{who}: {line}\n{shown.stdout}\n{shown.stderr}"
            told.append(Done(who, line, shown.stdout))
    return world, told


def test_the_page_has_a_command_for_each_way_to_share(done: tuple[Path, list[Done]]) -> None:
    said = " ".join(each.command for each in done[1])
    for way in (
        "dvc push", "dvc pull", "dvc get", "dvc import", "dvc update", "dvc exp push", "dvc exp pull",
        "dvc artifacts get",
    ):  # fmt: skip
        assert way in said
    assert {each.who for each in done[1]} == {"you", "colleague", "anyone", "other"}


def test_who_gets_the_model_alone_has_all_of_it_and_it_predicts(done: tuple[Path, list[Done]]) -> None:
    anyone = done[0] / "anyone"
    for name in ("model", "model-v1"):
        check_sums(anyone / name)
        assert read_json(anyone / name / "model.json")["classes"] == ["healthy", "rust"]
    assert len(read_csv(anyone / "answers.csv")) == 5


def test_a_clone_and_a_pull_bring_every_result_and_nothing_is_run_again(done: tuple[Path, list[Done]]) -> None:
    first = next(each for each in done[1] if each.who == "colleague" and each.command == "dvc repro")
    assert "Running stage" not in first.output


def test_what_a_colleague_adds_is_run_and_comes_to_everyone(done: tuple[Path, list[Done]]) -> None:
    world, told = done
    _, second = (each for each in told if each.who == "colleague" and each.command == "dvc repro")
    assert "Running stage 'fetch'" in second.output
    mine = [each for each in told if each.who == "you" and each.command == "dvc repro"]
    assert "Running stage" not in mine[-1].output
    for who in ("you", "colleague"):
        assert read_json(world / who / "data/model/model.json")["trained"]["images"] == 34


def test_an_experiment_comes_by_its_name(done: tuple[Path, list[Done]]) -> None:
    assert read_params(done[0] / "colleague")["advice"]["margin"] == 3.0
    assert read_json(done[0] / "colleague/reports/advice.json")["margin"] == 3.0


def test_what_was_imported_knows_where_it_came_from(done: tuple[Path, list[Done]]) -> None:
    assert "leaves.git" in (done[0] / "other/leaf_model.dvc").read_text()
    check_sums(done[0] / "other/leaf_model")
