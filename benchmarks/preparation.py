"""Measure what prepare takes: seconds, and the memory of its own that it holds at most, for ever more images.

python -m benchmarks.preparation --images 1000 20000 200000      # small images, written for it
python -m benchmarks.preparation --megapixels 80 --images 12     # few large ones

Memory of its own is what is neither shared nor a file's: pages of images.npy, which the system may take back, are told
apart. Runs are processes of their own, one after the other.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from ruamel.yaml import YAML

from benchmarks.recording import record
from frostline.files import hash_file, write_json, write_sums, write_yaml

ROOT = Path(__file__).parents[1]
SIDE, IMAGE_PX = 48, 16
"""Sides of the small images, before and after."""


@dataclass(frozen=True)
class Measured:
    """What a run took: wall-clock seconds, and bytes of memory of its own and with the pages of files, at most."""

    seconds: float
    own_bytes: int
    all_bytes: int


def write_raw(folder: Path, images: int, side: int) -> None:
    """Write a data/raw of so many JPEG images of noise, in two classes, a thousand at a time."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    names = ("id", "image", "label", "stratum", "group", "split")
    types = (pa.string(), image_type, pa.int64(), pa.string(), pa.string(), pa.string())
    schema = pa.schema([*zip(names, types, strict=True)])
    with pq.ParquetWriter(folder / "images.parquet", schema) as writer:
        for first in range(0, images, 1000):
            rows = range(first, min(first + 1000, images))
            encoded = [{"bytes": encode(rng, side), "path": f"{row}.jpg"} for row in rows]
            columns = [[f"{row}.jpg" for row in rows], encoded, [row % 2 for row in rows]]
            empty = [[""] * len(rows), [""] * len(rows), [None] * len(rows)]
            arrays = [pa.array(values, kind) for values, kind in zip([*columns, *empty], types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    facts = {"origin": "written for a benchmark", "classes": ["even", "odd"]}
    write_json(folder / "source.json", facts | {"sha256": {"images.parquet": hash_file(folder / "images.parquet")}})
    write_sums(folder, ["images.parquet", "source.json"])


def encode(rng: np.random.Generator, side: int) -> bytes:
    """Return a JPEG image of coarse noise."""
    coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((side, side), Image.Resampling.NEAREST).save(file, "jpeg", quality=80)
    return file.getvalue()


def measure(folder: Path) -> Measured:
    """Return what preparing the raw images in the folder takes."""
    params = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"image_px": IMAGE_PX, "groups": "none", "folds": 2}
    write_yaml(folder / "params.yaml", params)
    words = {"params": folder / "params.yaml", "raw": folder / "raw", "out": folder / "prepared"}
    told = [str(word) for name, at in words.items() for word in (f"--{name}", at)]
    command, environment = [sys.executable, "-m", "stages.prepare", *told], os.environ | {"DVC_ROOT": str(folder)}
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=environment)  # noqa: S603
    most = {"RssAnon": 0, "VmRSS": 0}

    def watch() -> None:
        status = Path("/proc", str(process.pid), "status")
        while process.poll() is None:
            try:
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            except (FileNotFoundError, ProcessLookupError):
                return
            for name in most:
                most[name] = max(most[name], int(lines.get(name, "0 kB").split()[0]) * 1024)
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    if process.wait():
        raise RuntimeError(f"prepare must end well. Got exit code {process.returncode} instead.")
    watcher.join()
    return Measured(time.perf_counter() - began, most["RssAnon"], most["VmRSS"])


def main(images: list[int], megapixels: float | None, *, keep: bool = False) -> None:
    """Measure for each number of images, print a line for it, and keep it if asked to."""
    side = SIDE if megapixels is None else round((megapixels * 1e6) ** 0.5)
    for count in images:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write_raw(folder / "raw", count, side)
            took = measure(folder)
            speed = count / took.seconds
            told = f"{took.own_bytes / 1e6:,.0f} MB of its own, {took.all_bytes / 1e6:,.0f} MB with files"
            print(f"{count:,} images of {side} px: {took.seconds:.1f} s, {speed:,.0f} a second, {told}", flush=True)
            if keep:
                record("preparation", [{"side_px": side, "images": count, **asdict(took)}], ["side_px", "images"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 20_000, 200_000])
    parser.add_argument("--megapixels", type=float)
    parser.add_argument("--keep", action="store_true", help="in preparation.csv, which a page tells of")
    main(**vars(parser.parse_args()))
