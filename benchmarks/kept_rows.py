"""Measure how fast kept outputs of a prefix are read, in a seed's order: from memory, and from a file on a disk.

python -m benchmarks.kept_rows --rows 200000 --bytes 11520
python -m benchmarks.kept_rows --disk        # for a process that may not hold them, such as one in a container of 1 GB

A disk is cold where the system has given up what it held of the file: then an epoch is also read without being told
ahead. Epochs alternate between the ways, and the median of each is told.
"""

import argparse
import ctypes
import mmap
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from benchmarks.recording import record
from frostline.backbones.inference import split_batches
from frostline.data.images import Rows
from frostline.hardware import measure_memory
from frostline.training.prefix_cache import StoredInputs, cache_inputs

BATCH = 32
CPU = torch.device("cpu")


class Source:
    """A prefix that makes of each image so many float32 numbers, its row over and over."""

    def __init__(self, numbers: int) -> None:  # noqa: D107
        self.numbers = numbers

    def __call__(self, batches: Sequence[Rows], _view: int | None, /) -> Iterator[Tensor]:
        """Yield the inputs of each batch."""
        for rows in batches:
            yield torch.from_numpy(rows).float()[:, None].repeat(1, self.numbers)


def read(inputs: StoredInputs, epoch: int, rows: int) -> float:
    """Return the seconds in which an epoch's batches were read, in its order."""
    order = np.random.default_rng([0, epoch]).permutation(rows)
    began, total = time.perf_counter(), 0.0
    for batch in inputs(split_batches(order, BATCH), 0):
        (numbers,) = batch if isinstance(batch, tuple) else (batch,)
        total += float(numbers[:, 0].double().sum())
    seconds = time.perf_counter() - began
    if total != rows * (rows - 1) / 2:
        raise RuntimeError("What was read is not what was kept.")
    return seconds


def forget(inputs: StoredInputs) -> None:
    """Let the system give up what it holds of the file."""
    if inputs.store.file is None:
        raise RuntimeError("What is kept must be a file.")
    os.sync()
    (outputs,) = inputs.store.outputs  # while it is mapped, nothing is given up
    whole = ctypes.c_void_p(outputs.data_ptr()), ctypes.c_size_t(outputs.nbytes)
    if ctypes.CDLL(None, use_errno=True).madvise(*whole, mmap.MADV_DONTNEED):
        raise OSError(ctypes.get_errno(), "The system does not let go of the file.")
    os.posix_fadvise(inputs.store.file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main(rows: int, size: int, epochs: int, *, disk: bool, keep: bool) -> None:
    """Print a line for each way, and keep it if asked to."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        wanted: dict[int | None, Rows] = {0: np.arange(rows)}
        source, scratch = Source(size // 4), Path(folder)
        kept = {}
        for place, budget in (("scratch", 1),) if disk else (("memory", 2**60), ("scratch", 1)):
            cache = cache_inputs(source, wanted, budget, scratch, CPU)
            if cache.place != place or not isinstance(cache.inputs, StoredInputs):
                raise RuntimeError(f"Outputs must be kept in {place}. Got {cache.place} instead.")
            kept[place] = cache.inputs
        on_disk = kept["scratch"]
        held = {"memory": kept["memory"], "a file that the system still holds": on_disk} if not disk else {}
        ways = {name: (inputs, False) for name, inputs in held.items()} | {
            "a file on the disk": (on_disk, True),
            "a file on the disk, not told ahead": (replace(on_disk, on_disk=False), True),
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        for epoch in range(epochs):
            for name, (inputs, is_cold) in ways.items():
                if is_cold:
                    forget(on_disk)
                took[name].append(read(inputs, epoch, rows))
                print(f"epoch {epoch + 1}, {name}: {took[name][-1]:.2f} s", flush=True)
        for name, seconds in took.items():
            speed = rows * size / median(seconds) / 1e6
            told = f"{median(seconds):.2f} s an epoch, {speed:,.0f} MB a second, {rows / median(seconds):,.0f} rows"
            print(f"{rows:,} rows of {size:,} bytes, {name}: {told}", flush=True)
        if keep:
            granted = tell_granted()
            kept_rows = [{"granted": granted, "way": name, "rows": rows, "row_bytes": size, "seconds": median(seconds)}
                         for name, seconds in took.items()]  # fmt: skip
            record("kept_rows", kept_rows, ["granted", "way"])


def tell_granted() -> int:
    """Return the bytes that this process may hold, files that the system holds for it included; 0 if none are told."""
    group = re.search(r"memory:(.*)", Path("/proc/self/cgroup").read_text())
    told = Path(f"/sys/fs/cgroup/memory{group[1] if group else ''}/memory.limit_in_bytes")
    granted = int(told.read_text()) if told.exists() else 2**63
    return granted if granted < measure_memory() else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--bytes", type=int, default=11_520, dest="size")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--disk", action="store_true")
    parser.add_argument("--keep", action="store_true", help="in kept_rows.csv, which a page tells of")
    main(**vars(parser.parse_args()))
