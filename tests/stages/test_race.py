"""A race trains less, and what it trains is what the grid would have."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from frostline.backbones.runs import load_backbone
from frostline.errors import InputError
from frostline.files import read_json, read_yaml, write_csv, write_json, write_yaml
from frostline.params.loading import load_params
from frostline.running import rounds
from frostline.running.racing import TrialResult, Worker, make_worker, start_workers
from stages import evaluate
from stages import race as race_stage
from tests import toys
from tests.project import ROOT, seal
from tests.toys import left_in_scratch, train_toy

FOLDS = 3
BACKBONE = "cnn3"  # a race starts a process for each plan, and these need no library of models
RACED = {
    "head": {"from": "head", "learning_rates": [0.003, 0.001]},
    "part": {"from": "stage1", "learning_rates": [0.003, 0.03, 0.0001]},
    "block": {"from": "stage4.0", "learning_rates": [0.003]},
    "gradual": {
        "phases": [
            {"from": "head", "epochs": 2, "learning_rates": [0.003]},
            {"from": "stage4", "epochs": 2, "learning_rates": [0.003, 0.001]},
        ]
    },
    "all": {"from": "stem", "learning_rates": [0.003]},
}


def write_race(folder: Path, *, racing: bool = True, margin: float = 99.0) -> None:
    """Write a study of these plans in three folds. With so large a margin only the cheapest can be advised."""
    toys.write_study(folder)
    weights = toys.cnn3_weights(folder)
    params = read_yaml(folder / "params.yaml")
    params["backbones"] = [BACKBONE]
    params["plans"] = {name: {"weights": weights, **plan} for name, plan in RACED.items()}
    params["study"] |= {"plans": [*RACED], "racing": racing, "tune": "all"}
    params["advice"] |= {"margin": margin, "cost": "trainable_parameters"}
    params["training"] |= {"epochs": 4, "patience": 9}
    write_yaml(folder / "params.yaml", params)
    write_folds(folder / "prepared")


def write_folds(prepared: Path) -> None:
    """Split the toy's 70 pictures into three folds: of each 24, 24 and 22 are tested, and 10 validate."""
    tables = []
    for fold in range(FOLDS):
        tests = 22 if fold == FOLDS - 1 else 24
        split = ["test"] * tests + ["validation"] * 10 + ["train"] * (60 - tests)
        tables.append(pd.DataFrame({"image": np.roll(np.arange(70), -24 * fold), "replicate": fold, "split": split}))
    write_csv(prepared / "splits.csv", pd.concat(tables))
    write_json(prepared / "prepared.json", read_json(prepared / "prepared.json") | {"folds": FOLDS})
    seal(prepared)


def hold(folder: Path) -> Path:
    race_stage.main(params=folder / "params.yaml", prepared=folder / "prepared", out=folder / "raced")
    return folder / "raced"


def told(raced: Path, plan: str, name: str = "race") -> Any:
    return json.loads((raced / f"{BACKBONE}-{plan}" / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what a race left, in its study's folder."""
    folder = tmp_path_factory.mktemp("race")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DVC_ROOT", str(folder))
        patched.chdir(folder)
        write_race(folder)
        hold(folder)
        assert left_in_scratch(folder) == []
    return folder / "raced"


@pytest.fixture
def folder(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a study's folder, in which commands run now: its weights lie in its data."""
    (toy / "study").mkdir()
    monkeypatch.chdir(toy / "study")
    return toy / "study"


def test_without_racing_nothing_is_trained_and_nothing_stopped(folder: Path) -> None:
    write_race(folder, racing=False)
    left = hold(folder)
    assert sorted(path.name for path in left.rglob("*.*")) == ["race.json"] * len(RACED)
    assert told(left, "head") == {"racing": False, "stopped": None, "dropped": []}


def test_what_can_no_longer_be_advised_stops_after_the_second_fold(raced: Path) -> None:
    stopped = {plan: told(raced, plan)["stopped"] for plan in RACED}
    assert stopped.pop("head") is None  # the cheapest, which is good enough for so large a margin
    assert stopped.pop("gradual") is None  # it computes next to nothing
    for plan, stop in stopped.items():
        assert (stop["replicates"], stop["chance"]) == (2, 0.0), plan
        assert [*told(raced, plan, "run")["replicates"]] == ["0", "1"]


def test_what_stopped_costs_as_if_it_had_gone_on_and_tells_what_was_spent(raced: Path) -> None:
    for plan in RACED:
        costs = told(raced, plan, "costs")
        stopped = told(raced, plan)["stopped"] is not None
        assert (costs["train_seconds"] > costs["spent_seconds"]) == stopped
    costs, shown = told(raced, "all", "costs"), 8 * 36  # in four epochs of two replicates; a third is like these
    assert costs["train_flops"] == pytest.approx(costs["train_flops_per_image"] * 1.5 * shown)


def test_of_the_rates_of_a_plan_the_better_half_goes_on(raced: Path) -> None:
    first, second = told(raced, "part")["dropped"]
    assert (first["replicates"], first["epochs"]) == (1, 2)  # after half of four epochs, which both rates had
    assert (second["replicates"], second["epochs"]) == (1, 4)
    assert first["val_loss"] > first["kept_val_loss"]
    assert second["val_loss"] > second["kept_val_loss"]
    history = pd.read_csv(raced / f"{BACKBONE}-part" / "history.csv")
    kept = told(raced, "part", "run")["learning_rate"]
    epochs = history.groupby("learning_rate").replicate.agg(["size", "nunique"])
    assert sorted(epochs["size"]) == [2, 4, 8]
    assert epochs["size"].idxmax() == kept


def test_a_plan_that_computes_next_to_nothing_is_spared(raced: Path) -> None:
    assert told(raced, "head") == {"racing": True, "stopped": None, "dropped": []}
    history = pd.read_csv(raced / f"{BACKBONE}-head" / "history.csv")
    assert history.groupby(["learning_rate", "replicate"]).epoch.max().to_list() == [4] * 2 * FOLDS


def test_what_a_race_trained_to_its_end_is_bit_for_bit_what_the_grid_trains(raced: Path, folder: Path) -> None:
    write_race(folder, racing=False)
    alone, mine = train_toy(folder, "all", backbone=BACKBONE), raced / f"{BACKBONE}-all"
    for name in ("replicate-0.safetensors", "replicate-1.safetensors"):
        assert (alone / name).read_bytes() == (mine / name).read_bytes(), name
    one, other = (pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (alone, mine))
    assert len(other) == 8
    assert one[one.replicate < 2].reset_index(drop=True).equals(other)


@pytest.mark.long
def test_a_race_after_a_grid_finds_its_fits_second_by_second(folder: Path) -> None:
    """The measurement of races stands on it. Of the rates that are dropped the race counts what it would take."""
    write_race(folder, racing=False)
    alone = pd.read_csv(train_toy(folder, "part", backbone=BACKBONE, keep_bytes=10**9) / "history.csv")
    params = read_yaml(folder / "params.yaml")
    params["study"]["racing"] = True
    write_yaml(folder / "params.yaml", params)
    mine = pd.read_csv(hold(folder) / f"{BACKBONE}-part" / "history.csv")
    both = mine.merge(alone, on=["learning_rate", "replicate", "epoch"], suffixes=("", "_alone"))
    assert len(both) == len(mine) < len(alone)
    assert both.seconds.tolist() == both.seconds_alone.tolist()


def test_a_race_judges_by_what_evaluate_will_say_of_the_run(raced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = raced.parent
    monkeypatch.chdir(folder)
    run, params, prepared = raced / f"{BACKBONE}-block", folder / "params.yaml", folder / "prepared"
    evaluate.main(params=params, prepared=prepared, run=run, out=folder / "scores")
    worker = make_worker(params, prepared, BACKBONE, "block", workers=1)
    worker.train((0.003,), 1, None)
    named = worker.predict((0.003,), 1).reset_index(drop=True)
    scored = pd.read_parquet(folder / "scores" / "predictions.parquet")
    pd.testing.assert_frame_equal(named, scored[scored.replicate == 1].reset_index(drop=True))


def test_a_run_that_stopped_gives_back_the_replicates_that_it_had(raced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(raced.parent)
    whole = load_backbone(raced / f"{BACKBONE}-part", 1)
    assert all(torch.isfinite(tensor).all() for tensor in whole.state_dict().values())
    with pytest.raises(InputError, match="must be 0 or 1"):
        load_backbone(raced / f"{BACKBONE}-part", 2)


def test_train_takes_what_the_race_left(raced: Path, toy: Path) -> None:
    taken = train_toy(toy, "head", race=raced / f"{BACKBONE}-head")
    left = {path.name: path.read_bytes() for path in (raced / f"{BACKBONE}-head").iterdir()}
    assert {path.name: path.read_bytes() for path in taken.iterdir()} == left
    assert {"run.json", "race.json", "costs.json", "history.csv", "replicate-0.safetensors"} <= set(left)


def test_rates_that_all_diverge_are_refused_in_one_line(folder: Path) -> None:
    """Their worker is made up: no rate that is allowed makes so small a network diverge."""
    write_race(folder)

    class Diverging:
        at_once = 1

        def __call__(self, do: Any, *_: object) -> Any:
            assert do is Worker.train
            return TrialResult(nan, 4)

    rates = [(0.1,), (0.2,)]
    trial = rounds.Trial(f"{BACKBONE}-part", Diverging(), rates, 4, 1_000, rates)
    line = r"^learning_rates must hold one at which training goes on to the end\. Got 0\.1, 0\.2 on \S+-part"
    with pytest.raises(InputError, match=line):
        rounds.hold_race(load_params(folder / "params.yaml"), folder / "prepared", [trial])


def test_a_plan_that_does_not_fit_is_refused_in_one_line_and_nobody_is_left_running(folder: Path) -> None:
    write_race(folder)
    params = read_yaml(folder / "params.yaml")
    params["plans"]["all"] = params["plans"]["all"] | {"from": "stage4.9"}
    params["study"]["plans"] = ["head", "all"]
    write_yaml(folder / "params.yaml", params)
    with pytest.raises(InputError, match=r"^plans\.all on cnn3 must name stage4\.0"):
        hold(folder)
    assert multiprocessing.active_children() == []
    assert not (folder / "raced").exists()


@pytest.mark.long
def test_a_race_that_was_killed_comes_out_as_if_it_had_not_been(raced: Path, folder: Path) -> None:
    """When it was killed, part had been trained to its end at the rate that goes on."""
    write_race(folder)
    kept = (told(raced, "part", "run")["learning_rate"],)
    params, prepared = folder / "params.yaml", folder / "prepared"
    make_worker(params, prepared, BACKBONE, "part", workers=1).train(kept, 0, None)
    left = hold(folder)
    for plan in RACED:
        assert told(left, plan) == told(raced, plan)
        one, other = (pd.read_csv(each / f"{BACKBONE}-{plan}" / "history.csv") for each in (left, raced))
        assert one.drop(columns="seconds").equals(other.drop(columns="seconds"))


def test_a_worker_that_dies_is_named_and_the_race_ends(folder: Path) -> None:
    write_race(folder)
    params, prepared = folder / "params.yaml", folder / "prepared"
    with (
        pytest.raises(RuntimeError, match=r"^mine ended before the race did; what it met stands above$"),
        start_workers(params, prepared, {"mine": (BACKBONE, "head")}) as workers,
    ):
        workers["mine"](die)
    assert multiprocessing.active_children() == []


def die(_: Worker) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_of_a_race_that_was_killed_end_too(folder: Path) -> None:
    """They are other processes, and nobody else would end them."""
    write_race(folder)
    code = f"""
import os
from pathlib import Path
from frostline.running.racing import start_workers
from tests.stages.test_race import tell_process
folder = Path.cwd()
if __name__ == "__main__":
    with start_workers(folder / "params.yaml", folder / "prepared", {{"one": ("{BACKBONE}", "head")}}) as asks:
        print(asks["one"](tell_process), flush=True)
        os.kill(os.getpid(), 9)
"""
    script = folder / "race.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    worker = int(done.stdout)
    until = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
        assert time.monotonic() < until, "the worker goes on"
        time.sleep(0.1)


def tell_process(_: Worker) -> int:
    return os.getpid()
