"""Measure an epoch of a fit in one process with all threads, and in several that share every batch and the threads.

python -m benchmarks.devices --devices 2

Networks learn whole (from the stem), so that all of an epoch is shared. On a processor this shows what sharing costs;
what several GPUs gain it does not show.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.machine import DEVICE
from benchmarks.recording import record
from frostline.training.grid import make_feed
from frostline.training.workers import share_devices, train_fits
from tools.check_gpu import set_up
from tools.gpu_trials import RATE, REPLICATE, Bench

EPOCHS, ROUNDS = 4, 3


def measure(bench: Bench, precision: str, devices: int, number: int) -> list[float]:
    """Return the seconds of a fit's epochs but the first."""
    name = f"{precision}-{devices}-{number}"
    job = share_devices(bench.make_job(name, "stem", precision, devices_per_fit=devices, epochs=EPOCHS))
    (trained,) = train_fits(job, make_feed(job), [((RATE,), REPLICATE)], 1, lambda _: None)
    return [epoch.seconds for epoch in trained.history[1:]]


def main(devices: int, images: int, px: int, *, keep: bool) -> None:
    """Print a line for each number format, and keep it if asked to."""
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), DEVICE)
        set_up(bench.folder, images, px)
        for precision in ("float32", "bfloat16"):
            taken: dict[int, list[float]] = {1: [], devices: []}
            for number in range(ROUNDS):
                for count, seconds in taken.items():
                    seconds += measure(bench, precision, count, number)
            one, several = (median(seconds) for seconds in taken.values())
            told = f"one {one:.2f} s, {devices} {several:.2f} s an epoch, {several / one:.2f} times"
            print(f"{precision}, {images} images of {px} px: {told}", flush=True)
            row: dict[str, Any] = {
                "precision": precision,
                "devices": devices,
                "threads": torch.get_num_threads(),
                "images": images,
            }
            if keep:
                row |= {"image_px": px, "one_seconds": one, "several_seconds": several}
                record("devices", [row], ["precision", "devices"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--px", type=int, default=160)
    parser.add_argument("--keep", action="store_true", help="in devices.csv, which a page tells of")
    main(**vars(parser.parse_args()))
