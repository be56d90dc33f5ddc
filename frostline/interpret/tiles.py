"""Tiles: numbers as small pictures in rows, in as few pixels as they need."""

from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from torch.nn import functional

Pixels = NDArray[np.uint8]
"""Red, green and blue from 0 to 255 along the last axis."""
Numbers = NDArray[np.floating[Any]]
LEAST_SIDE = 24
"""Smaller tiles are enlarged by whole numbers, so that a filter of 3 x 3 weights is seen as squares."""
GAP = 2
"""Pixels of white between tiles."""


def coloured(values: Numbers, colours: str) -> Pixels:
    """Return values from 0 to 1 (below and above count as these) in the colours of that name of matplotlib's."""
    shades: Any = colormaps[colours](values, bytes=True)
    return np.asarray(shades[..., :3])


def signed(values: Numbers, most: Numbers) -> Numbers:
    """Return values from -most to most as values from 0 to 1, so that nothing is 0.5, even where `most` is 0."""
    return values / np.where(most > 0, 2 * most, 1) + 0.5


def in_bytes(values: Numbers) -> Pixels:
    """Return values from 0 to 1 as bytes from 0 to 255."""
    return (255 * values).round().astype(np.uint8)


def shrunk(values: Numbers, side: int) -> Numbers:
    """Return tiles (... x height x width) of at most that side, each pixel the mean of those in its place."""
    height, width = values.shape[-2:]
    if max(height, width) <= side:
        return values
    wanted = (min(height, side), min(width, side))
    flat = torch.from_numpy(np.ascontiguousarray(values)).reshape(1, -1, height, width)
    return functional.adaptive_avg_pool2d(flat, wanted).reshape(*values.shape[:-2], *wanted).numpy()


def shrunk_picture(pixels: Pixels, side: int) -> Pixels:
    """Return the picture (height x width x 3) with at most that side."""
    channels = pixels.transpose(2, 0, 1).astype(np.float32)
    return shrunk(channels, side).transpose(1, 2, 0).round().astype(np.uint8)


def mosaic(tiles: Pixels, columns: int) -> Pixels:
    """Return tiles (count x height x width x 3) as one picture, row by row, white between them and where none is."""
    count, height, width = tiles.shape[:3]
    times = max(1, LEAST_SIDE // max(height, width))
    tiles = tiles.repeat(times, axis=1).repeat(times, axis=2)
    rows, tall, wide = -(-count // columns), height * times + GAP, width * times + GAP
    whole = np.full((rows * tall - GAP, columns * wide - GAP, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * tall, place % columns * wide
        whole[top : top + tall - GAP, left : left + wide - GAP] = tile
    return whole
