"""Streaming: all images decoded once, batch after batch, from where a killed run stopped."""

import hashlib
import io
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from frostline.files import find_project_root, hash_file, hold_lock, reserve, tell_disk
from frostline.preparation.decoding import Decoded, decode
from frostline.preparation.duplicates import Hash

# Enough to keep the decoding threads busy, few enough that memory does not grow with the number of images.
IMAGES_AT_ONCE, BYTES_AT_ONCE, ROWS_AT_ONCE = 256, 50_000_000, 8
CODE = tuple(Path(__file__).with_name(name) for name in ("decoding.py", "duplicates.py", "streaming.py"))
"""What decides what becomes of an image."""


@dataclass(frozen=True)
class Seen:
    """What is known of an image once it was decoded: SHA-256, look and note, or why it could not be read."""

    digest: str
    look: Hash
    note: str
    fault: str

    @classmethod
    def of(cls, result: Decoded | str) -> "Seen":
        """Return what is kept of it."""
        if isinstance(result, str):
            return cls("", np.zeros(0, np.uint64), "", result)
        return cls(result.digest, result.look, result.note, "")

    def pack(self) -> list[str]:
        """Return it in JSON's types."""
        return [self.digest, self.look.tobytes().hex(), self.note, self.fault]

    @classmethod
    def unpack(cls, packed: list[str]) -> "Seen":
        """Return what was packed."""
        digest, look, note, fault = packed
        return cls(digest, np.frombuffer(bytes.fromhex(look), np.uint64), note, fault)


Pixels = NDArray[np.uint8]


def decode_images(parquet: Path, ids: list[str], out: Path, image_px: int) -> list[Seen]:
    """Write every image's pixels to `out` (uint8, images x image_px x image_px x 3); return what is known of each.

    Pixels are decoded into a scratch folder, and what is known of a batch is noted there when its pixels are on the
    disk: a run that is killed goes on after its last whole batch. Memory grows by some hundred bytes an image.
    """
    scratch = locate_scratch(parquet, image_px)
    with hold_lock(scratch.parents[1] / "decoding.lock"):  # one decodes at a time, so that all other folders are left
        for left in scratch.parent.glob("decoded-*"):
            if left != scratch:
                shutil.rmtree(left)
        return decode_into(scratch, parquet, ids, out, image_px)


def decode_into(scratch: Path, parquet: Path, ids: list[str], out: Path, image_px: int) -> list[Seen]:
    """Decode into the scratch folder, on top of what a killed run left there, and move the pixels to `out`."""
    with tell_disk(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
    pixels, notes = scratch / "images.npy", scratch / "seen.jsonl"
    arrays = map_array(pixels, (len(ids), image_px, image_px, 3))
    seen = read_notes(notes, arrays)
    if seen:
        print(f"prepare: {len(seen):,} of {len(ids):,} images were decoded before", flush=True)
    with (
        warnings.catch_warnings(action="ignore"),  # of odd metadata, by the thousand
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(ids), initial=len(seen), desc="prepare", unit="image", disable=None) as bar,
    ):
        for encoded in _read_batches(parquet, len(seen)):
            results = [*pool.map(lambda image: decode(image, image_px), encoded)]
            first, fresh = len(seen), [*map(Seen.of, results)]
            for place, result in enumerate(results, first):
                if isinstance(result, Decoded):
                    arrays[place] = result.pixels
            seen += fresh
            with tell_disk(pixels):
                arrays.flush()
                write_note(notes, fresh, arrays[first : len(seen)])
            bar.update(len(fresh))
    with tell_disk(out):
        shutil.move(pixels, out)
    shutil.rmtree(scratch)
    return seen


def write_note(path: Path, seen: list[Seen], pixels: Pixels) -> None:
    """Add a line about a batch whose pixels are on the disk, with their SHA-256."""
    line = json.dumps({"sha256": hash_pixels(pixels), "seen": [each.pack() for each in seen]})
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def hash_pixels(pixels: Pixels) -> str:
    """Return the SHA-256 of pixels that lie in one piece."""
    return hashlib.sha256(pixels.reshape(-1).data).hexdigest()


def read_notes(path: Path, pixels: Pixels) -> list[Seen]:
    """Return what was noted of the first batches that are whole, and drop what was noted of others.

    A batch is whole if its line was written to its end, and its pixels are what they were then.
    """
    seen: list[Seen] = []
    kept: list[str] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            note = json.loads(line)
            batch = [*map(Seen.unpack, note["seen"])]
            is_whole = hash_pixels(pixels[len(seen) : len(seen) + len(batch)]) == note["sha256"]
        except (ValueError, LookupError, TypeError):
            is_whole = False
        if not is_whole:
            break
        seen += batch
        kept.append(f"{line}\n")
    path.write_text("".join(kept), encoding="utf-8")
    return seen


def locate_scratch(parquet: Path, image_px: int) -> Path:
    """Return the folder of what was decoded of these images at this side by this code."""
    known = [hash_file(parquet), str(image_px), PIL.__version__, *map(hash_file, CODE)]
    name = hashlib.sha256("\n".join(known).encode()).hexdigest()[:32]
    return find_project_root() / ".dvc" / "tmp" / "frostline" / f"decoded-{name}"


def map_array(path: Path, shape: tuple[int, ...]) -> "np.memmap[Any, np.dtype[np.uint8]]":
    """Return a uint8 array that is a file, whose bytes the disk has set aside; what it holds already stays."""
    about = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, about)
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(header.getvalue())
    reserve(path, len(header.getvalue()) + math.prod(shape))
    return np.memmap(path, np.uint8, "r+", offset=len(header.getvalue()), shape=shape)


def _read_batches(parquet: Path, first: int) -> Iterator[list[bytes]]:
    """Yield the images of the rows from `first` on as they are encoded, some at a time."""
    encoded: list[bytes] = []
    row = 0
    for batch in pq.ParquetFile(parquet).iter_batches(ROWS_AT_ONCE, columns=["image"]):
        row += len(batch)
        if row <= first:
            continue
        fresh = batch.slice(max(0, len(batch) - (row - first)))
        encoded += [image["bytes"] for image in fresh.to_pydict()["image"]]
        if len(encoded) >= IMAGES_AT_ONCE or sum(map(len, encoded)) >= BYTES_AT_ONCE:
            yield encoded
            encoded = []
    if encoded:
        yield encoded
