"""Whatever is done to something frozen is found and named."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from frostline.backbones.audit import AuditError, audit, digest_frozen
from tests.backbones.audited import Scaled, learner, points, step, toy

Meddling = Callable[[nn.Sequential, torch.optim.Optimizer], None]
"""Something done to a model between freezing and the audit that ought not to be."""


def let_statistics_move(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    model.train()(points())  # no gradient, no optimizer: the forward pass alone moves them


def nudge_a_weight(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    weight = model.get_parameter("stem.0.weight")
    weight[1, 0] = torch.nextafter(weight[1, 0], torch.tensor(torch.inf))


def count_a_batch(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    model.get_buffer("stem.1.num_batches_tracked").add_(1)


def thaw_and_move(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    with torch.no_grad():
        model.get_submodule("stem").requires_grad_(True).get_parameter("0.bias").add_(1.0)


def thaw(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    model.get_parameter("stem.1.weight").requires_grad_(True)


def freeze_more(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    model.get_parameter("head.0.bias").requires_grad_(False)


def give_to_the_optimizer(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    optimizer.add_param_group({"params": [model.get_parameter("stem.0.weight")]})
    optimizer.step()  # it has no gradient, and does not move


def leave_a_gradient(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    model.get_parameter("stem.0.bias").grad = torch.zeros(3)


def take_away(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    del model.get_submodule("stem.1").running_var


def replace_by_another_shape(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    old = model.get_parameter("stem.0.weight")
    model.get_submodule("stem.0").weight = nn.Parameter(old.detach().view(2, 3), requires_grad=False)


def replace_by_another_type(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    model.get_submodule("stem.1").running_mean = torch.zeros(3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("meddle", "found"),
    [
        (let_statistics_move, r"stem\.1\.running_mean moved, although it is frozen"),
        (nudge_a_weight, r"stem\.0\.weight moved, although it is frozen"),
        (count_a_batch, r"stem\.1\.num_batches_tracked moved, although it is frozen"),
        (thaw_and_move, r"stem\.0\.bias moved, although it is frozen"),
        (thaw, r"stem\.1\.weight learns, although it is frozen"),
        (freeze_more, r"head\.0\.bias neither learns nor was frozen when training began"),
        (give_to_the_optimizer, r"stem\.0\.weight is in the optimizer, although it is frozen"),
        (leave_a_gradient, r"stem\.0\.bias has a gradient, although it is frozen"),
        (take_away, r"stem\.1\.running_var is gone, although it is frozen"),
        (replace_by_another_shape, r"stem\.0\.weight moved, although it is frozen"),
        (replace_by_another_type, r"stem\.1\.running_mean moved, although it is frozen"),
    ],
)
def test_what_is_done_to_something_frozen_is_found_and_named(meddle: Meddling, found: str) -> None:
    model = toy()
    before, optimizer = digest_frozen(model), learner(model)
    meddle(model, optimizer)
    with pytest.raises(AuditError, match=f"^the audit found that {found}$"):
        audit(model, before, optimizer)


@pytest.mark.parametrize(
    "optimizer_of",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.0),
    ],
    ids=["SGD's momentum", "weight decay", "Adam's moments"],
)
def test_what_an_optimizer_goes_on_moving_after_it_was_frozen_in_mid_run_is_found(
    optimizer_of: Callable[..., torch.optim.Optimizer],
) -> None:
    model = toy()
    model.get_submodule("stem.0").requires_grad_(True)
    optimizer = optimizer_of(model.parameters())
    step(model, optimizer, points())
    model.get_submodule("stem.0").requires_grad_(False)
    before = digest_frozen(model)
    optimizer.zero_grad(set_to_none=False)
    step(model, optimizer, points())
    assert not model.get_parameter("stem.0.weight").grad.any()
    with pytest.raises(AuditError, match=r"stem\.0\.weight moved, although it is frozen"):
        audit(model, before, optimizer)


@pytest.mark.parametrize("name", ["scale", "offset"])
def test_a_root_modules_own_tensor_that_moves_is_found_under_its_own_name(name: str) -> None:
    module = Scaled().requires_grad_(False)
    before = digest_frozen(module)
    module.state_dict()[name].add_(1.0)
    with pytest.raises(AuditError, match=f" {name} moved, although it is frozen"):
        audit(module, before)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_norm_of_which_only_the_bias_learns_must_hold_its_statistics_still(mode: str) -> None:
    model = toy()
    model.get_parameter("stem.1.bias").requires_grad_(True)
    model.get_submodule("stem.1").train(mode == "train")
    before, optimizer = digest_frozen(model), learner(model)
    assert {"stem.1.weight", "stem.1.running_mean", "stem.1.running_var"} < set(before)
    assert "stem.1.bias" not in before
    step(model, optimizer, points())
    if mode == "eval":
        assert audit(model, before, optimizer) == 6
    else:
        with pytest.raises(AuditError, match=r"stem\.1\.running_mean moved, although it is frozen"):
            audit(model, before, optimizer)


def test_the_statistics_of_a_norm_without_parameters_must_stand_still_if_they_did_at_first() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, affine=False)).requires_grad_(False).eval()
    before = digest_frozen(model)
    model.train()(points())
    with pytest.raises(AuditError, match=r"1\.running_mean moved, although it is frozen"):
        audit(model, before)
