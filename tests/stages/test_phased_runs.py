"""A run with phases is one run: of one checkpoint, one history and one set of costs."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from frostline.files import read_yaml, write_yaml
from frostline.training import grid
from frostline.training.loop import Fit
from tests.toys import left_in_scratch, list_checkpoints, train_toy


def phase(depth: str, epochs: int, *rates: float, **more: object) -> dict[str, Any]:
    return {"from": depth, "epochs": epochs, "learning_rates": list(rates) or [0.003], **more}


def add_plan(toy: Path, name: str, plan: dict[str, Any]) -> None:
    params = read_yaml(toy / "params.yaml")
    params["plans"][name] = {"weights": "pretrained", **plan}
    params["study"]["plans"].append(name)
    write_yaml(toy / "params.yaml", params)


def test_phases_with_one_entry_are_a_plan_without_phases_bit_for_bit(toy: Path) -> None:
    add_plan(toy, "one_phase", {"phases": [phase("stage4", 2)]})
    plain, phases = train_toy(toy, "part"), train_toy(toy, "one_phase")
    for replicate in (0, 1):
        assert (plain / f"replicate-{replicate}.safetensors").read_bytes() == (
            phases / f"replicate-{replicate}.safetensors"
        ).read_bytes()
    one, other = (pd.read_csv(folder / "history.csv").drop(columns=["plan", "seconds"]) for folder in (plain, phases))
    assert one.equals(other)
    told = [json.loads((folder / "run.json").read_text()) for folder in (plain, phases)]
    assert {name for name in told[0] if told[0][name] != told[1][name]} == {"plan", "definition"}


def test_the_rate_that_each_part_really_had_stands_in_the_history(toy: Path) -> None:
    phases = [phase("head", 1, 0.004), phase("stage4", 2, 0.002, layer_decay=0.5)]
    add_plan(toy, "two", {"phases": phases})
    history = pd.read_csv(train_toy(toy, "two") / "history.csv")
    assert set(history.learning_rate) == {"0.004 then 0.002"}
    first = history[history.replicate == 0]
    assert first.phase.tolist() == [1, 2, 2]
    assert first.learning_rate_head.tolist() == [0.004, 0.002, 0.002]
    assert first.learning_rate_stage4.tolist()[1:] == [0.001, 0.001]
    assert first.learning_rate_stage4.isna().tolist() == [True, False, False]
    assert first.learning_rate_stage3.isna().all()


@pytest.mark.long
def test_every_combination_of_rates_is_tried_and_a_phase_that_they_share_is_trained_once(toy: Path) -> None:
    add_plan(toy, "grid", {"phases": [phase("head", 2, 0.01, 0.001), phase("stage4", 1, 0.003, 0.0003)]})
    folder = train_toy(toy, "grid")
    history = pd.read_csv(folder / "history.csv")
    pairs = {"0.01 then 0.003", "0.01 then 0.0003", "0.001 then 0.003", "0.001 then 0.0003"}
    assert set(history.learning_rate) == pairs
    best = history.groupby(["learning_rate", "replicate"]).val_loss.min().groupby("learning_rate").mean().idxmin()
    assert json.loads((folder / "run.json").read_text())["learning_rate"] == best
    costs = json.loads((folder / "costs.json").read_text())
    assert costs["epochs"] == 2 * (2 * 2 + 4 * 1)  # replicates x (rates x epochs of the first, and of the second phase)
    assert costs["train_seconds"] == pytest.approx(
        costs["prefix_seconds"] + history.drop_duplicates(["replicate", "phase", "epoch", "val_loss"]).seconds.sum(),
        rel=0.01,
    )


@pytest.mark.long
def test_a_run_that_is_killed_in_its_second_phase_goes_on_from_there(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_plan(toy, "two", {"phases": [phase("head", 1), phase("stage4", 2)]})

    def left() -> list[bytes]:
        folder = train_toy(toy, "two")
        return [
            (folder / name).read_bytes() for name in ("run.json", "replicate-0.safetensors", "replicate-1.safetensors")
        ]

    expected = left()
    save_fit, saves = grid.save_fit, []

    def killed(path: Path, fit: Fit) -> None:
        save_fit(path, fit)
        saves.append(path)
        if len(saves) == 3:  # both cells' first phase, and one epoch of the second
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(grid, "save_fit", killed)
        with pytest.raises(KeyboardInterrupt):
            train_toy(toy, "two")
    assert len(list_checkpoints(toy)) == 3
    assert left() == expected
    assert left_in_scratch(toy) == []
