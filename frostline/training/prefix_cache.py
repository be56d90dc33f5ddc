"""The prefix cache: what a frozen prefix makes of each image and view, computed once for all that learns from it."""

import itertools
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from frostline.backbones.inference import SMALLEST_PREFIX_BATCH, Inputs, compute_beside, move_to_device, split_batches
from frostline.data.images import Rows
from frostline.errors import InputError
from frostline.files import tell_disk
from frostline.networks.segments import Features

Wanted = Mapping[int | None, Rows]
"""The rows that will be asked for in each view."""


@dataclass(frozen=True)
class Cache:
    """Inputs, where they are kept ("memory", "scratch" or "off"), and the bytes that they take there."""

    inputs: Inputs
    place: str
    bytes: int


@dataclass(frozen=True)
class Shape:
    """What one image's output is: its type, and its shape in the order in which it lies in memory."""

    dtype: torch.dtype
    sides: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """The bytes of one image's output."""
        return self.dtype.itemsize * int(np.prod(self.sides))

    @property
    def back(self) -> tuple[int, ...]:
        """The axes that bring an output that is kept into the order in which the prefix gave it."""
        return tuple(int(axis) for axis in np.argsort(self.axes))


TELLS_AHEAD = hasattr(os, "posix_fadvise")
"""Whether the system can be told of what will be read."""
READ_AHEAD = 64_000_000
"""Bytes of rows that the system is told of at once."""
ALIGNED = 64
"""Bytes that the place of a tensor's outputs is a multiple of."""


@dataclass(frozen=True)
class Layout:
    """How the outputs of so many images lie in a file: those of each tensor of an image's output, one after the other.

    `is_tuple` says whether an output is a tuple of tensors.
    """

    shapes: tuple[Shape, ...]
    images: int
    is_tuple: bool

    @property
    def starts(self) -> list[int]:
        """The byte at which each tensor's outputs begin, and that at which the last ends."""
        sizes = (-(-shape.bytes * self.images // ALIGNED) * ALIGNED for shape in self.shapes[:-1])
        starts = list(itertools.accumulate(sizes, initial=0))
        return [*starts, starts[-1] + self.shapes[-1].bytes * self.images]

    @property
    def bytes(self) -> int:
        """The bytes of all outputs."""
        return self.starts[-1]

    def wrap(self, tensors: Iterator[Tensor]) -> Features:
        """Return the tensors of some images' output as the prefix gave it."""
        return tuple(tensors) if self.is_tuple else next(tensors)


def cache_inputs(source: Inputs, wanted: Wanted, budget: int, scratch: Path, device: torch.device) -> Cache:
    """Return inputs bit for bit those of `source`, which are kept where they fit: in memory up to `budget` bytes.

    Beyond the budget they go to a file in `scratch` that has no name, so that it vanishes with the processes that use
    it, however they end; it takes at most half of the free disk. What fits nowhere, or a budget of 0, leaves `source`
    as it is.
    """
    view, rows = next(iter(wanted.items()))
    layout = _describe_outputs(next(source([rows[:1]], view)), sum(len(rows) for rows in wanted.values()))
    place = choose_place(layout.bytes, budget, scratch)
    if place == "off":
        return Cache(source, place, 0)
    fill = _fill_scratch if place == "scratch" else _fill_gpu if _has_room(device, layout.bytes) else _fill_memory
    store = fill(_compute_outputs(source, wanted, layout, device), layout, scratch)
    before = itertools.accumulate((len(rows) for rows in wanted.values()), initial=0)
    places = {
        view: _locate(rows, first, layout.images) for (view, rows), first in zip(wanted.items(), before, strict=False)
    }
    return Cache(StoredInputs(store, places, layout, device, place == "scratch"), place, layout.bytes)


def choose_place(needed: int, budget: int, scratch: Path) -> str:
    """Return where so many bytes are kept: "memory", "scratch", or nowhere ("off")."""
    if needed <= budget:
        return "memory"
    scratch.mkdir(parents=True, exist_ok=True)
    return "scratch" if budget and needed <= shutil.disk_usage(scratch).free // 2 else "off"


def _describe_outputs(output: Features, images: int) -> Layout:
    """Return how outputs like this one's are kept; channels_last and N x H x W x C alike lie in memory as they come."""
    shapes = []
    for tensor in output if isinstance(output, tuple) else (output,):
        strides = tensor.stride()
        axes = sorted(range(1, tensor.dim()), key=lambda axis: -strides[axis])
        shapes.append(Shape(tensor.dtype, tuple(tensor.shape[axis] for axis in axes), (0, *axes)))
    return Layout(tuple(shapes), images, isinstance(output, tuple))


def _compute_outputs(
    source: Inputs, wanted: Wanted, layout: Layout, device: torch.device
) -> Iterator[tuple[Tensor, ...]]:
    """Yield all outputs, batch after batch, as they are kept: contiguous, an image after the other."""
    for view, rows in wanted.items():
        for output in compute_beside(source, split_batches(rows, SMALLEST_PREFIX_BATCH), view, device):
            tensors = output if isinstance(output, tuple) else (output,)
            yield tuple(
                tensor.permute(shape.axes).contiguous() for tensor, shape in zip(tensors, layout.shapes, strict=True)
            )


@dataclass(frozen=True)
class Store:
    """The outputs of all rows, view after view, in one file, which every process sees that is given it.

    On a GPU there is no file, and the store is of its process alone.
    """

    outputs: tuple[Tensor, ...]
    file: IO[bytes] | None = None
    layout: Layout | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Hand over the file, not what is in it, to a process that this one starts."""
        if self.file is None:
            raise TypeError("What is kept on a GPU stays in its process.")
        return _take_store, (DupFd(self.file.fileno()), self.layout)


def _take_store(handed: Any, layout: Layout) -> Store:
    return map_file(os.fdopen(handed.detach(), "r+b"), layout)


def map_file(file: IO[bytes], layout: Layout) -> Store:
    """Return the store whose outputs lie in the file. Nothing that reads them writes there."""
    mapped = mmap.mmap(file.fileno(), layout.bytes)
    if TELLS_AHEAD:
        mapped.madvise(mmap.MADV_RANDOM)  # else some systems read megabytes around each row
    return map_outputs(torch.from_numpy(np.frombuffer(mapped, np.uint8)), layout, file)


def map_outputs(kept: Tensor, layout: Layout, file: IO[bytes] | None = None) -> Store:
    """Return the store whose outputs lie in these bytes, which are those of the file if there is one."""
    outputs = tuple(
        kept[first : first + shape.bytes * layout.images].view(shape.dtype).view(layout.images, *shape.sides)
        for first, shape in zip(layout.starts, layout.shapes, strict=False)
    )
    return Store(outputs, file, layout)


def _has_room(device: torch.device, needed: int) -> bool:
    """Return whether half of the GPU's free memory takes so many bytes."""
    return device.type == "cuda" and needed <= torch.cuda.mem_get_info(device)[0] // 2


def _fill_gpu(outputs: Iterator[tuple[Tensor, ...]], _layout: Layout, _scratch: Path) -> Store:
    """Return the outputs on the GPU."""
    return Store(tuple(torch.cat(tensors) for tensors in zip(*outputs, strict=True)))


def _fill_memory(outputs: Iterator[tuple[Tensor, ...]], layout: Layout, scratch: Path) -> Store:
    """Return the outputs in a file that lies in memory.

    Only Linux has such files; elsewhere it is one in scratch, which the system keeps in memory as long as it has room.
    """
    file: IO[bytes]
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("outputs of a prefix"), "w+b")
    else:
        scratch.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - as long as the store lives
    with tell_disk(scratch):
        file.truncate(layout.bytes)
    store = map_file(file, layout)
    filled = 0
    for tensors in outputs:
        for kept, tensor in zip(store.outputs, tensors, strict=True):
            kept[filled : filled + len(tensor)] = tensor
        filled += len(tensors[0])
    return store


def _fill_scratch(outputs: Iterator[tuple[Tensor, ...]], layout: Layout, scratch: Path) -> Store:
    """Return the outputs in a file without a name, which ends with the processes that map it."""
    file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - as long as the store lives
    filled = 0
    try:
        for tensors in outputs:
            for first, shape, tensor in zip(layout.starts, layout.shapes, tensors, strict=False):
                file.seek(first + shape.bytes * filled)
                file.write(tensor.cpu().view(-1).view(torch.uint8).numpy().data)
            filled += len(tensors[0])
        file.flush()
    except OSError as error:
        with suppress(OSError):  # it raises the error again, as what is buffered has no room
            file.close()
        hint = "Free some, or set training.cache_bytes to 0 to do without the cache."
        must = f"have room for the prefix cache ({layout.bytes} bytes)"
        raise InputError.of(str(scratch), must, str(error.strerror), hint) from None
    return map_file(file, layout)


@dataclass(frozen=True)
class StoredInputs:
    """Inputs that are kept: the outputs, and by view where in them each row of images.npy stands.

    Batches ask for rows in an order that no disk likes. Of a file that is `on_disk`, the system is told ahead of which
    rows the next batches will have need, in the order in which they lie: it reads them while the ones before are used.
    """

    store: Store
    places: Mapping[int | None, Rows]
    layout: Layout
    device: torch.device
    on_disk: bool = False

    def __call__(self, batches: Sequence[Rows], view: int | None, /) -> Iterator[Features]:
        """Yield the inputs of each batch."""
        ahead = self._read_ahead(batches, view) if self.on_disk and TELLS_AHEAD else iter(batches)
        for rows in ahead:
            places = torch.from_numpy(self.places[view][rows])
            yield self.layout.wrap(
                self._take(outputs, places).permute(shape.back)
                for outputs, shape in zip(self.store.outputs, self.layout.shapes, strict=True)
            )

    def _read_ahead(self, batches: Sequence[Rows], view: int | None) -> Iterator[Rows]:
        """Yield the batches, some of them at a time, once the system reads the rows of those that follow."""
        in_batch = max(map(len, batches)) * (self.layout.bytes // self.layout.images)
        at_once = max(1, READ_AHEAD // max(1, in_batch))
        groups = [batches[first : first + at_once] for first in range(0, len(batches), at_once)]
        for group, following in zip(groups, [*groups[1:], []], strict=True):
            if group is groups[0]:
                self._tell_ahead(group, view)
            self._tell_ahead(following, view)
            yield from group

    def _tell_ahead(self, batches: Sequence[Rows], view: int | None) -> None:
        if not len(batches) or self.store.file is None:
            return
        rows = np.unique(self.places[view][np.concatenate(batches)])
        bounds = np.flatnonzero(np.diff(rows) > 1) + 1
        stretches = [(its[0], its[-1] + 1) for its in np.split(rows, bounds)]
        for start, shape in zip(self.layout.starts, self.layout.shapes, strict=False):
            for first, end in stretches:
                at, size = start + shape.bytes * int(first), shape.bytes * int(end - first)
                os.posix_fadvise(self.store.file.fileno(), at, size, os.POSIX_FADV_WILLNEED)

    def _take(self, outputs: Tensor, places: Tensor) -> Tensor:
        kept = outputs[places.to(outputs.device)]
        return kept if kept.is_cuda else move_to_device(kept, self.device)


def _locate(rows: Rows, first: int, end: int) -> Rows:
    """Return where each row of images.npy stands, if that of `rows` begin at `first`: others beyond the end of all."""
    places = np.full(int(rows.max()) + 1, end, dtype=np.int64)
    places[rows] = first + np.arange(len(rows))
    return places
