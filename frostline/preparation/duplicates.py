"""Duplicates: the same pixels twice, and images that look nearly alike: saved anew, resized, cropped by little."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from imagehash import phash
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from frostline.constants import SPLITS
from frostline.errors import InputError
from frostline.preparation.splits import Integers

SIDE = 16
"""Of the square of cosines that a perceptual hash compares with their median: a bit for each."""
WORDS = SIDE * SIDE // 64
"""Of 64 bits, that hold such a hash."""
NEAR = 40
"""Bits, of SIDE squared, in which near-duplicates differ at most.

Of 400 solar cells, leaves, flowers of 64 px and pictures of 32 px, copies that were saved anew as JPEG of quality 50,
halved or brightened by a tenth differ in 30 at most; nine in ten that lost a hundredth on each side in 38 (a pixel of
32 px: 58). Different leaves differ in 88 or more, 99 of 100 pictures of 32 px in 76, 99 of 100 solar cells in 10.
"""
FLAT = 2.0
"""Standard deviation of grey levels below which an image has nothing to be known by."""
ROWS_AT_ONCE, COLUMNS_AT_ONCE = 256, 1024
"""Of the table of differing bits that is made at once, which a core then holds near: some MB however many images."""
MOST_PAIRS = 5_000_000

Digests = NDArray[Any]
"""What is equal for images with the same pixels, and for no others."""
Hash = NDArray[np.uint64]
"""The bits of a perceptual hash; no bits set in an image that has nothing to be known by."""


@dataclass(frozen=True)
class Alike:
    """Which images are alike.

    `groups` are those in which they stay together, `dropped` the rows that are left out. `table` has a row for each
    image that is like an earlier one, `facts` are counts, and `lines` tell a person of them.
    """

    groups: Integers
    dropped: Integers
    table: pd.DataFrame
    facts: dict[str, int]
    lines: list[str]


def find_alike(images: pd.DataFrame, looks: NDArray[np.uint64], duplicates: str, *, official: bool) -> Alike:
    """Return which images are alike by digest or look, and by data.duplicates what becomes of them.

    With `refuse` those with the same pixels stay together, and the others are told; with `group` all of them stay
    together; with `drop` one of them stays, or, of official splits, those of one.
    """
    digests = images.digest.to_numpy()
    exact, (near, is_whole) = list_exact(digests), find_near(looks, digests)
    if not is_whole and duplicates != "refuse":
        must = f"hold at most {len(near):,} pairs of images that look alike"
        raise InputError.of("data", must, "more", "data.duplicates: refuse leaves them as they are.")
    pairs = np.concatenate([exact, near])
    dropped = choose_dropped(images, exact, near, official=official) if duplicates == "drop" else exact[:0, 0]
    groups = join_alike(len(images), pairs if duplicates == "group" else exact)
    table = tabulate(images, pairs, dropped)
    facts = {"exact_duplicates": len(exact), "near_duplicates": len(table) - len(exact), "left_out": len(dropped)}
    lines = []
    if len(table):
        became = {
            "refuse": "data.duplicates: group keeps what looks alike together, drop leaves it out",
            "group": "all of them stay together",
            "drop": f"{len(dropped):,} are left out",
        }[duplicates]
        told = f"{len(exact):,} images have the pixels of an earlier one, {len(table) - len(exact):,} look nearly so"
        lines = [f"{told} (duplicates.csv lists them): {became}"]
    if official and duplicates != "drop":
        across = tell_across(images, pairs)
        lines += [f"alike across {both}: {count:,} pair{'' if count == 1 else 's'}" for both, count in across]
    return Alike(groups, dropped, table, facts, lines)


def hash_look(image: Image.Image) -> Hash:
    """Return the perceptual hash of an 8-bit RGB image, 4 x 64 bits (pHash, Zauner 2010, by the library imagehash)."""
    grey = image.convert("L")
    if float(np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX)).std()) < FLAT:
        return np.zeros(WORDS, np.uint64)
    return np.packbits(phash(grey, hash_size=SIDE).hash).view(np.uint64)


def find_near(hashes: NDArray[np.uint64], digests: Digests) -> tuple[Integers, bool]:
    """Return pairs of images that look nearly alike (N x 3: two rows, the later one first, and how many bits differ).

    `hashes` are images x words. Of images with the same pixels the first stands for all. The flag says whether these
    are all pairs: beyond MOST_PAIRS no more are looked for.
    """
    firsts = np.sort(np.unique(digests, return_index=True)[1])
    bits = hashes[firsts]
    known = np.flatnonzero(bits.any(1))
    firsts, bits = firsts[known], bits[known]

    words = np.ascontiguousarray(bits.T)

    def compare(start: int) -> Integers:
        ours = bits[start : start + ROWS_AT_ONCE, :, None]
        found, count = [np.empty((0, 3), np.int64)], 0
        for left in range(0, start + len(ours), COLUMNS_AT_ONCE):
            theirs = words[:, left : min(left + COLUMNS_AT_ONCE, start + len(ours))]
            differ = np.zeros((len(ours), theirs.shape[1]), np.uint16)
            for word, column in enumerate(theirs):
                differ += np.bitwise_count(ours[:, word] ^ column)
            later, earlier = np.nonzero(differ <= NEAR)
            bits_differ = differ[later, earlier].astype(np.int64)
            pairs = np.stack([later + start, earlier + left, bits_differ], 1)
            found.append(pairs[pairs[:, 1] < pairs[:, 0]])
            count += len(found[-1])
            if count > MOST_PAIRS:
                break
        pairs = np.concatenate(found)
        pairs[:, :2] = firsts[pairs[:, :2]]
        return pairs[np.argsort(pairs[:, 0], kind="stable")]

    pairs, count = [np.empty((0, 3), np.int64)], 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(compare, range(0, len(bits), ROWS_AT_ONCE)):
            pairs.append(found)
            count += len(found)
            if count > MOST_PAIRS:
                pool.shutdown(cancel_futures=True)
                break
    return np.concatenate(pairs)[:MOST_PAIRS], count <= MOST_PAIRS


def list_exact(digests: Digests) -> Integers:
    """Return pairs of images with the same pixels (N x 3, as near ones): each with the first of them."""
    _, firsts, inverse = np.unique(digests, return_index=True, return_inverse=True)
    rows, first = np.arange(len(digests)), firsts[inverse]
    later = rows != first
    return np.stack([rows[later], first[later], np.zeros(int(later.sum()), np.int64)], 1)


def join_alike(count: int, pairs: Integers) -> Integers:
    """Return the groups of so many images, of which those of a pair share one."""
    ones = np.ones(len(pairs), np.int8)
    _, groups = connected_components(coo_array((ones, (pairs[:, 0], pairs[:, 1])), (count, count)), directed=False)
    return np.asarray(groups, np.int64)


def choose_dropped(images: pd.DataFrame, exact: Integers, near: Integers, *, official: bool) -> Integers:
    """Return the rows that are left out so that no two alike are left, or, with official splits, not in two of these.

    Where splits are official, the one that is scored stays: test before validation before train.
    """
    if not official:
        firsts = np.unique(join_alike(len(images), np.concatenate([exact, near])), return_index=True)[1]
        return np.setdiff1d(np.arange(len(images)), firsts).astype(np.int64)
    rank = images.split.map({split: place for place, split in enumerate(SPLITS)}).to_numpy(np.int64)
    copies = join_alike(len(images), exact)  # each stands for all of its own in the near pairs
    best = np.full(copies.max() + 1, -1)
    np.maximum.at(best, copies, rank)
    highest = best.copy()
    for one, other in ((near[:, 0], near[:, 1]), (near[:, 1], near[:, 0])):
        np.maximum.at(highest, copies[one], best[copies[other]])
    return np.flatnonzero(rank < highest[copies]).astype(np.int64)


def tabulate(images: pd.DataFrame, pairs: Integers, dropped: Integers) -> pd.DataFrame:
    """Return a row for each image that is like an earlier one.

    It has id, class and split of both, how many bits differ, and whether each is left out. Of several that it is like
    an image names the nearest.
    """
    order = np.lexsort((pairs[:, 1], pairs[:, 2], pairs[:, 0]))
    nearest = pairs[order]
    nearest = nearest[np.unique(nearest[:, 0], return_index=True)[1]]
    later, earlier, bits = nearest.T
    table: dict[str, Any] = {}
    for name, rows in (("", later), ("like_", earlier)):
        table |= {f"{name}{column}": images[column].to_numpy()[rows] for column in ("id", "class", "split")}
    kind = np.where(images.digest.to_numpy()[later] == images.digest.to_numpy()[earlier], "same pixels", "near")
    left = {f"{name}left_out": np.isin(rows, dropped) for name, rows in (("", later), ("like_", earlier))}
    return pd.DataFrame(table | {"kind": kind, "bits": bits} | left)


def tell_across(images: pd.DataFrame, pairs: Integers) -> Iterator[tuple[str, int]]:
    """Yield each two official splits that share images that look alike, and how many pairs of them."""
    splits = images.split.to_numpy()
    both = [tuple(sorted((splits[one], splits[other]), key=SPLITS.index)) for one, other, _ in pairs.tolist()]
    for one, other in sorted({each for each in both if each[0] != each[1]}):
        yield f"{one} and {other}", both.count((one, other))
