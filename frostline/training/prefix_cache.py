"""The prefix cache: what a frozen prefix makes of each image and view, computed once for all that learns from it."""

import itertools
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


def cache_inputs(source: Inputs, wanted: Wanted, budget: int, scratch: Path, device: torch.device) -> Cache:
    """Return inputs bit for bit those of `source`, which are kept where they fit: in memory up to `budget` bytes.

    Beyond the budget they go to a file in `scratch` that has no name, so that it vanishes with the processes that use
    it, however they end; it takes at most half of the free disk. What fits nowhere, or a budget of 0, leaves `source`
    as it is.
    """
    view, rows = next(iter(wanted.items()))
    shape = _describe_output(next(source([rows[:1]], view)))
    needed = shape.bytes * sum(len(rows) for rows in wanted.values())
    place = choose_place(needed, budget, scratch)
    if place == "off":
        return Cache(source, place, 0)
    fill = _fill_scratch if place == "scratch" else _fill_gpu if _has_room(device, needed) else _fill_memory
    count = needed // shape.bytes
    store = fill(_compute_outputs(source, wanted, shape, device), shape, count, scratch)
    before = itertools.accumulate((len(rows) for rows in wanted.values()), initial=0)
    places = {view: _locate(rows, first, count) for (view, rows), first in zip(wanted.items(), before, strict=False)}
    back = tuple(int(axis) for axis in np.argsort(shape.axes))
    return Cache(StoredInputs(store, places, back, device), place, needed)


def choose_place(needed: int, budget: int, scratch: Path) -> str:
    """Return where so many bytes are kept: "memory", "scratch", or nowhere ("off")."""
    if needed <= budget:
        return "memory"
    scratch.mkdir(parents=True, exist_ok=True)
    return "scratch" if budget and needed <= shutil.disk_usage(scratch).free // 2 else "off"


def _describe_output(output: Tensor) -> Shape:
    """Return the shape of one image's output; channels_last and N x H x W x C alike lie in memory as they come."""
    strides = output.stride()
    axes = sorted(range(1, output.dim()), key=lambda axis: -strides[axis])
    return Shape(output.dtype, tuple(output.shape[axis] for axis in axes), (0, *axes))


def _compute_outputs(source: Inputs, wanted: Wanted, shape: Shape, device: torch.device) -> Iterator[Tensor]:
    """Yield all outputs, batch after batch, as they are kept: contiguous, an image after the other."""
    for view, rows in wanted.items():
        for output in compute_beside(source, split_batches(rows, SMALLEST_PREFIX_BATCH), view, device):
            yield output.permute(shape.axes).contiguous()


@dataclass(frozen=True)
class Store:
    """The outputs of all rows, view after view, in one file, which every process sees that is given it.

    On a GPU there is no file, and the store is of its process alone.
    """

    outputs: Tensor
    file: IO[bytes] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Hand over the file, not what is in it, to a process that this one starts."""
        if self.file is None:
            raise TypeError("What is kept on a GPU stays in its process.")
        return _take_store, (DupFd(self.file.fileno()), self.outputs.dtype, tuple(self.outputs.shape))


def _take_store(handed: Any, dtype: torch.dtype, sides: tuple[int, ...]) -> Store:
    return _map_store(os.fdopen(handed.detach(), "r+b"), dtype, sides)


def _map_store(file: IO[bytes], dtype: torch.dtype, sides: tuple[int, ...]) -> Store:
    """Return the store whose outputs lie in the file. Nothing that reads them writes there."""
    mapped = torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="r+"))
    return Store(mapped.view(dtype).view(sides), file)


def _has_room(device: torch.device, needed: int) -> bool:
    """Return whether half of the GPU's free memory takes so many bytes."""
    return device.type == "cuda" and needed <= torch.cuda.mem_get_info(device)[0] // 2


def _fill_gpu(outputs: Iterator[Tensor], _shape: Shape, _count: int, _scratch: Path) -> Store:
    """Return the outputs on the GPU."""
    return Store(torch.cat(list(outputs)))


def _fill_memory(outputs: Iterator[Tensor], shape: Shape, count: int, scratch: Path) -> Store:
    """Return the outputs of so many images in a file that lies in memory.

    Only Linux has such files; elsewhere it is one in scratch, which the system keeps in memory as long as it has room.
    """
    file: IO[bytes]
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("outputs of a prefix"), "w+b")
    else:
        scratch.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - as long as the store lives
    with tell_disk(scratch):
        file.truncate(shape.bytes * count)
    store = _map_store(file, shape.dtype, (count, *shape.sides))
    filled = 0
    for output in outputs:
        store.outputs[filled : filled + len(output)] = output
        filled += len(output)
    return store


def _fill_scratch(outputs: Iterator[Tensor], shape: Shape, count: int, scratch: Path) -> Store:
    """Return the outputs in a file without a name, which ends with the processes that map it."""
    file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - as long as the store lives
    try:
        for output in outputs:
            file.write(output.cpu().view(-1).view(torch.uint8).numpy().data)
        file.flush()
    except OSError as error:
        with suppress(OSError):  # it raises the error again, as what is buffered has no room
            file.close()
        hint = "Free some, or set training.cache_bytes to 0 to do without the cache."
        must = f"have room for the prefix cache ({shape.bytes * count} bytes)"
        raise InputError.of(str(scratch), must, str(error.strerror), hint) from None
    return _map_store(file, shape.dtype, (count, *shape.sides))


@dataclass(frozen=True)
class StoredInputs:
    """Inputs that are kept: the outputs, and by view where in them each row of images.npy stands."""

    store: Store
    places: Mapping[int | None, Rows]
    back: tuple[int, ...]
    device: torch.device

    def __call__(self, batches: Sequence[Rows], view: int | None, /) -> Iterator[Tensor]:
        """Yield the inputs of each batch."""
        for rows in batches:
            outputs = self.store.outputs
            kept = outputs[torch.from_numpy(self.places[view][rows]).to(outputs.device)]
            yield (kept if kept.is_cuda else move_to_device(kept, self.device)).permute(self.back)


def _locate(rows: Rows, first: int, end: int) -> Rows:
    """Return where each row of images.npy stands, if that of `rows` begin at `first`: others beyond the end of all."""
    places = np.full(int(rows.max()) + 1, end, dtype=np.int64)
    places[rows] = first + np.arange(len(rows))
    return places
