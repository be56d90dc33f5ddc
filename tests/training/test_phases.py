"""What learns when, what goes on, and that nothing else changes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from frostline.backbones.audit import AuditError
from frostline.files import read_yaml, write_yaml
from frostline.params import Plan
from frostline.training import grid
from frostline.training.checkpoints import read_best
from frostline.training.grid import Job, build_parts, locate_checkpoint, make_feed, train_cell
from frostline.training.loop import Fit
from frostline.training.optimizer import State, get_named_state
from tests import toys
from tests.toys import differing, left_in_scratch, train_toy, training

NAME = "efficientnet_lite0"
GRADUAL = [("head", 2), ("stage4", 1), ("stage3.1", 2)]


def phased(*phases: tuple[str, int], rates: list[float] | None = None, **more: Any) -> Plan:
    asked = [{"from": depth, "epochs": epochs, "learning_rates": rates or [0.003]} for depth, epochs in phases]
    return Plan.model_validate({"weights": "pretrained", "phases": [phase | more for phase in asked]})


def trained(job: Job, rates: tuple[float, ...] | None = None, seed: int = 0) -> list[list[dict[str, Tensor]]]:
    """Train a cell through all phases; return for each phase all tensors as they were before and after its epochs."""
    states, loaded = [], whole(job)
    for fits in phase_by_phase(job, rates, seed):
        states.append(
            [loaded | {name: tensor.clone() for name, tensor in fit.suffix.state_dict().items()} for fit in fits]
        )
    return states


def phase_by_phase(job: Job, rates: tuple[float, ...] | None = None, seed: int = 0) -> Iterator[Iterator[Fit]]:
    labels = torch.from_numpy(job.data.labels)
    rates = rates or tuple(phase.learning_rates[0] for phase in job.phases)
    for phase in range(1, len(job.phases) + 1):
        yield train_cell(job, make_feed(job, phase), labels, rates[:phase], seed)


def last_fit(job: Job, seed: int = 0) -> Fit:
    for fits in phase_by_phase(job, seed=seed):
        *_, fit = fits
    return fit


def whole(job: Job, seed: int = 0) -> dict[str, Tensor]:
    prefix, suffix = build_parts(job, seed)
    return toys.copied(prefix.state_dict() | suffix.state_dict())


def memory(fit: Fit) -> State:
    """Return what the optimizer remembers now."""
    return {name: toys.copied(state) for name, state in get_named_state(fit.optimizer, fit.suffix).items()}


def parts_of(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_parts_stand_still_bit_for_bit_until_their_phase_begins(tmp_path: Path) -> None:
    job = toys.job(NAME, phased(*GRADUAL), tmp_path)
    loaded, phases = whole(job), trained(job)
    assert [len(states) for states in phases] == [3, 2, 3]
    moved = [[parts_of(differing(loaded, state)) for state in states] for states in phases]
    assert moved[0] == [set(), {"head"}, {"head"}]
    assert moved[1] == [{"head"}, {"stage4", "head"}]
    assert moved[2] == [{"stage4", "head"}, *[{"stage3", "stage4", "head"}] * 2]
    first_block = {name for name in differing(loaded, phases[2][-1]) if name.startswith("stage3.0")}
    assert not first_block


def test_what_learned_stands_still_where_a_later_phase_freezes_it(tmp_path: Path) -> None:
    job = toys.job(NAME, phased(("stage4", 2), ("head", 2)), tmp_path)
    first, second = trained(job)
    assert differing(first[-1], second[0]) == set()
    assert parts_of(differing(second[0], second[-1])) == {"head"}


def test_a_phase_goes_on_as_if_there_were_no_border_where_nothing_changes_at_it(tmp_path: Path) -> None:
    """Weights, statistics, the optimizer's memory and the order of images: all of it crosses the border."""
    undivided = toys.job(NAME, phased(("stage4", 4)), tmp_path / "undivided", training(patience=9))
    divided = toys.job(NAME, phased(("stage4", 1), ("stage4", 3)), tmp_path / "divided", training(patience=9))
    one, other = last_fit(undivided), last_fit(divided)
    assert differing(one.suffix.state_dict(), other.suffix.state_dict()) == set()
    assert differing(one.best, other.best) == set()
    assert [epoch.val_loss for epoch in one.history] == [epoch.val_loss for epoch in other.history]
    assert [epoch.phase for epoch in other.history] == [1, 2, 2, 2]


def test_the_optimizer_remembers_what_goes_on_learning_and_nothing_else(tmp_path: Path) -> None:
    job = toys.job(NAME, phased(("stage4", 1), ("head", 1), ("stage4", 1)), tmp_path)
    memories = []
    for fits in phase_by_phase(job):
        begun = next(fits)
        at_first = memory(begun)
        *_, fit = fits
        memories.append((at_first, memory(fit)))
    (none, both), (at_second, head), (at_third, _) = memories
    assert none == {}
    assert parts_of(set(both)) == {"stage4", "head"}
    for at_first, before in ((at_second, both), (at_third, head)):
        assert parts_of(set(at_first)) == {"head"}
        assert all(differing(state, before[name]) == set() for name, state in at_first.items())


@pytest.mark.parametrize("phases", [GRADUAL, [("stage4", 2), ("head", 2)]], ids=["gradual", "narrowing"])
def test_in_float32_phases_come_out_bit_for_bit_the_same_with_and_without_the_cache(
    phases: list[tuple[str, int]], tmp_path: Path
) -> None:
    fits = [
        last_fit(toys.job(NAME, phased(*phases), tmp_path / str(cache_bytes), training(cache_bytes=cache_bytes)))
        for cache_bytes in (10**9, 0)
    ]
    assert differing(fits[0].suffix.state_dict(), fits[1].suffix.state_dict()) == set()
    assert differing(fits[0].best, fits[1].best) == set()


def test_the_prefix_of_a_phase_holds_what_never_learned_so_far(tmp_path: Path) -> None:
    phases = [("stage4", 1), ("head", 1), ("stage3.1", 1)]
    job = toys.job(NAME, phased(*phases), tmp_path)
    ends = [[name for name, _ in make_feed(job, phase).prefix.named_children()][-1] for phase in (1, 2, 3)]
    assert ends == ["stage3", "stage3", "stage3"]
    lengths = [len(make_feed(job, phase).prefix.get_submodule("stage3")) for phase in (1, 2, 3)]
    assert lengths[0] == lengths[1] > lengths[2] == 1


def test_the_audit_of_a_phase_sees_what_an_earlier_one_taught_and_this_one_froze(tmp_path: Path) -> None:
    job = toys.job(NAME, phased(("stage4", 1), ("head", 1)), tmp_path)
    first, second = phase_by_phase(job)
    list(first)
    fit = next(second)
    with torch.no_grad():
        next(fit.suffix.get_submodule("stage4").parameters()).add_(1.0)
    with pytest.raises(AuditError, match=r"stage4\.\S+ moved, although it is frozen"):
        list(second)


def test_the_best_epoch_may_be_one_of_an_earlier_phase(tmp_path: Path) -> None:
    """The second phase's rate is so high that it unlearns everything."""
    gentle, rough = phased(("head", 2)), phased(("stage4", 1), rates=[9.0])
    plan = gentle.model_copy(update={"phases": [*gentle.phases, *rough.phases]})
    job = toys.job(NAME, plan, tmp_path)
    loaded, (first, _) = whole(job), trained(job)
    best = read_best(locate_checkpoint(job, (0.003, 9.0), 0))
    assert any(differing(loaded | best, state) == set() for state in first)


# --- Whole runs -------------------------------------------------------------------------------------------------


def add_plan(toy: Path, name: str, plan: dict[str, Any]) -> None:
    params = read_yaml(toy / "params.yaml")
    params["plans"][name] = {"weights": "pretrained", **plan}
    params["study"]["plans"].append(name)
    write_yaml(toy / "params.yaml", params)


def phase(depth: str, epochs: int, *rates: float, **more: object) -> dict[str, Any]:
    return {"from": depth, "epochs": epochs, "learning_rates": list(rates) or [0.003], **more}


def test_phases_with_one_entry_are_a_plan_without_phases_bit_for_bit(toy: Path) -> None:
    add_plan(toy, "one_phase", {"phases": [phase("stage4", 2)]})
    plain, phases = train_toy(toy, "part"), train_toy(toy, "one_phase")
    for seed in (0, 1):
        assert (plain / f"seed-{seed}.safetensors").read_bytes() == (phases / f"seed-{seed}.safetensors").read_bytes()
    one, other = (pd.read_csv(folder / "history.csv").drop(columns=["plan", "seconds"]) for folder in (plain, phases))
    assert one.equals(other)
    told = [json.loads((folder / "run.json").read_text()) for folder in (plain, phases)]
    assert {name for name in told[0] if told[0][name] != told[1][name]} == {"plan", "definition"}


def test_the_rate_that_each_part_really_had_stands_in_the_history(toy: Path) -> None:
    phases = [phase("head", 1, 0.004), phase("stage4", 2, 0.002, layer_decay=0.5)]
    add_plan(toy, "two", {"phases": phases})
    history = pd.read_csv(train_toy(toy, "two") / "history.csv")
    assert set(history.learning_rate) == {"0.004 then 0.002"}
    first = history[history.seed == 0]
    assert first.phase.tolist() == [1, 2, 2]
    assert first.learning_rate_head.tolist() == [0.004, 0.002, 0.002]
    assert first.learning_rate_stage4.tolist()[1:] == [0.001, 0.001]
    assert first.learning_rate_stage4.isna().tolist() == [True, False, False]
    assert first.learning_rate_stage3.isna().all()


def test_every_combination_of_rates_is_tried_and_a_phase_that_they_share_is_trained_once(toy: Path) -> None:
    add_plan(toy, "grid", {"phases": [phase("head", 2, 0.01, 0.001), phase("stage4", 1, 0.003, 0.0003)]})
    folder = train_toy(toy, "grid")
    history = pd.read_csv(folder / "history.csv")
    pairs = {"0.01 then 0.003", "0.01 then 0.0003", "0.001 then 0.003", "0.001 then 0.0003"}
    assert set(history.learning_rate) == pairs
    best = history.groupby(["learning_rate", "seed"]).val_loss.min().groupby("learning_rate").mean().idxmin()
    assert json.loads((folder / "run.json").read_text())["learning_rate"] == best
    costs = json.loads((folder / "costs.json").read_text())
    assert costs["epochs"] == 2 * (2 * 2 + 4 * 1)  # seeds x (rates x epochs of the first, and of the second phase)
    assert costs["train_seconds"] == pytest.approx(
        costs["prefix_seconds"] + history.drop_duplicates(["seed", "phase", "epoch", "val_loss"]).seconds.sum(),
        rel=0.01,
    )


def test_a_run_that_is_killed_in_its_second_phase_goes_on_from_there(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_plan(toy, "two", {"phases": [phase("head", 1), phase("stage4", 2)]})

    def left() -> list[bytes]:
        folder = train_toy(toy, "two")
        return [(folder / name).read_bytes() for name in ("run.json", "seed-0.safetensors", "seed-1.safetensors")]

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
    assert len(left_in_scratch(toy)) == 3
    assert left() == expected
    assert left_in_scratch(toy) == []
