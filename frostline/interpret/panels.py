"""Panels: what pictures made of tiles have in common: tiles, colours with a scale, headlines and margins."""

from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import CenteredNorm, Colormap, Normalize
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from torch.nn import functional
from torchvision.utils import make_grid

from frostline.plotting import GREY

Pixels = NDArray[np.uint8]
"""Red, green and blue from 0 to 255 along the last axis."""
Numbers = NDArray[np.floating[Any]]
LEAST_SIDE = 24
"""Smaller tiles are enlarged by whole numbers, so that a filter of 3 x 3 weights is seen as squares."""
SIGNED = CenteredNorm(halfrange=1)
"""From -1 to 1: nothing is in the middle."""


def divide_by(most: Numbers, values: Numbers) -> Numbers:
    """Return the values as shares of the most that there is, and 0 where that is 0."""
    return np.divide(values, most, out=np.zeros_like(values), where=most > 0)


def colour_values(values: Numbers, norm: Normalize, colours: str) -> Pixels:
    """Return the values in the colours of that name of matplotlib's."""
    shades: Any = colormaps[colours](norm(values), bytes=True)
    return np.asarray(shades[..., :3])


def shrink_tiles(tiles: Numbers, side: int) -> Numbers:
    """Return tiles (... x height x width) of at most that side, each pixel the mean of those in its place."""
    height, width = tiles.shape[-2:]
    wanted = (min(height, side), min(width, side))
    flat = torch.from_numpy(np.ascontiguousarray(tiles)).reshape(1, -1, height, width)
    return functional.adaptive_avg_pool2d(flat, wanted).reshape(*tiles.shape[:-2], *wanted).numpy()


def shrink_picture(pixels: Pixels, side: int) -> Pixels:
    """Return the picture (height x width x 3) with at most that side."""
    channels = pixels.transpose(2, 0, 1).astype(np.float32)
    return shrink_tiles(channels, side).transpose(1, 2, 0).round().astype(np.uint8)


def arrange_tiles(tiles: Pixels, columns: int) -> Pixels:
    """Return tiles (count x height x width x 3) as one picture, row by row, white between them and where none is."""
    times = max(1, LEAST_SIDE // max(tiles.shape[1:3]))
    enlarged = torch.from_numpy(tiles.repeat(times, axis=1).repeat(times, axis=2))
    grid = make_grid(enlarged.permute(0, 3, 1, 2), nrow=columns, padding=2, pad_value=255)
    return np.asarray(grid.permute(1, 2, 0))


def show_pixels(axes: Axes, pixels: Pixels, title: str = "") -> None:
    """Draw the pixels as they are, without axes; an SVG keeps no more of them than there are."""
    axes.imshow(pixels, interpolation="none")
    axes.set_title(title, loc="left", fontsize=9)
    strip(axes)


def write_words(axes: Axes, words: str) -> None:
    """Write words where a picture would stand."""
    axes.text(0, 0.5, words, transform=axes.transAxes, va="center", fontsize=9, color=GREY)
    strip(axes)


def strip(axes: Axes) -> None:
    """Take ticks, grid and frame away."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def draw_scale(axes: Axes, norm: Normalize, colours: str | Colormap, label: str, ticks: list[float]) -> None:
    """Draw which colours stand for which values."""
    Colorbar(axes, ScalarMappable(norm, colours), orientation="horizontal", ticks=ticks)
    axes.set_xticks(ticks, [f"{tick:.2g}".replace("-", "\N{MINUS SIGN}") for tick in ticks])
    for mesh in axes.collections:
        mesh.set_rasterized(True)  # else an SVG has a path for each of 256 colours
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8)
    if len(ticks) > 1:  # within the scale, so that two beside each other do not meet
        axes.get_xticklabels()[0].set_horizontalalignment("left")
        axes.get_xticklabels()[-1].set_horizontalalignment("right")
    axes.set_xlabel(label, fontsize=8)


def make_margins(figure: Figure | SubFigure, above: float, below: float, left: float = 0.1) -> dict[str, float]:
    """Return the place of a grid with so many inches around it (to the right as little as pictures need).

    matplotlib's own layout solves for it, in an order that differs from process to process, and so do last digits, by
    which an SVG names its parts.
    """
    width, height = figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi
    return {"left": left / width, "right": 1 - 0.1 / width, "top": 1 - above / height, "bottom": below / height}


def write_headline(figure: Figure | SubFigure, words: str) -> None:
    """Write a title above the picture, from its left edge on."""
    width, height = figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi
    figure.suptitle(words, x=0.1 / width, y=1 - 0.1 / height, ha="left", va="top", fontsize=10)
