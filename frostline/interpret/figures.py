"""The pictures of what is seen inside a run, each with its scale."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, ListedColormap, Normalize
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from frostline.constants import PARTS
from frostline.interpret.captions import describe_movement
from frostline.interpret.gradcam import Evidence, PartMaps
from frostline.interpret.inspection import CHANNELS, Case, Inside
from frostline.interpret.panels import (
    SIGNED,
    Pixels,
    arrange_tiles,
    colour_values,
    divide_by,
    draw_scale,
    make_margins,
    show_pixels,
    shrink_picture,
    shrink_tiles,
    strip,
    write_headline,
    write_words,
)
from frostline.interpret.weight_changes import Filters
from frostline.plotting import COLOURS, GREY, INK, shorten_text

MOST_PIXELS = 84_000
"""A picture's tiles hold about so many pixels together: git keeps it, and it stands within the report."""
WEIGHTS, RESPONSES, HEAT = "gray", "RdBu_r", "inferno"
"""Colours of weights and responses, which have a sign, and of evidence, which has none; none mixes red with green."""
SHARES = Normalize(0, 1)
HEAT_SHARE = 0.55
"""How much of a pixel is heat, where it lies on an image."""
WIDTH = 8.0
"""Of each picture, in inches."""
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
"""Behind words, so that no line of the grid runs through them."""


def draw_pictures(inside: Inside) -> dict[str, Figure]:
    """Return the pictures by name: fewer of a network whose first layer sees no colours, or that keeps no places.

    Draw and save them within `frostline.plotting.use_style`.
    """
    pictures = {}
    if inside.filters is not None:
        pictures["filters"] = draw_filters(inside.filters, inside.began)
    if inside.maps:
        pictures["maps"] = draw_maps(inside)
    return pictures | {"gradcam": draw_evidence(inside), "moved": draw_movement(inside)}


def draw_filters(found: Filters, began: str) -> Figure:
    """Draw the filters as they began, as they were left, and what changed, which has a scale of its own."""
    count, side = len(found.indices), found.before.shape[-1]
    change = found.after - found.before
    largest = np.abs([found.before, found.after]).max(axis=(0, 2, 3, 4)).reshape(-1, 1, 1, 1)
    most = np.abs(change).max()
    figure = Figure(figsize=(WIDTH, 3.7))
    grid = make_margins(figure, above=0.55, below=0.5) | {"wspace": 0.04, "hspace": 0.06}
    rows: Any = [["before", "after", "change"], ["key", "key", "changes"]]
    panels = figure.subplot_mosaic(rows, height_ratios=[20, 1], gridspec_kw=grid)
    for name, values, scale, title in (
        ("before", found.before, largest, f"{began} weights"),
        ("after", found.after, largest, "after training"),
        ("change", change, most, "what changed" if most else "what changed: exactly nothing"),
    ):
        shades = SIGNED(shrink_tiles(divide_by(scale, values), int((MOST_PIXELS / 3 / count) ** 0.5)))
        tiles = (255 * shades.transpose(0, 2, 3, 1)).round().astype(np.uint8)
        show_pixels(panels[name], arrange_tiles(tiles, int(np.ceil(count**0.5))), title)
    draw_scale(panels["key"], SIGNED, WEIGHTS, "weight, as a share of the filter's largest", [-1, 0, 1])
    changes = CenteredNorm(halfrange=most or 1)
    draw_scale(panels["changes"], changes, WEIGHTS, "change of a weight", [-most, 0, most] if most else [0])
    told = f"The {count} filters" if count == found.of else f"The {count} strongest of {found.of} filters"
    write_headline(figure, f"{told} of the first layer: {side} x {side} weights each for red, green and blue")
    return figure


def draw_maps(inside: Inside) -> Figure:
    """Draw what some channels of each part found in the image, before and after training, on one scale a channel."""
    parts = [part for part in PARTS if part != "head"]
    rows: Any = [*(["image", f"{part} before", f"{part} after"] for part in parts), [".", "key", "key"]]
    figure = Figure(figsize=(WIDTH, 6.7))
    grid = make_margins(figure, above=0.6, below=0.5) | {"wspace": 0.03, "hspace": 0.4}
    ratios = {"width_ratios": [2, 5, 5], "height_ratios": [*[9] * len(parts), 1.2]}
    panels = figure.subplot_mosaic(rows, gridspec_kw=grid | ratios)
    show_pixels(panels["image"], shrink_picture(inside.mapped.pixels, 112), "the image")
    panels["image"].set_anchor("N")
    found = {maps.part: maps for maps in inside.maps}
    for part in parts:
        _draw_part(panels[f"{part} before"], panels[f"{part} after"], found.get(part), part, inside.began)
    label = "response, as a share of the channel's strongest before and after"
    draw_scale(panels["key"], SIGNED, RESPONSES, label, [-1, 0, 1])
    write_headline(figure, f"What {CHANNELS} channels at the end of each part find in one image")
    return figure


def _draw_part(before: Axes, after: Axes, found: PartMaps | None, part: str, began: str) -> None:
    if found is None:
        write_words(before, f"{part}: no map, as it ends in one vector")
        strip(after)
        return
    most = np.abs([found.before, found.after]).max(axis=(0, 2, 3)).reshape(-1, 1, 1)
    side = int((MOST_PIXELS / 10 / len(found.channels)) ** 0.5)
    height, width = found.after.shape[1:]
    for axes, values, title in (
        (before, found.before, f"{part}, {height} x {width}: {began} weights"),
        (after, found.after, "after training"),
    ):
        shades = colour_values(shrink_tiles(divide_by(most, values), side), SIGNED, RESPONSES)
        show_pixels(axes, arrange_tiles(shades, len(shades)), title)


def draw_evidence(inside: Inside) -> Figure:
    """Draw each case, and below it, or beside a single one, where the network found evidence for what it says."""
    side = int((MOST_PIXELS / 2 / len(inside.cases)) ** 0.5)
    pictures = [shrink_picture(case.pixels, side) for case in inside.cases]
    lit = [] if inside.evidence is None else light_up(pictures, inside.evidence)
    across = max(len(cases) for cases in inside.groups.values())
    tall = 3.9 if across == 1 else 4.8 if lit else 2.85
    heights = [tall] * len(inside.groups) + [0.7] * bool(lit)
    figure = Figure(figsize=(WIDTH, sum(heights)))
    bands = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights, hspace=0)
    begin = 0
    for band, (name, cases) in zip(bands.flat, inside.groups.items(), strict=False):
        rows = [shown[begin : begin + len(cases)] for shown in (pictures, lit)]
        _draw_group(band, name, [describe_case(case, inside.run.classes) for case in cases], rows, across)
        begin += len(cases)
    if inside.evidence is not None:
        told = f"evidence for what it is taken for, as a share of the image's most (Grad-CAM at {inside.evidence.told})"
        below = bands.flat[-1].subplots(gridspec_kw=make_margins(bands.flat[-1], above=0.05, below=0.5))
        warm = ListedColormap(warm_up(np.full((256, 1), 128), colour_values(np.arange(256) / 255, SHARES, HEAT)) / 255)
        draw_scale(below, SHARES, warm, told, [0, 1])
    return figure


def light_up(pictures: list[Pixels], evidence: Evidence) -> list[Pixels]:
    """Return the pictures in grey, with the evidence on them in the colours of heat."""
    heats = colour_values(evidence.enlarge(pictures[0].shape[0]), SHARES, HEAT)
    return [warm_up(picture.mean(axis=2, keepdims=True), heat) for picture, heat in zip(pictures, heats, strict=True)]


def warm_up(grey: NDArray[Any], heat: Pixels) -> Pixels:
    """Return the heat as it is seen on grey (0 to 255)."""
    return (HEAT_SHARE * heat + (1 - HEAT_SHARE) * grey).round().astype(np.uint8)


def _draw_group(band: SubFigure, name: str, told: list[str], rows: list[list[Pixels]], across: int) -> None:
    """Draw a group's pictures, one row below the other; of a single one, the rows side by side."""
    grid = make_margins(band, above=0.8, below=0.05) | {"wspace": 0.04, "hspace": 0.04}
    shape = (2 if rows[1] else 1, across) if across > 1 else (1, 2)
    panels = band.subplots(*shape, squeeze=False, gridspec_kw=grid)
    panels = panels if across > 1 else panels.T
    for axes in panels.flat:
        strip(axes)
    for place, words in enumerate(told):
        for row, axes in zip(rows, panels[:, place], strict=False):
            if row:
                show_pixels(axes, row[place], words if row is rows[0] else "")
    write_headline(band, name)


def describe_case(case: Case, classes: list[str]) -> str:
    """Return in lines what the case is, where that is known, and what it is taken for, with its probability."""
    lines = [] if case.actual is None else [f"truly {shorten_text(classes[case.actual], 115, 9)}"]
    taken = f"taken for {shorten_text(classes[case.predicted], 95, 9)}"
    return "\n".join([*lines, taken, f"with probability {case.confidence:.3f}"])


def draw_movement(inside: Inside) -> Figure:
    """Draw how far each part moved, in powers of ten, beside which what did not move stands at 0."""
    powers = [np.log10(part.relative_norm) for part in inside.moved if part.relative_norm] or [0.0]
    high = np.ceil(max(powers)) + 0.5
    low = min(np.floor(min(powers)), high - 3.5)
    zero = low - 0.5
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.subplots(gridspec_kw=make_margins(figure, above=0.4, below=0.6, left=0.8))
    for row, part in enumerate(inside.moved):
        at = np.log10(part.relative_norm) if part.relative_norm else zero
        shape, colour = ("o", COLOURS[0]) if part.trainable else ("s", "white")
        if part.relative_norm is not None:
            axes.plot(at, row, shape, markersize=8, markerfacecolor=colour, markeredgecolor=INK)
        axes.annotate(
            describe_movement(part), (at, row), (9, 0), textcoords="offset points", va="center", fontsize=9, bbox=PAPER
        )
    _scale_in_powers(axes, zero, low, high)
    axes.set_yticks(range(len(inside.moved)), [part.part for part in inside.moved])
    axes.set_ylim(len(inside.moved) - 0.5, -0.5)
    axes.set_xlabel("norm of what changed, as a share of the norm before (log scale, beside it 0)")
    write_headline(figure, f"How far each part moved from its {inside.began} weights; the head from its new ones")
    return figure


def _scale_in_powers(axes: Axes, zero: float, low: float, high: float) -> None:
    """Mark the powers of ten, and before a dotted line where 0 stands, which has no place among them."""
    ticks = np.arange(low, high)
    axes.set_xticks([zero, *ticks], ["0", *(f"{10**tick:g}" for tick in ticks)])
    axes.axvline(low - 0.25, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xlim(zero - 0.1, high + 0.4)
