"""Segments: stretches of a network's computation, as modules that hand on to the next what crosses from one to it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

Features = Tensor | tuple[Tensor, ...]
"""What a suffix is fed, an image to a row: one tensor for most networks, several where more than one crosses."""


@dataclass(frozen=True)
class Given:
    """The value of an earlier call, among the arguments of a later one."""

    name: str


@dataclass(frozen=True)
class Call:
    """One step: a module, function, method or tensor by its target, and the name of what it gives."""

    kind: str
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str


@dataclass(frozen=True)
class Crossed:
    """One value that crosses: a tensor with `per` rows an image, a number that is `per` times theirs, or fixed."""

    kind: Literal["tensor", "count", "fixed"]
    per: int = 1


Crossing = tuple[Any, ...]
"""What crosses to the next segment: a `Crossed` for each value, or tuples of them as the values are nested."""


class Segment(nn.Module):
    """Some calls of a network, in order, with the modules and tensors that they need, under the network's own names.

    It is fed what crosses into it, one value or a tuple, and returns what crosses out of it. In train mode it makes the
    calls that the network makes in train mode. What crosses out, `crossing`, is None where it cannot be kept.
    """

    def __init__(
        self,
        calls: Mapping[bool, Sequence[Call]],
        takes: Sequence[str],
        gives: Sequence[str],
        crossing: Crossing | None,
    ) -> None:
        """Take the calls by mode (whether it is train mode), and the names of what crosses in and out."""
        super().__init__()
        self._calls, self._takes, self._gives, self.crossing = calls, tuple(takes), tuple(gives), crossing

    def hold(
        self, network: nn.Module, modules: Iterable[str], tensors: Iterable[str], constants: Mapping[str, Tensor]
    ) -> "Segment":
        """Return the segment with these of the network's modules, and with its tensors that lie in none of them."""
        for name, tensor in constants.items():
            self.register_buffer(name, tensor.clone(), persistent=False)
        for name in modules:
            _find_owner(self, name).add_module(name.rpartition(".")[2], network.get_submodule(name))
        held = {id(tensor) for tensor in (*self.parameters(), *self.buffers())}
        for name in tensors:
            path, _, own = name.rpartition(".")
            owner = network.get_submodule(path)
            tensor = getattr(owner, own)
            if id(tensor) in held:
                continue
            if isinstance(tensor, nn.Parameter):
                _find_owner(self, name).register_parameter(own, tensor)
            else:
                kept = own not in owner._non_persistent_buffers_set
                _find_owner(self, name).register_buffer(own, tensor, persistent=kept)
        return self

    def forward(self, features: Any) -> Any:
        """Return what crosses out of the segment, of what crosses into it."""
        several = len(self._takes) > 1
        values = {name: features[place] if several else features for place, name in enumerate(self._takes)}
        for call in self._calls[self.training]:
            args, kwargs = _fill(call.args, values), _fill(call.kwargs, values)
            match call.kind:
                case "get_attr":
                    owner, _, own = call.target.rpartition(".")
                    values[call.name] = getattr(self.get_submodule(owner), own)
                case "call_module":
                    values[call.name] = self.get_submodule(call.target)(*args, **kwargs)
                case "call_method":
                    values[call.name] = getattr(args[0], call.target)(*args[1:], **kwargs)
                case _:
                    values[call.name] = call.target(*args, **kwargs)
        gives = tuple(values[name] for name in self._gives)
        return gives if len(gives) > 1 else gives[0]


def _find_owner(segment: nn.Module, name: str) -> nn.Module:
    """Return the module that the named thing belongs to; where there is none, an empty one is made."""
    for step in name.split(".")[:-1]:
        if not hasattr(segment, step):
            segment.add_module(step, nn.Module())
        segment = segment.get_submodule(step)
    return segment


def _fill(value: Any, values: dict[str, Any]) -> Any:
    """Return the arguments with the values of earlier calls in their places."""
    if isinstance(value, Given):
        return values[value.name]
    if isinstance(value, tuple):
        return tuple(_fill(one, values) for one in value)
    if isinstance(value, list):
        return [_fill(one, values) for one in value]
    if isinstance(value, dict):
        return {key: _fill(one, values) for key, one in value.items()}
    if isinstance(value, slice):
        return slice(*(_fill(one, values) for one in (value.start, value.stop, value.step)))
    return value


def flatten(value: Any) -> list[Any]:
    """Return the values in nested tuples and lists, from left to right."""
    return [one for inner in value for one in flatten(inner)] if isinstance(value, tuple | list) else [value]


def describe_crossing(values: Sequence[tuple[Any, bool]], images: int) -> Crossing | None:
    """Return what crosses of so many images, or None if some of it has no rows that belong to them.

    Of each value it is said whether it is fixed: whether it does not depend on the images.
    """
    try:
        return tuple(_describe(value, is_fixed, images) for value, is_fixed in values)
    except _NoRowsError:
        return None


class _NoRowsError(ValueError):
    pass


def _describe(value: Any, is_fixed: bool, images: int) -> Any:
    if isinstance(value, tuple | list):
        return (tuple if isinstance(value, tuple) else list)(_describe(one, is_fixed, images) for one in value)
    if isinstance(value, Tensor) and not is_fixed:
        if not value.dim() or not value.shape[0] or value.shape[0] % images:
            raise _NoRowsError
        return Crossed("tensor", value.shape[0] // images)
    if type(value) is int and value and value % images == 0:
        return Crossed("count", value // images)
    return Crossed("fixed")


def is_one_tensor(crossing: Crossing) -> bool:
    """Return whether a single tensor crosses, a row to each image."""
    return crossing == (Crossed("tensor"),)


class Gather(nn.Module):
    """The end of a prefix out of which more than one tensor crosses: hands on those that depend on the image alone."""

    def __init__(self, crossing: Crossing) -> None:
        """Take what crosses."""
        super().__init__()
        self._kinds = flatten(crossing)

    def forward(self, crossed: Any) -> Features:
        """Return each tensor that depends on the image, a row to each image."""
        pairs = zip(self._kinds, flatten(crossed), strict=True)
        rows = tuple(
            tensor.unflatten(0, (-1, kind.per)) if kind.per > 1 else tensor
            for kind, tensor in pairs
            if kind.kind == "tensor"
        )
        return rows if len(rows) > 1 else rows[0]


class Restore(nn.Module):
    """The start of a suffix into which more than one tensor crosses: what its first segment is fed, of what is kept.

    What does not depend on the image is held here, once, as what the frozen prefix makes of it.
    """

    def __init__(self, crossing: Crossing, crossed: Any) -> None:
        """Take what crosses, and an example of it, with the values that do not depend on the image."""
        super().__init__()
        self._crossing, self._numbers = crossing, {}
        for place, (kind, value) in enumerate(zip(flatten(crossing), flatten(crossed), strict=True)):
            if kind.kind == "fixed" and isinstance(value, Tensor):
                self.register_buffer(f"fixed_{place}", value.detach().clone(), persistent=False)
            elif kind.kind == "fixed":
                self._numbers[place] = value

    def forward(self, features: Features) -> Any:
        """Return what crosses."""
        rows = iter(features if isinstance(features, tuple) else (features,))
        images = len(features[0] if isinstance(features, tuple) else features)
        places = iter(range(len(flatten(self._crossing))))

        def restore(kind: Any) -> Any:
            if isinstance(kind, tuple | list):
                return type(kind)(restore(one) for one in kind)
            place = next(places)
            if kind.kind == "tensor":
                tensor = next(rows)
                return tensor.flatten(0, 1) if kind.per > 1 else tensor
            if kind.kind == "count":
                return kind.per * images
            fixed = f"fixed_{place}"
            return getattr(self, fixed) if hasattr(self, fixed) else self._numbers[place]

        crossed = restore(self._crossing)
        return crossed if len(crossed) > 1 else crossed[0]


def map_features(change: Callable[[Tensor], Tensor], features: Features) -> Features:
    """Return the features with each of their tensors changed."""
    return tuple(change(tensor) for tensor in features) if isinstance(features, tuple) else change(features)
