"""Freezing: what of a backbone learns under a plan, where its frozen prefix ends, and how much of it learns."""

import weakref
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from frostline.constants import PARTS, SELECTORS
from frostline.errors import InputError, join_names
from frostline.networks.segments import Crossed, Crossing, Gather, Restore, Segment, is_one_tensor
from frostline.params.schema import Depth

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Layers of torch's that normalise: batch and instance, layer, group and root mean square."""


@dataclass(frozen=True)
class PartCount:
    """A part's parameters, and how many of them learn."""

    part: str
    parameters: int
    trainable: int


def apply_plan(backbone: nn.Sequential, plan: Depth) -> None:
    """Let what the plan names learn, and freeze all else; a new plan takes the place of an old one.

    Of a plan with phases, what any of them names learns; a phase alone is a plan too.

    Frozen parameters get no gradient. A module is frozen unless it lies in a part or block that learns, or is a norm
    under `norms`; it stays in eval mode after any `.train()`, so that BatchNorm statistics and dropout stand still
    too. Under `biases` statistics stand still as well: only biases move. Raises `InputError` about names that the
    backbone lacks.
    """
    refuse_unfit(backbone, plan)
    blocks = list_learning_blocks(backbone, plan)
    selectors = _list_selectors(plan)
    learned = _split_blocks(backbone, blocks) | _select_parameters(backbone, selectors)
    learned = (learned - _list_adapters(backbone)) | _select_adapters(backbone, plan)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name in learned)
    for name, module in backbone.named_modules():
        vars(module).pop("train", None)
        awake = _has_part(blocks, name) or ("norms" in selectors and _is_norm(module))
        if not awake and name:
            hold_in_eval_mode(module)
    backbone.train()


def hold_in_eval_mode(module: nn.Module) -> None:
    """Put the module itself into eval mode, for good; `.train()` only passes through it to what it contains."""
    module.training = False
    module.train = _PassingOn(module)  # type: ignore[method-assign]


class _PassingOn:
    """The `.train()` of a module that is held in eval mode; a copy of the module gets its own.

    It knows the module weakly: modules that hold themselves, and with them a backbone's weights, would stay in memory
    after their last use until Python looks for cycles.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = weakref.ref(module)

    def __call__(self, mode: bool = True) -> Any:
        """Pass the mode on to the module's children; return the module."""
        module = self._module()
        for child in module.children() if module is not None else ():
            child.train(mode)
        return module

    def __reduce__(self) -> tuple[type["_PassingOn"], tuple[nn.Module | None]]:
        """Let copies and pickles of the module say anew whose they are."""
        return _PassingOn, (self._module(),)


def refuse_unfit(backbone: nn.Sequential, plan: Depth, where: str = "a plan") -> None:
    """Raise an `InputError` if the plan names what the backbone lacks, or what has nothing to learn in it."""
    for place, depth in enumerate(plan.depths):
        _refuse_unfit(backbone, depth, where if depth is plan else f"{where}, phases.{place},")


def _refuse_unfit(backbone: nn.Sequential, plan: Depth, where: str) -> None:
    blocks = list_blocks(backbone)
    parts = [name for name, _ in backbone.named_children()]
    uncut = getattr(backbone, "uncut", None)
    for name in [plan.from_] if plan.from_ is not None else plan.train or []:
        if uncut and name not in ("stem", "head", *SELECTORS):
            must = "say stem, head, norms or biases of what can be cut nowhere but before its logits"
            raise InputError.of(where, must, f"{name!r} ({uncut})")
        if name in SELECTORS:
            if not _select_parameters(backbone, [name]):
                raise InputError.of(where, f"name what the backbone has; it has no {name}", repr(name))
        elif name not in blocks and name not in parts:
            siblings = [block for block in blocks if block.startswith(f"{name.partition('.')[0]}.")]
            raise InputError.of(where, f"name {join_names(siblings or [*parts, *SELECTORS])}", repr(name))
        elif not _split_blocks(backbone, [name] if plan.from_ is None else list_learning_blocks(backbone, plan)):
            raise InputError.of(where, "name what has parameters", f"{name!r}, which has none")


def list_blocks(backbone: nn.Sequential) -> list[str]:
    """Return the names of the backbone's blocks, such as stage4.1, shallow to deep."""
    return [f"{part}.{block}" for part, blocks in backbone.named_children() for block, _ in blocks.named_children()]


def list_learning_blocks(backbone: nn.Sequential, plan: Depth) -> list[str]:
    """Return the names of the blocks all of which learns, shallow to deep."""
    blocks = list_blocks(backbone)
    learning = {block for depth in plan.depths for block in _list_learning_blocks(blocks, depth)}
    return [block for block in blocks if block in learning]


def _list_learning_blocks(blocks: list[str], depth: Depth) -> list[str]:
    if depth.from_ is None:
        named = ["head"] if depth.adapt else depth.train or []
        return [block for block in blocks if _has_part(named, block)]
    first = next((place for place, block in enumerate(blocks) if _begins_at(depth.from_, block)), len(blocks))
    return blocks[first:]


def _begins_at(start: str, block: str) -> bool:
    """Return whether the block is that one or of that part; or of a later one, where a part has no blocks."""
    part, asked = block.partition(".")[0], start.partition(".")[0]
    if asked in PARTS and part in PARTS and "." not in start:
        return PARTS.index(part) >= PARTS.index(asked)
    return _has_part([start], block)


def _list_selectors(plan: Depth) -> list[str]:
    """Return the selectors under which something learns."""
    return [name for name in SELECTORS if any(name in (depth.train or ()) for depth in plan.depths)]


def describe_learned(backbone: nn.Sequential, plan: Depth) -> list[str]:
    """Return what learns in the fewest words: whole parts by their names, else blocks (stage4.1-3), and selectors."""
    learning, words = set(list_learning_blocks(backbone, plan)), []
    for part, module in backbone.named_children():
        names = [name for name, block in module.named_children() if [*block.parameters()]]
        learn = [name for name in names if f"{part}.{name}" in learning]
        if learn == names:
            words += [part] if names else []
        elif len(learn) > 1 and learn == names[-len(learn) :]:
            words.append(f"{part}.{learn[0]}-{learn[-1]}")
        else:
            words += [f"{part}.{name}" for name in learn]
    adapted = [f"LoRA-{depth.adapt.lora}({' '.join(depth.adapt.parts)})" for depth in plan.depths if depth.adapt]
    return words + _list_selectors(plan) + list(dict.fromkeys(adapted))


def _has_part(names: Collection[str], inner: str) -> bool:
    """Return whether `inner` is one of the names, or lies within one."""
    steps = inner.split(".")
    return any(".".join(steps[:count]) in names for count in range(1, len(steps) + 1))


def _split_blocks(backbone: nn.Sequential, blocks: Collection[str]) -> set[str]:
    return {name for name, _ in backbone.named_parameters() if _has_part(blocks, name)}


def _select_parameters(backbone: nn.Sequential, selectors: Collection[str]) -> set[str]:
    """Return the names of the parameters that `norms` and `biases`, where they are among the selectors, mean."""
    chosen: set[str] = set()
    if "norms" in selectors:
        norms = {name: module for name, module in backbone.named_modules() if _is_norm(module)}
        chosen |= {f"{name}.{own}" for name, module in norms.items() for own, _ in module.named_parameters()}
    if "biases" in selectors:
        chosen |= {name for name, _ in backbone.named_parameters() if name.endswith("bias")}
    return chosen


def _is_norm(module: nn.Module) -> bool:
    """Return whether the module normalises: it is one of torch's that do, or a library's own, called so, as timm's."""
    own = "Norm" in type(module).__name__ and not [*module.children()] and [*module.parameters()]
    return isinstance(module, NORMS) or bool(own)


def _list_adapters(backbone: nn.Sequential) -> set[str]:
    """Return the names of the low-rank matrices."""
    return {name for name, _ in backbone.named_parameters() if name.endswith(("lora_down", "lora_up"))}


def _select_adapters(backbone: nn.Sequential, plan: Depth) -> set[str]:
    """Return the names of the low-rank matrices that learn under the plan."""
    places = [place for depth in plan.depths if depth.adapt for place in depth.adapt.parts]
    return {name for name in _list_adapters(backbone) if _has_part(places, name)}


def find_boundary(backbone: nn.Sequential) -> int:
    """Return how many blocks lie before the first in which anything learns. `apply_plan` must have been called.

    There are fewer where what crosses is nothing that can be kept.
    """
    blocks = [block for part in backbone.children() for block in part.children()]
    at = next((place for place, block in enumerate(blocks) if not _is_frozen(block)), len(blocks))
    while at and _get_crossing(blocks[at - 1]) is None:
        at -= 1
    return at


def _get_crossing(block: nn.Module) -> Crossing | None:
    """Return what crosses out of the block: one tensor, if it is no segment."""
    return block.crossing if isinstance(block, Segment) else (Crossed("tensor"),)


def cut_at_boundary(
    backbone: nn.Sequential, image_px: int | None = None, at: int | None = None
) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the prefix (the blocks before the boundary, or before the one at `at`) and the suffix, sharing modules.

    Both keep the backbone's names. Where more than one tensor crosses, the prefix ends in a `Gather` and the suffix
    begins with a `Restore`, which needs the side of the images. `apply_plan` must have been called.
    """
    at = find_boundary(backbone) if at is None else at
    prefix, suffix = nn.Sequential(), nn.Sequential()
    names = [(part, name) for part, blocks in backbone.named_children() for name, _ in blocks.named_children()]
    crossing = _get_crossing(backbone.get_submodule(".".join(names[at - 1]))) if at else None
    several = None if crossing is None or is_one_tensor(crossing) else crossing
    if several:
        suffix.add_module("restored", nn.Sequential())
    for place, (part, name) in enumerate(names):
        half = prefix if place < at else suffix
        if part not in dict(half.named_children()):
            half.add_module(part, nn.Sequential())
        half.get_submodule(part).add_module(name, backbone.get_submodule(f"{part}.{name}"))
    if several:
        prefix.eval()  # all of it is held in eval mode already, but for what holds its blocks
        gather, restore = Gather(several), Restore(several, _compute_crossed(prefix, image_px))
        prefix.add_module("gathered", nn.Sequential(gather))
        suffix.get_submodule("restored").add_module("0", restore)
        for module in (gather, restore, suffix.get_submodule("restored")):
            hold_in_eval_mode(module)
    for module in (prefix, *prefix.children()):
        hold_in_eval_mode(module)
    return prefix, suffix


@torch.no_grad()
def _compute_crossed(prefix: nn.Sequential, image_px: int | None) -> Any:
    """Return what the prefix makes of an image without anything on it: what is fixed is the same for every image."""
    if image_px is None:
        raise ValueError("what crosses here depends on the side of the images, which must be given")
    device = next(prefix.parameters()).device
    return prefix(torch.zeros(1, 3, image_px, image_px, device=device))


def _is_frozen(block: nn.Module) -> bool:
    held = all("train" in vars(module) for module in block.modules())
    return held and not any(parameter.requires_grad for parameter in block.parameters())


def count_by_part(backbone: nn.Sequential) -> list[PartCount]:
    """Return each part's parameters, and how many of them learn, shallow to deep."""
    return [
        PartCount(
            part=part,
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            trainable=sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad),
        )
        for part, module in backbone.named_children()
    ]


def count_parameters(backbone: nn.Sequential) -> tuple[int, int]:
    """Return how many parameters learn, and how many there are."""
    counts = count_by_part(backbone)
    return sum(part.trainable for part in counts), sum(part.parameters for part in counts)
