"""Grouping: which of a network's tensors belong together, so that nothing cuts between them, and how deep they lie."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, fx, nn

from frostline.constants import PARTS
from frostline.networks.segments import flatten
from frostline.networks.tracing import IMAGES, ROOT

PRODUCTS = (nn.Conv2d, nn.Linear)
STAGES = PARTS[1:-1]

Groups = dict[str, int]
"""The number of the group that each tensor belongs to, by the tensor's name. Numbers say nothing of order."""


def list_groupings(network: nn.Module) -> list[Groups]:
    """Return ways to group the network's parameters, the finest first; each keeps the layer of logits apart.

    timm knows the layer groups of most of its networks; of others, and of those of which it knows one or none,
    modules are: a block is what is repeated, or a convolution or linear layer with what follows it.
    """
    found = [_read_matcher(network, coarse) for coarse in (False, True)] if hasattr(network, "group_matcher") else []
    named = [*[groups for groups in found if len({*groups.values()}) > MOST_OF_NOTHING], _walk(network)]
    logits = set(name_logits_tensors(network))
    return [
        {name: LOGITS if name in logits else groups.get(name, 0) for name, _ in network.named_parameters()}
        for groups in named
    ]


LOGITS = -1
"""The group of the tensors that make the logits."""
MOST_OF_NOTHING = 2
"""Groups up to which timm's are no cut worth having: a stem, and all else."""


def _read_matcher(network: Any, coarse: bool) -> Groups:
    from timm.models import group_parameters

    try:
        matcher = network.group_matcher(coarse=coarse)
        return {name: int(group) for name, group in group_parameters(network, matcher, reverse=True).items()}
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError):
        return {}  # networks inherit or copy matchers that are not theirs


def name_logits_tensors(network: nn.Module) -> list[str]:
    """Return the names of the tensors of the layers that make the logits."""
    return [f"{name}.{tensor}" for name in name_logits_layers(network) for tensor in ("weight", "bias")]


def name_logits_layers(network: nn.Module) -> list[str]:
    """Return the names of the layers that make the logits: several, where a network has the mean of several heads."""
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, PRODUCTS)}
    get_classifier: Any = getattr(network, "get_classifier", None)
    if get_classifier is not None:
        made = get_classifier()
        made = made if isinstance(made, tuple | list | nn.ModuleList) else [made]
        tops = [name for name, module in network.named_modules() if any(module is one for one in made)]
        inside = [[name for name in layers if name == top or name.startswith(f"{top}.")] for top in tops]
        found = [names[-1] for names in inside if names]
        if found:  # an auxiliary head makes as many
            logits = count_outputs(layers[found[0]])
            heads = [name for name, layer in layers.items() if "head" in name and count_outputs(layer) == logits]
            return list(dict.fromkeys([*found, *heads]))
    return [*layers][-1:]


def count_outputs(layer: nn.Module) -> int:
    """Return how many numbers the linear layer or convolution makes of an image or a place."""
    return int(layer.out_features if isinstance(layer, nn.Linear) else getattr(layer, "out_channels", 0))


def _walk(network: nn.Module) -> Groups:
    """Return groups by the modules: each block is one, and single layers join the convolution before them."""
    logits, number = set(name_logits_layers(network)), 0
    groups: Groups = {}
    for name, module in _list_blocks("", network, logits):
        opens = not type(module).__module__.startswith("torch.nn") or _count_products(module)
        number += bool(opens and groups)
        groups |= {f"{name}.{own}".removeprefix("."): number for own, _ in module.named_parameters()}
    return {name: groups.get(name, 0) for name, _ in network.named_parameters()}


def _list_blocks(name: str, module: nn.Module, logits: set[str]) -> Iterator[tuple[str, nn.Module]]:
    """Yield the blocks by name: what is neither a stack of blocks nor holds the layer of logits."""
    if not name or _is_stack(module) or any(inner.startswith(f"{name}.") for inner in logits):
        for child_name, child in module.named_children():
            yield from _list_blocks(f"{name}.{child_name}".removeprefix("."), child, logits)
    else:
        yield name, module


def _is_stack(module: nn.Module) -> bool:
    """Return whether the module is blocks in a row.

    It is a list of modules of the network's own, or of several products, or holds one list of blocks of a kind.
    """
    children = [*module.children()]
    if isinstance(module, nn.Sequential | nn.ModuleList):
        is_plain = type(module) in (nn.Sequential, nn.ModuleList)
        return any(_is_own(child) for child in children) or (is_plain and sum(map(_count_products, children)) > 1)
    lists = [child for child in children if type(child) in (nn.Sequential, nn.ModuleList)]
    kinds = [
        [type(block) for block in blocks.children() if _is_own(block) and [*block.parameters()]] for blocks in lists
    ]
    return sum(kind.count(kind[0]) > 1 for kind in kinds if kind) == 1  # several are a block's branches


def _is_own(module: nn.Module) -> bool:
    """Return whether the module is of a class of the network's own: none of torch's, and no mere sequence of those."""
    return not (isinstance(module, nn.Sequential) or type(module).__module__.startswith("torch.nn"))


def _count_products(module: nn.Module) -> int:
    return sum(isinstance(layer, PRODUCTS) for layer in module.modules())


def find_group(node: fx.Node, network: nn.Module, groups: Groups) -> int | None:
    """Return the group of the parameters that the call has of its own, if it has any."""
    target = str(node.target).removeprefix(ROOT)
    if node.op == "get_attr":
        return groups.get(target)
    if node.op == "call_module":
        names = (f"{target}.{own}" for own, _ in network.get_submodule(target).named_parameters())
        return next((groups[name] for name in names if name in groups), None)
    return None


def list_layers(node: fx.Node, products: Mapping[str, int]) -> list[str]:
    """Return the names of the convolutions and linear layers within the module that is called."""
    target = str(node.target).removeprefix(ROOT)
    return [name for name in products if name == target or name.startswith(f"{target}.")]


def find_whole_modules(network: nn.Module, groups: Groups) -> set[str]:
    """Return the names of the modules all of whose parameters belong to one group, or that have none."""
    whole = set()
    for name, module in network.named_modules():
        owned = {groups.get(f"{name}.{own}") for own, _ in module.named_parameters()}
        if name and len(owned) <= 1:
            whole.add(name)
    return whole


@contextmanager
def watch_sides(network: nn.Module) -> Iterator[dict[str, int]]:
    """Yield the side of the smallest map that each convolution or linear layer makes meanwhile, by its name; or 0."""
    sides = {name: 0 for name, layer in network.named_modules() if isinstance(layer, PRODUCTS)}

    def watch(name: str, layer: nn.Module) -> Any:
        def note(_layer: nn.Module, _inputs: Any, output: Any) -> None:
            if side := find_side(output):
                sides[name] = min(side, sides[name] or side)

        return layer.register_forward_hook(note)

    hooks = [watch(name, layer) for name, layer in network.named_modules() if isinstance(layer, PRODUCTS)]
    yield sides
    for hook in hooks:
        hook.remove()


def find_side(value: Any, *, maps: bool = False) -> int | None:
    """Return the side of the smallest map or square of tokens among the values, if one is larger than a pixel.

    With `maps`, tokens are left out.
    """
    sides = []
    for tensor in flatten(value):
        if isinstance(tensor, Tensor) and tensor.dim() == 4 and tensor.shape[0] == IMAGES:
            _, first, second, third = tensor.shape  # channels come before a square, or after it
            sides.append(second if second == third else first if first == second else 1)
        elif not maps and isinstance(tensor, Tensor) and tensor.dim() == 3 and tensor.shape[0] == IMAGES:
            sides.append(round(math.sqrt(tensor.shape[1])))
    return min((side for side in sides if side > 1), default=None)


def spread_over_stages(levels: Sequence[int]) -> list[str]:
    """Return the part of each block between stem and head: stage1 to stage4 are the deepest four levels.

    Where there are fewer, the longest stage is halved until there are four; of one level, such as that of a
    transformer, all four are equal runs. What lies before them belongs to the stem.
    """
    distinct = sorted(set(levels))
    stages = [[place for place, level in enumerate(levels) if level == one] for one in distinct[-len(STAGES) :]]
    if len(stages) == 1:
        (only,) = stages
        stages = [[only[place] for place in run] for run in split_evenly(len(only), len(STAGES))]
    while len(stages) < len(STAGES):
        longest = max(range(len(stages)), key=lambda place: len(stages[place]))
        halves = [[stages[longest][place] for place in run] for run in split_evenly(len(stages[longest]), 2)]
        stages[longest : longest + 1] = halves
    named = {place: part for part, places in zip(STAGES, stages, strict=True) for place in places}
    return [named.get(place, "stem") for place in range(len(levels))]


def split_evenly(count: int, runs: int) -> list[range]:
    """Return so many runs of nearly equal length, longer ones last."""
    bounds = [place * count // runs for place in range(runs + 1)]
    return [range(first, last) for first, last in itertools.pairwise(bounds)]
