"""Streaming: all images decoded once, batch after batch, from where a killed run stopped."""

import hashlib
import io
import json
import math
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from frostline.files import find_project_root, hash_file, hold_lock, reserve, tell_disk
from frostline.preparation.decoding import Decoded, decode
from frostline.preparation.duplicates import WORDS

# Enough to keep the decoding threads busy, few enough that memory does not grow with the number of images.
IMAGES_AT_ONCE, BYTES_AT_ONCE, ROWS_AT_ONCE = 256, 50_000_000, 8
CODE = tuple(Path(__file__).with_name(name) for name in ("decoding.py", "duplicates.py", "streaming.py"))
"""What decides what becomes of an image."""


class Seen:
    """What is known of each image that was decoded, in columns, as there may be very many.

    digests: SHA-256, images x 32 bytes; looks: perceptual hashes, images x words; `notes` and `faults`, by place, of
    those that have any: what had to be done to read it, or why it could not be read. The first `count` are known.
    """

    def __init__(self, images: int) -> None:
        """Begin with nothing known of so many images."""
        self.digests = np.zeros((images, hashlib.sha256().digest_size), np.uint8)
        self.looks = np.zeros((images, WORDS), np.uint64)
        self.notes: dict[int, str] = {}
        self.faults: dict[int, str] = {}
        self.count = 0

    def add(self, result: Decoded | str) -> None:
        """Keep what is known of the next image."""
        if isinstance(result, str):
            self.faults[self.count] = result
        else:
            self.digests[self.count] = np.frombuffer(bytes.fromhex(result.digest), np.uint8)
            self.looks[self.count] = result.look
            if result.note:
                self.notes[self.count] = sys.intern(result.note)
        self.count += 1

    def pack(self, first: int) -> dict[str, Any]:
        """Return what is known of the images from the first of these on, in JSON's types."""
        told = {
            name: {str(place): texts[place] for place in range(first, self.count) if place in texts}
            for name, texts in (("notes", self.notes), ("faults", self.faults))
        }
        its = slice(first, self.count)
        return told | {"digests": self.digests[its].tobytes().hex(), "looks": self.looks[its].tobytes().hex()}

    def unpack(self, packed: dict[str, Any]) -> None:
        """Keep what was packed, of the images that follow."""
        end = self.count + count_packed(packed)
        for name, rows in (("digests", self.digests), ("looks", self.looks)):
            read = np.frombuffer(bytes.fromhex(packed[name]), rows.dtype)
            rows[self.count : end] = read.reshape(-1, rows.shape[1])
        for name, texts in (("notes", self.notes), ("faults", self.faults)):
            texts |= {int(place): sys.intern(text) for place, text in packed[name].items()}
        self.count = end


def count_packed(packed: dict[str, Any]) -> int:
    """Return of how many images this was packed."""
    return len(packed["digests"]) // (2 * hashlib.sha256().digest_size)


Pixels = NDArray[np.uint8]


def decode_images(parquet: Path, images: int, out: Path, image_px: int) -> Seen:
    """Write every image's pixels to `out` (uint8, images x image_px x image_px x 3); return what is known of each.

    Pixels are decoded into a scratch folder, and what is known of a batch is noted there when its pixels are on the
    disk: a run that is killed goes on after its last whole batch. Memory grows by some 64 bytes an image.
    """
    scratch = locate_scratch(parquet, image_px)
    with hold_lock(scratch.parents[1] / "decoding.lock"):  # one decodes at a time, so that all other folders are left
        for left in scratch.parent.glob("decoded-*"):
            if left != scratch:
                shutil.rmtree(left)
        return decode_into(scratch, parquet, images, out, image_px)


def decode_into(scratch: Path, parquet: Path, images: int, out: Path, image_px: int) -> Seen:
    """Decode into the scratch folder, on top of what a killed run left there, and move the pixels to `out`."""
    with tell_disk(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
    pixels, notes = scratch / "images.npy", scratch / "seen.jsonl"
    arrays = map_array(pixels, (images, image_px, image_px, 3))
    seen = read_notes(notes, arrays)
    if seen.count:
        print(f"prepare: {seen.count:,} of {images:,} images were decoded before", flush=True)
    with (
        warnings.catch_warnings(action="ignore"),  # of odd metadata, by the thousand
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=images, initial=seen.count, desc="prepare", unit="image", disable=None) as bar,
    ):
        for encoded in _read_batches(parquet, seen.count):
            first = seen.count
            for result in pool.map(lambda image: decode(image, image_px), encoded):
                if isinstance(result, Decoded):
                    arrays[seen.count] = result.pixels
                seen.add(result)
            with tell_disk(pixels):
                arrays.flush()
                write_note(notes, seen, arrays, first)
            bar.update(seen.count - first)
    with tell_disk(out):
        shutil.move(pixels, out)
    shutil.rmtree(scratch)
    return seen


def write_note(path: Path, seen: Seen, pixels: Pixels, first: int) -> None:
    """Add a line about the images from the first of these on, whose pixels are on the disk."""
    packed = seen.pack(first)
    line = json.dumps({"sha256": hash_batch(pixels[first : seen.count], packed), "seen": packed})
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def hash_batch(pixels: Pixels, packed: dict[str, Any]) -> str:
    """Return one SHA-256 of pixels that lie in one piece and of what is known of them."""
    hashed = hashlib.sha256(json.dumps(packed, sort_keys=True).encode())
    hashed.update(pixels.reshape(-1).data)
    return hashed.hexdigest()


def read_notes(path: Path, pixels: Pixels) -> Seen:
    """Return what was noted of the first batches that are whole, and drop what was noted of others.

    A batch is whole if it was noted to its end, and its pixels and what is known of them are what they were then.
    """
    seen, whole = Seen(len(pixels)), 0
    with path.open("ab+") as file:
        file.seek(0)
        for line in file:
            try:
                note = json.loads(line)
                its = pixels[seen.count : seen.count + count_packed(note["seen"])]
                is_whole = line.endswith(b"\n") and hash_batch(its, note["seen"]) == note["sha256"]
            except (ValueError, LookupError, TypeError):
                is_whole = False
            if not is_whole:
                break
            seen.unpack(note["seen"])
            whole += len(line)
        file.truncate(whole)
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
    # Buffers that are read ahead are held to the end: all of the file.
    for batch in pq.ParquetFile(parquet, pre_buffer=False).iter_batches(ROWS_AT_ONCE, columns=["image"]):
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
