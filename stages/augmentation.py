"""Augmentation: flipped views of an image, each a pure function of (seed, image, view)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AXES = {"none": (), "horizontal": (2,), "vertical": (1,), "both": (1, 2)}
"""The axes of N x H x W x 3 that `flips` may mirror."""


def flip(pixels: Tensor, images: NDArray[np.int64], view: int, flips: str, seed: int) -> Tensor:
    """Return a view of the pixels, N x H x W x 3: each of the axes of `flips` is mirrored with probability 1/2.

    `images` are the rows of images.npy that the pixels come from. Neither the batch nor its order matters:
    the same (seed, image, view) is always flipped the same way.
    """
    for axis in AXES[flips]:
        mirrored = torch.from_numpy(_coins(images, view, axis, seed)).to(pixels.device).view(-1, 1, 1, 1)
        pixels = torch.where(mirrored, pixels.flip(axis), pixels)
    return pixels


def _coins(images: NDArray[np.int64], view: int, axis: int, seed: int) -> NDArray[np.bool_]:
    """Return a fair coin for every image. A seeded stream has the same start at any length."""
    stream = np.random.default_rng([seed, view, axis])
    return np.asarray(stream.random(int(images.max()) + 1)[images] < 0.5)
