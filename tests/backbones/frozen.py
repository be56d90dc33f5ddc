"""Backbones frozen by a plan, and what moves in them."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from frostline.backbones.freezing import (
    apply_plan,
)
from frostline.backbones.registry import build_backbone
from frostline.constants import BACKBONES
from frostline.params.schema import Plan


def learn_from(name: str) -> Plan:
    return Plan.model_validate({"from": name, "weights": "pretrained", "learning_rates": [0.001]})


def learn(*names: str) -> Plan:
    return Plan(train=list(names), weights="pretrained", learning_rates=[0.001])


class Case(NamedTuple):
    """A plan, in which blocks (by part and number) all learns under it, and the selector that it has beside them."""

    plan: Plan
    learns: Callable[[str, int], bool]
    selector: str = ""


class Fresh(NamedTuple):
    """An untrained backbone with three classes, and a plan for it. Copy the backbone before you change it."""

    name: str
    backbone: nn.Sequential


def frozen(fresh: Fresh, plan: Plan) -> nn.Sequential:
    backbone = copy.deepcopy(fresh.backbone)
    apply_plan(backbone, plan)
    return backbone


def noise(name: str, images: int = 3) -> Tensor:
    """Return noise of the smallest side that the backbone can see: no larger one shows more of what moves."""
    side = BACKBONES[name][0]
    return torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(1))


def take_a_step(model: nn.Module, pixels: Tensor, learned_by: nn.Module) -> None:
    """Take one step of AdamW, with weight decay, on all parameters of `learned_by`: also on those that are frozen."""
    torch.manual_seed(0)  # of dropout
    optimizer = torch.optim.AdamW(learned_by.parameters(), lr=0.01, weight_decay=0.1)
    functional.cross_entropy(model(pixels), torch.arange(len(pixels)) % 3).backward()
    optimizer.step()


def moved(before: nn.Module, after: nn.Module) -> set[str]:
    """Return the names of the tensors, buffers included, that are not bit for bit what they were."""
    then, now = before.state_dict(), after.state_dict()
    assert then.keys() == now.keys()
    return {name for name in then if not torch.equal(then[name], now[name])}


def is_norm(module: nn.Module) -> bool:
    return "Norm" in type(module).__name__ and not isinstance(module, nn.Sequential)


def is_bias(name: str) -> bool:
    """An attention's in_proj_bias is one; Swin's relative_position_bias_table, which attention adds to, is none."""
    return name.rpartition(".")[2] in ("bias", "in_proj_bias")


def in_learning_block(name: str, case: Case) -> bool:
    part, block, *_ = [*name.split("."), "", ""]
    return block.isdecimal() and case.learns(part, int(block))


def learning(backbone: nn.Module, case: Case) -> set[str]:
    """Return the names of the parameters that shall learn."""
    norms = {name for name, module in backbone.named_modules() if is_norm(module)}
    return {
        name
        for name, _ in backbone.named_parameters()
        if in_learning_block(name, case)
        or (case.selector == "norms" and name.rpartition(".")[0] in norms)
        or (case.selector == "biases" and is_bias(name))
    }


def resnet18() -> nn.Sequential:
    return build_backbone("resnet18", "none", 3)


PLAYGROUND = build_backbone("mobilenet_v3_small", "none", 3)


def alone(name: str) -> set[str]:
    """Return the names of the parameters that a single name of a plan means."""
    if name == "biases":
        return {each for each, _ in PLAYGROUND.named_parameters() if is_bias(each)}
    if name == "norms":
        return learning(PLAYGROUND, Case(learn("norms"), lambda *_: False, "norms"))
    return {each for each, _ in PLAYGROUND.named_parameters() if each.startswith(f"{name}.")}
