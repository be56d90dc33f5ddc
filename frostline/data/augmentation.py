"""Views of training images, and shifts of test images: each follows from seed, image and view alone."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frostline.data.images import Rows
from frostline.params.schema import Augmentation

Numbers = NDArray[np.uint64]
"""64 bits that differ from image to image as if they had been drawn."""
AXES = {"none": (), "horizontal": (2,), "vertical": (1,), "both": (1, 2)}
"""The axes of N x H x W x 3 that `flips` may mirror."""
POLICIES = {"randaugment": "RandAugment", "trivialaugment": "TrivialAugmentWide"}
"""Cubuk et al. 2019 (arXiv 1909.13719) and Mueller and Hutter 2021 (arXiv 2103.10158), as torchvision sets them."""
Transform = Callable[[Tensor], Tensor]
"""Makes another of one image, 3 x H x W, drawing from torch's generator."""
# What is drawn for a view, apart from its flips, whose draws are numbered by their axes.
CROP, COLOUR = 3, 4


@dataclass(frozen=True)
class Augmenter:
    """Makes views of pixels that are rows of images.npy (`augment`); `keys` are those of all its images.

    An image keeps its views when others are added or taken away: its id counts, not its row.
    """

    keys: Numbers
    how: Augmentation
    seed: int

    @classmethod
    def of(cls, ids: Sequence[str], how: Augmentation, seed: int) -> "Augmenter":
        """Return what augments the images that have these ids, in the order of images.npy."""
        return cls(make_image_keys(ids), how, seed)

    def __call__(self, pixels: Tensor, rows: Rows, view: int | None, /) -> Tensor:
        """Return the view of the pixels."""
        return augment(pixels, self.keys[rows], view, self.how, self.seed)


def make_image_keys(ids: Sequence[str]) -> Numbers:
    """Return a number for each id, from its SHA-256."""
    digests = b"".join(hashlib.sha256(name.encode()).digest()[:8] for name in ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def augment(pixels: Tensor, keys: Numbers, view: int | None, how: Augmentation, seed: int) -> Tensor:
    """Return a view of the pixels, uint8, N x H x W x 3; None is the images as they are.

    An image's view follows from the seed, its key and the view's number: neither its batch, nor threads, nor what was
    drawn before matters. Nor does it draw from any generator that others use.
    """
    if view is None:
        return pixels
    draws = _mix(keys ^ _mix(_mix(np.array([seed], np.uint64)) + np.uint64(view)))
    if crop := _choose_crop(how, pixels.shape[1]):
        pixels = _transform_each(crop, pixels, _renumber(draws, CROP))
    pixels = _flip(pixels, draws, how.flips)
    if recolour := _choose_colours(how):
        pixels = _transform_each(recolour, pixels, _renumber(draws, COLOUR))
    return pixels


def _choose_crop(how: Augmentation, side: int) -> Transform | None:
    """Return what crops an image to as many pixels as it has.

    Beyond its edges it is mirrored: black bars would tell of the crop, and no pretrained backbone has seen them.
    """
    if how.crop == "none":
        return None
    from torchvision.transforms import v2  # here and below, as it takes seconds

    crop: Transform = (
        v2.RandomCrop(side, padding=how.crop_padding, padding_mode="reflect")
        if how.crop == "padding"
        else v2.RandomResizedCrop(side, scale=(how.crop_scale, 1.0))
    )
    return crop


def _flip(pixels: Tensor, draws: Numbers, flips: str) -> Tensor:
    """Return the pixels, of which each of the axes of `flips` is mirrored with probability 1/2.

    All are mirrored, and whole images chosen: to choose bytes (`torch.where`) takes five times as long.
    """
    for axis in AXES[flips]:
        coins = (_renumber(draws, axis) >> np.uint64(63)).astype(np.int64)
        chosen = torch.from_numpy(np.arange(len(draws)) + len(draws) * coins).to(pixels.device)
        pixels = torch.cat([pixels, pixels.flip(axis)]).index_select(0, chosen)
    return pixels


def _choose_colours(how: Augmentation) -> Transform | None:
    """Return what the policy and the jitter of colours do to an image, on planes of colour, where it is faster."""
    if how.policy == "none" and not how.colour:
        return None
    from torchvision.transforms import v2

    steps = [getattr(v2, POLICIES[how.policy])()] if how.policy != "none" else []
    if how.colour:
        steps.append(v2.ColorJitter(how.colour, how.colour, how.colour, how.colour / 4))
    recolour: Transform = v2.Compose([Tensor.contiguous, *steps])
    return recolour


def _transform_each(transform: Transform, pixels: Tensor, draws: Numbers) -> Tensor:
    """Return what the transform makes of each image by itself, which draws from a generator seeded by its number.

    The generator takes no more than 32 bits of it.
    """
    made = torch.empty_like(pixels)
    with _keep_draws():
        for image, number, place in zip(pixels.permute(0, 3, 1, 2), draws >> np.uint64(32), made, strict=True):
            torch.default_generator.manual_seed(int(number))
            place.copy_(transform(image).permute(1, 2, 0))
    return made


_DRAWING = threading.Lock()


@contextmanager
def _keep_draws() -> Iterator[None]:
    """Give torch's generator back as it was, from which torchvision draws, and compute in one thread.

    There is one generator, so that of several threads one draws and the others wait. A sum over an image, as contrast
    needs it, may have other last bits in several threads. torchvision draws on the processor, wherever the pixels lie.
    """
    threads = torch.get_num_threads()
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _renumber(draws: Numbers, purpose: int) -> Numbers:
    """Return other numbers for each purpose."""
    return _mix(draws + np.uint64(purpose))


def _mix(numbers: Numbers) -> Numbers:
    """Return the numbers mixed, one to one: the output of SplitMix64 (Steele, Lea and Flood 2014) at these states."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
"""Where an image may be moved to: rows down and columns to the right."""


@dataclass(frozen=True)
class Shifter:
    """Moves pixels (`shift`), whichever their rows and the view."""

    direction: str
    by: int

    def __call__(self, pixels: Tensor, _rows: Rows, _view: int | None, /) -> Tensor:
        """Return the pixels, moved."""
        return shift(pixels, self.direction, self.by)


def shift(pixels: Tensor, direction: str, by: int) -> Tensor:
    """Return pixels, N x H x W x 3, moved by so many of them; what comes in from outside repeats the edge."""
    for axis, step in zip((1, 2), DIRECTIONS[direction], strict=True):
        side = pixels.shape[axis]
        places = (torch.arange(side, device=pixels.device) - step * by).clamp(0, side - 1)
        pixels = pixels.index_select(axis, places)
    return pixels
