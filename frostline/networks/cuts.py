"""Cuts: any network as named parts and their blocks, cut where its data flow from one to the next.

A call belongs to the block of its own tensors, or to the last of those that feed it, so that data only flow from one
block to later ones. Blocks are put into parts by the side of the maps that they make: the deepest four are stage1 to
stage4.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from frostline.networks.grouping import (
    LOGITS,
    Groups,
    find_group,
    find_side,
    find_whole_modules,
    list_groupings,
    list_layers,
    spread_over_stages,
    watch_sides,
)
from frostline.networks.segments import Call, Crossing, Given, describe_crossing
from frostline.networks.tracing import IMAGES, ROOT, Traced, thaw, trace


class NoCutError(ValueError):
    """A network cannot be cut so; the message says why."""


@dataclass(frozen=True)
class Block:
    """A block: the part that it lies in, its calls by mode, what crosses, and the modules and tensors that it holds."""

    part: str
    calls: Mapping[bool, Sequence[Call]]
    takes: Sequence[str]
    gives: Sequence[str]
    crossing: Crossing | None
    modules: Sequence[str]
    tensors: Sequence[str]
    constants: Mapping[str, Tensor]


@dataclass(frozen=True)
class Sized:
    """A network without data, on the device meta, and the side of the images that it is made for."""

    network: nn.Module
    px: int


def find_cut(own: Sized, shown: Sized, stages: Mapping[str, str]) -> list[Block]:
    """Return the blocks of a network, shallow to deep, by the finest of its groupings that the network's code allows.

    Parts are those of the network as it was published, for images of its `own` side; calls are those of the network as
    it is `shown` images, which may be the same. `stages` names the module with which a stage begins, where sides do not
    say it. Raises `NoCutError`.
    """
    reason = "it has one layer"
    for groups in list_groupings(own.network):
        try:
            return _cut_by_groups(own, shown, groups, stages)
        except NoCutError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - a network's code may raise anything about stand-ins for tensors
            words = str(error).partition("\n")[0]
            reason = f"its code cannot be followed ({type(error).__name__}: {words})"
    raise NoCutError(reason)


def _cut_by_groups(own: Sized, shown: Sized, groups: Groups, stages: Mapping[str, str]) -> list[Block]:
    whole = find_whole_modules(own.network, groups)
    with watch_sides(own.network) as sides:
        traced = trace(own.network.eval(), whole, own.px)
    order = _order_groups(traced, groups)
    flow = _Flow(traced, groups, order)
    parts = _name_by_starts(flow, stages) if stages else _name_by_sides(flow, sides, own.px)
    still, learning = (
        _Flow(trace(shown.network.train(is_train), whole, shown.px), groups, order) for is_train in (False, True)
    )
    return _list_blocks(still, learning, [*parts, "head"])


def _order_groups(traced: Traced, groups: Groups) -> dict[int, int]:
    """Return the place of each group's block in the order of first use.

    Groups are one block if one computes before and after the other.
    """
    owned = [group for node in traced.calls for group in [find_group(node, traced.network, groups)]]
    order = [*dict.fromkeys(group for group in owned if group not in (None, LOGITS)), LOGITS]
    blocks = {int(group or 0): place for place, group in enumerate(order)}
    while True:
        try:
            _Flow(traced, groups, blocks)
        except _BackwardError as conflict:
            first, last = conflict.args
            merged = {block: first if first <= block <= last else block for block in blocks.values()}
            numbers = {block: place for place, block in enumerate(sorted({*merged.values()}))}
            blocks = {group: numbers[merged[block]] for group, block in blocks.items()}
        else:
            return blocks


class _BackwardError(NoCutError):
    """Data flow from the second of two blocks back to the first."""


class _Flow:
    """Which block each call belongs to. Raises `_BackwardError` if data flow back from one block to an earlier one.

    What does not depend on the images, and has no parameters, belongs to the first block that uses it. What follows the
    last layer of a block and leaves no map, such as pooling, belongs to the next one; before the head, to its own.
    """

    def __init__(self, traced: Traced, groups: Groups, order: Mapping[int, int]) -> None:
        self.traced, self.groups, self.order = traced, groups, order
        self.blocks: dict[fx.Node, int] = {}
        self._assign_dependent()
        for node in reversed(traced.calls):
            if node not in self.blocks:
                self.blocks[node] = min((self.blocks[user] for user in node.users), default=0)
        self._check_shared()
        self.head = max(self.order.values())
        self._move_tails()
        self.count = self.head + 1
        self.crossing = [self._list_crossing(block) for block in range(self.count)]
        self.fixed: set[fx.Node] = set()
        for node in traced.calls:
            if node.op != "placeholder" and all(other in self.fixed for other in node.all_input_nodes):
                self.fixed.add(node)

    def _assign_dependent(self) -> None:
        for node in self.traced.calls:
            group = find_group(node, self.traced.network, self.groups)
            own = None if group is None else self.order.get(group, 0)
            before = [self.blocks[other] for other in node.all_input_nodes if other in self.blocks]
            if node.op == "placeholder":
                self.blocks[node] = 0
            elif own is not None or before:
                self.blocks[node] = max([*before, *([] if own is None else [own])])
                if own is not None and self.blocks[node] != own:
                    raise _BackwardError(own, self.blocks[node])

    def _check_shared(self) -> None:
        places: dict[str, int] = {}
        for node in filter(self.holds_tensors, self.traced.calls):
            first, place = places.setdefault(str(node.target), self.blocks[node]), self.blocks[node]
            if first != place:
                raise _BackwardError(min(first, place), max(first, place))

    def holds_tensors(self, node: fx.Node) -> bool:
        """Return whether the call has parameters or buffers of its own."""
        if node.op != "call_module":
            return node.op == "get_attr"
        module = self.traced.network.get_submodule(str(node.target).removeprefix(ROOT))
        return any(True for tensors in (module.parameters(), module.buffers()) for _ in tensors)

    def _move_tails(self) -> None:
        tails = {block: tail for block in range(self.head) if (tail := self._find_tail(block))}
        for block, tail in tails.items():
            self.blocks |= dict.fromkeys(tail, block + 1)
        if self.head - 1 in tails:  # before the head it is a block of its own, and what follows moves on
            own = set(tails[self.head - 1])
            for node in (node for node in self.traced.calls if self.blocks[node] == self.head and node not in own):
                self.blocks[node] += 1
            self.head += 1

    def _find_tail(self, block: int) -> list[fx.Node]:
        nodes = self.list_calls(block)
        after = max((place for place, node in enumerate(nodes) if self.holds_tensors(node)), default=-1) + 1
        pooled = [place for place in range(after, len(nodes)) if self._leaves_no_map(nodes[place])]
        return nodes[pooled[0] :] if pooled else []

    def _leaves_no_map(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            module = self.traced.network.get_submodule(str(node.target).removeprefix(ROOT))
            if isinstance(module, nn.AdaptiveAvgPool2d):
                return True
        value = node.meta["value"]
        return isinstance(value, Tensor) and find_side(value) is None

    def list_calls(self, block: int) -> list[fx.Node]:
        """Return the block's calls in order."""
        ends = ("placeholder", "output")
        return [node for node in self.traced.calls if self.blocks[node] == block and node.op not in ends]

    def _list_crossing(self, block: int) -> list[fx.Node]:
        """Return what crosses out of the block: what it or an earlier one makes, and a later one or the output uses."""
        if block == self.head:
            return list(self.traced.calls[-1].all_input_nodes)
        made = [node for node in self.traced.calls if self.blocks[node] <= block]
        return [node for node in made if any(self.blocks[user] > block for user in node.users)]


def _name_by_sides(flow: _Flow, products: Mapping[str, int], own_px: int) -> list[str]:
    """Return the part of each block before the head, by how often the side of its maps was halved.

    A block's side is what it makes, or what its layers do if that is larger: it may pool at its end. One without maps,
    such as a hidden layer, is as deep as what it is fed.
    """
    levels: dict[int, int] = {}
    for block in range(flow.head):
        layers = {node: list_layers(node, products) for node in flow.list_calls(block) if node.op == "call_module"}
        inside = [products[name] for names in layers.values() for name in names if products[name]]
        made = [side for node, names in layers.items() if names and (side := find_side(node.meta["value"]))]
        fed = [
            side
            for node in flow.traced.calls
            if flow.blocks[node] < block and (side := find_side(node.meta["value"], maps=True))
        ]
        side = max([min(found) for found in (inside, made) if found], default=min(fed, default=own_px))
        if not levels or any(layers.values()):
            levels[block] = max([round(math.log2(own_px / side)), *levels.values()])
    if len(levels) < 2:
        raise NoCutError("all of it is one block")
    first, *others = levels
    named = {first: "stem"} | dict(zip(others, spread_over_stages([levels[block] for block in others]), strict=True))
    for block in range(1, flow.head):  # what has no convolution or linear layer goes with what is before it
        named.setdefault(block, named[block - 1])
    return [named[block] for block in range(flow.head)]


def _name_by_starts(flow: _Flow, stages: Mapping[str, str]) -> list[str]:
    """Return the part of each block before the head: a stage begins with the block that calls its first module."""
    part, named = "stem", []
    for block in range(flow.head):
        called = [f"{node.target}.".removeprefix(ROOT) for node in flow.list_calls(block)]
        for stage, start in stages.items():
            if any(name.startswith(f"{start}.") for name in called):
                part = stage
        named.append(part)
    return named


def _list_blocks(still: _Flow, learning: _Flow, parts: Sequence[str]) -> list[Block]:
    """Return the blocks, once it is found that the same crosses from each to the next in eval and in train mode."""
    names = [[[node.name for node in nodes] for nodes in flow.crossing] for flow in (still, learning)]
    if names[0] != names[1] or len(parts) != still.count or not _are_same(still.traced, learning.traced):
        raise NoCutError("its training takes another way than its inference")
    owners = _find_owners(still)
    blocks = []
    for block, part in enumerate(parts):
        calls = {is_train: flow.list_calls(block) for is_train, flow in ((False, still), (True, learning))}
        both = [node for nodes in calls.values() for node in nodes]
        called = {str(node.target).removeprefix(ROOT) for node in both if node.op == "call_module"}
        made = {str(node.target) for node in calls[False] if node.op == "get_attr"}
        gives = [(node.meta["value"], node in still.fixed) for node in still.crossing[block]]
        blocks.append(
            Block(
                part,
                {is_train: [_make_call(node) for node in nodes] for is_train, nodes in calls.items()},
                names[0][block - 1] if block else ["images"],
                names[0][block],
                describe_crossing(gives, IMAGES),
                [name for name, _ in still.traced.network.named_modules() if name in called],
                [name for name, owner in owners.items() if owner == block],
                {name: tensor for name, tensor in still.traced.constants.items() if name in made},
            )
        )
    return blocks


def _are_same(first: Traced, second: Traced) -> bool:
    """Return whether both make the same tensors out of nothing: in training, some draw them at random."""
    names = first.constants.keys() == second.constants.keys()
    return names and all(torch.equal(first.constants[name], second.constants[name]) for name in first.constants)


def _find_owners(flow: _Flow) -> dict[str, int]:
    """Return the block of each parameter and buffer by name: a parameter's is its group's.

    A buffer's is where it is used, or that of the parameters beside it.
    """
    network, groups = flow.traced.network, flow.groups
    # Of what lies before the head, a tail may have moved the head's own place.
    places = {block: block if block < max(flow.order.values()) else flow.head for block in flow.order.values()}
    used = {str(node.target).removeprefix(ROOT): flow.blocks[node] for node in flow.traced.calls
            if node.op in ("get_attr", "call_module")}  # fmt: skip
    owners = {name: places[flow.order.get(groups[name], 0)] for name, _ in network.named_parameters()}
    for name, _ in network.named_buffers():
        path = name
        while path and path not in used:
            path = path.rpartition(".")[0]
        beside = [owner for other, owner in owners.items() if other.rpartition(".")[0] == name.rpartition(".")[0]]
        owners[name] = used[path] if path else (beside or [0])[0]
    return owners


def _make_call(node: fx.Node) -> Call:
    target = node.target.removeprefix(ROOT) if isinstance(node.target, str) else node.target
    name: Any = lambda other: Given(other.name)  # noqa: E731
    args, kwargs = fx.map_arg((node.args, node.kwargs), name)
    return Call(node.op, target, thaw(args), thaw(kwargs), node.name)
