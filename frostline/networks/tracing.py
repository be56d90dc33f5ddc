"""Tracing: a network's forward as a graph of calls, each with what it gave for images without data.

`torch.fx` follows a forward with stand-ins for its tensors, and gives up where Python asks them anything. These know
their values, on the device meta, so that control flow on shapes is followed. Chosen modules are calls as a whole, and
whatever their code does stays theirs.
"""

import copy
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

IMAGES = 1009
"""Images that are traced: a prime, of which nothing else is a multiple. How many there are stays open in the graph;
other sides of tensors are numbers in it."""
CONSTANT = "_tensor_constant"
"""What the names of tensors begin with that the network's code makes out of nothing; they lie in the traced root."""
_call_module = nn.Module.__call__
"""As it is before fx takes its place."""


ROOT = "network."
"""What the targets of calls begin with, but for tensors that the network's code makes out of nothing."""


@dataclass(frozen=True)
class Traced:
    """A network's calls in order, and the tensors that its code makes out of nothing, by name."""

    network: nn.Module
    calls: list[fx.Node]
    constants: dict[str, Tensor]


def trace(network: nn.Module, whole: Collection[str], image_px: int) -> Traced:
    """Return what the network's forward calls in its mode, of which the modules named in `whole` are single calls.

    The first is the images, the last the output. Each has its `meta["value"]`, tensors on the device meta, where the
    network must lie. Raises whatever the network's code raises about stand-ins for tensors.
    """
    tracer = _Tracer({f"{ROOT}{name}" for name in whole}, torch.empty(IMAGES, 3, image_px, image_px, device="meta"))
    root = _OneInput(network)
    with torch.no_grad():
        graph = tracer.trace(root)
    constants = {name: value for name, value in vars(root).items() if name.startswith(CONSTANT)}
    return Traced(network, list(graph.nodes), constants)


def thaw(value: Any) -> Any:
    """Return fx's unchangeable lists and mappings as plain ones."""
    if isinstance(value, dict):
        return {key: thaw(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return (tuple if isinstance(value, tuple) else list)(thaw(one) for one in value)
    return value


class _OneInput(nn.Module):
    """A network of which nothing but its first argument is open."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return self.network(images)


class _Tracer(fx.Tracer):
    """Computes each node when it is made."""

    proxy_buffer_attributes = True

    def __init__(self, whole: Collection[str], images: Tensor) -> None:
        super().__init__()
        self.whole, self.images, self.computes = whole, images, False

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:  # noqa: ARG002 - fx's signature
        return name in self.whole

    def proxy(self, node: fx.Node) -> "_Known":
        return _Known(node, self)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        return iter(obj)

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(obj.node.meta["value"])

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return forward(*args, **kwargs) if self.computes else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self.computes else super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_node(self, kind: str, target: Any, *more: Any, **named: Any) -> fx.Node:
        node = super().create_node(kind, target, *more, **named)
        outer, self.computes = self.computes, True
        try:
            node.meta["value"] = self._compute(node)
        finally:
            self.computes = outer
        return node

    def _compute(self, node: fx.Node) -> Any:
        args, kwargs = thaw(fx.map_arg((node.args, node.kwargs), lambda other: other.meta["value"]))
        target: Any = node.target
        match node.op:
            case "placeholder":
                return self.images
            case "get_attr":
                owner, _, name = target.rpartition(".")
                value = getattr(self.root.get_submodule(owner), name)
                if CONSTANT in target and value.is_meta:
                    raise ValueError("it makes tensors where its weights lie")
                return value
            case "call_module":
                return _call_module(self.root.get_submodule(target), *args, **kwargs)
            case "call_method":
                return getattr(args[0], target)(*args[1:], **kwargs)
            case "call_function":
                return target(*args, **kwargs)
        return args[0]


class _Known(fx.Proxy):
    """A stand-in that knows its value. A tensor's sides are numbers, but for the first if it counts the images."""

    def __getattr__(self, name: str) -> Any:
        value = self.node.meta["value"]
        if isinstance(value, Tensor):
            match name:
                case "shape":
                    return self._list_sides()
                case "size":
                    return lambda dim=None: self._list_sides() if dim is None else self._list_sides()[dim]
                case "ndim" | "dim":
                    return getattr(value, name)
        return super().__getattr__(name)

    def _list_sides(self) -> tuple[Any, ...]:
        sides: list[Any] = list(self.node.meta["value"].shape)
        if sides and sides[0] % IMAGES == 0:
            sides[0] = self.tracer.create_proxy("call_method", "size", (self, 0), {})
        return tuple(sides)

    def __len__(self) -> int:
        return len(self.node.meta["value"])

    def __iter__(self) -> Iterator[Any]:
        stand_in: Any = self
        return iter([stand_in[place] for place in range(len(self))])

    def __bool__(self) -> bool:
        return bool(self.node.meta["value"])

    def __index__(self) -> int:
        return int(self.node.meta["value"])

    def __int__(self) -> int:
        return int(self.node.meta["value"])

    def __float__(self) -> float:
        return float(self.node.meta["value"])


def empty(network: nn.Module) -> nn.Module:
    """Return a copy of the network without data, on the device meta."""
    memo: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        bare = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(bare, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else bare
    return copy.deepcopy(network, memo)
