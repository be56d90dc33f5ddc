"""Panels: what pictures made of tiles have in common."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from frostline.interpret.tiles import Pixels, coloured
from frostline.plotting import GREY


def show(axes: Axes, pixels: Pixels, title: str = "") -> None:
    """Draw the pixels as they are, without axes; an SVG keeps no more of them than there are."""
    axes.imshow(pixels, interpolation="none")
    axes.set_title(title, loc="left", fontsize=9)
    bare(axes)


def say(axes: Axes, words: str) -> None:
    """Write words where a picture would stand."""
    axes.text(0, 0.5, words, transform=axes.transAxes, va="center", fontsize=9, color=GREY)
    bare(axes)


def bare(axes: Axes) -> None:
    """Take ticks, grid and frame away."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def signed_key(axes: Axes, colours: str, most: str, label: str) -> None:
    """Draw the colours of that name from minus the most that there is, by way of 0, to the most."""
    key(axes, ramp_of(colours), (f"\N{MINUS SIGN}{most}" if most else "", "0", most), label)


def key(axes: Axes, ramp: Pixels, values: tuple[str, str, str], label: str) -> None:
    """Draw a row of colours, and which values its beginning, middle and end stand for."""
    axes.imshow(ramp[None], interpolation="none", aspect="auto", extent=(0, 1, 0, 1))
    bare(axes)
    axes.set_xticks([0, 0.5, 1], values, fontsize=8)
    first, _, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.tick_params(length=0)
    axes.set_xlabel(label, fontsize=8)


def ramp_of(colours: str) -> Pixels:
    """Return the colours of that name of matplotlib's, from the lowest value to the highest."""
    return coloured(np.linspace(0, 1, 128, dtype=np.float32), colours)


def margins(figure: Figure | SubFigure, above: float, below: float, left: float = 0.1) -> dict[str, float]:
    """Return the place of a grid with so many inches around it (to the right as little as pictures need).

    matplotlib's own layout solves for it, in an order that differs from process to process, and so do last digits, by
    which an SVG names its parts.
    """
    width, height = figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi
    return {"left": left / width, "right": 1 - 0.1 / width, "top": 1 - above / height, "bottom": below / height}


def headline(figure: Figure | SubFigure, words: str) -> None:
    """Write a title above the picture, from its left edge on."""
    width, height = figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi
    figure.suptitle(words, x=0.1 / width, y=1 - 0.1 / height, ha="left", va="top", fontsize=10)
