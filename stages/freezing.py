"""Freezing: which parts of a backbone learn, where its frozen prefix ends, and how much of it learns."""

import functools
from collections.abc import Collection

from torch import nn

from stages.mistakes import listed, mistake


def apply_plan(backbone: nn.Sequential, learned: Collection[str]) -> None:
    """Let the parts named in `learned` learn, and freeze every other part; a new plan takes the place of an old one.

    Frozen means that no gradient is computed and that the part stays in eval mode after any `.train()`, so that
    BatchNorm statistics and dropout stand still too.
    """
    for name in learned:
        if name not in dict(backbone.named_children()):
            raise mistake("a plan", f"name {listed(dict(backbone.named_children()))}", repr(name))
    for name, part in backbone.named_children():
        part.requires_grad_(name in learned)
        release(part)
        if name not in learned:
            hold_in_eval_mode(part)


def hold_in_eval_mode(part: nn.Module) -> None:
    """Put the part and all in it into eval mode, for good."""
    for module in part.modules():
        module.eval()
        # nn.Module.train() recurses by calling .train() of each child: this is where it must stop.
        module.train = functools.partial(_stay, module)  # type: ignore[method-assign]


def release(part: nn.Module) -> None:
    """Let the part follow `.train()` and `.eval()` again."""
    for module in part.modules():
        vars(module).pop("train", None)
    part.train()


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:  # noqa: ARG001
    return module


def cut_at_boundary(backbone: nn.Sequential, learned: Collection[str]) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the prefix (the parts before the first that learns) and the suffix (the rest), sharing modules."""
    names = [name for name, _ in backbone.named_children()]
    boundary = min(names.index(name) for name in learned)
    return _named(backbone, names[:boundary]), _named(backbone, names[boundary:])


def _named(backbone: nn.Sequential, names: list[str]) -> nn.Sequential:
    chosen = nn.Sequential()
    for name in names:
        chosen.add_module(name, backbone.get_submodule(name))
    return chosen


def count_parameters(backbone: nn.Sequential, learned: Collection[str]) -> tuple[int, int]:
    """Return how many parameters learn under the plan, and how many there are."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in backbone.named_children()}
    return sum(counts[name] for name in learned), sum(counts.values())
