"""What learns when, what goes on, and that nothing else changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from frostline.backbones.audit import AuditError
from frostline.params.schema import Plan
from frostline.training.checkpoints import read_best
from frostline.training.grid import build_parts, make_feed, train_cell
from frostline.training.job import Job, locate_checkpoint
from frostline.training.loop import Fit
from frostline.training.optimizer import State, get_named_state
from tests import toys
from tests.toys import differing, training

NAME = "efficientnet_lite0"


GRADUAL = [("head", 2), ("stage4", 1), ("stage3.1", 2)]


def phased(*phases: tuple[str, int], rates: list[float] | None = None, **more: Any) -> Plan:
    asked = [{"from": depth, "epochs": epochs, "learning_rates": rates or [0.003]} for depth, epochs in phases]
    return Plan.model_validate({"weights": "pretrained", "phases": [phase | more for phase in asked]})


def trained(job: Job, rates: tuple[float, ...] | None = None, replicate: int = 0) -> list[list[dict[str, Tensor]]]:
    """Train a cell through all phases; return for each phase all tensors as they were before and after its epochs."""
    states, loaded = [], whole(job)
    for fits in phase_by_phase(job, rates, replicate):
        states.append(
            [loaded | {name: tensor.clone() for name, tensor in fit.suffix.state_dict().items()} for fit in fits]
        )
    return states


def phase_by_phase(job: Job, rates: tuple[float, ...] | None = None, replicate: int = 0) -> Iterator[Iterator[Fit]]:
    labels = torch.from_numpy(job.data.labels)
    rates = rates or tuple(phase.learning_rates[0] for phase in job.phases)
    for phase in range(1, len(job.phases) + 1):
        yield train_cell(job, make_feed(job, phase), labels, rates[:phase], replicate)


def last_fit(job: Job, replicate: int = 0) -> Fit:
    for fits in phase_by_phase(job, replicate=replicate):
        *_, fit = fits
    return fit


def whole(job: Job, replicate: int = 0) -> dict[str, Tensor]:
    prefix, suffix = build_parts(job, replicate)
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
    lengths = [len(list(make_feed(job, phase).prefix.get_submodule("stage3").children())) for phase in (1, 2, 3)]
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
