"""The picture of the architectures: published accuracy over what they should cost, and over what they do."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from frostline.plotting import COLOURS, GREY, INK, measure_width
from frostline.units import format_number

LOOKS = {
    "full convolutions": (COLOURS[0], "o"),
    "depthwise convolutions": (COLOURS[1], "D"),
    "attention": (COLOURS[2], "^"),
}
"""Colour and mark of each kind of backbone: neither is needed to tell them apart."""

PANEL = (4.1, 4.0)
"""Inches of a panel, across and up."""
LABEL_PT = 8.5
MARK_PT = 8.0
FOOT = 0.035
"""Where those stand that have no published top-1, as a share of the axis."""

GAP = 9.0
"""Points from the middle of a mark to its line."""
PLACES = (
    ("left", "center"),
    ("right", "center"),
    ("center", "bottom"),
    ("center", "top"),
    ("left", "bottom"),
    ("left", "top"),
    ("right", "bottom"),
    ("right", "top"),
)
"""How a line may be aligned at its mark, the first ones rather than the last: where it covers nothing, behind it."""

Box = tuple[float, float, float, float]
"""Left, bottom, width and height, in points."""


@dataclass(frozen=True)
class Panel:
    """A cost of the table: its column, the unit of its ticks, what its axis says, and whether less is dearer."""

    column: str
    unit: str
    label: str
    reversed: bool


COMPUTED = Panel("flops", "FLOP", "computation of one image forward (log scale)", reversed=False)
MEASURED = Panel(
    "training_images_per_second", "", "images a second in training (log scale; slower to the right)", reversed=True
)


def draw(table: pd.DataFrame) -> Figure:
    """Draw published top-1 over FLOPs, and beside it over measured speed where there is one; dear is to the right."""
    panels = [COMPUTED, *([MEASURED] if table[MEASURED.column].notna().any() else [])]
    width = (PANEL[0] + 0.35) * len(panels) + 0.75
    figure = Figure(figsize=(width, PANEL[1] + 1.35))
    bounds = find_top1_bounds(table)
    for index, panel in enumerate(panels):
        left = (0.7 + index * (PANEL[0] + 0.35)) / width
        axes = figure.add_axes((left, 0.85 / (PANEL[1] + 1.35), PANEL[0] / width, PANEL[1] / (PANEL[1] + 1.35)))
        draw_panel(axes, table[table[panel.column].notna()], panel, bounds)
        axes.tick_params(labelleft=index == 0)
    figure.axes[0].set_ylabel("published ImageNet top-1, %")
    titles = ("What each should cost: counted", "What each does cost: measured")
    for axes, title in zip(figure.axes, titles, strict=False):
        axes.set_title(title, loc="left", fontsize=10)
    kinds = [kind for kind in LOOKS if (table.kind == kind).any()]
    figure.legend(
        handles=[mark(kind) for kind in kinds], loc="lower center", ncols=len(kinds), frameon=False, fontsize=9
    )
    return figure


def mark(kind: str) -> Line2D:
    """Return the legend's mark of a kind."""
    colour, shape = LOOKS[kind]
    return Line2D([], [], color=colour, marker=shape, linestyle="", markeredgecolor=INK, label=kind)


def find_top1_bounds(table: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of the axis of top-1, with room below for those that have none."""
    if table.published_top1.isna().all():
        return 0.0, 100.0
    low, high = table.published_top1.min(), table.published_top1.max()
    pad = max(0.07 * (high - low), 0.5)
    return low - (2 if table.published_top1.isna().any() else 1) * pad, high + pad


def draw_panel(axes: Axes, table: pd.DataFrame, panel: Panel, bounds: tuple[float, float]) -> None:
    """Draw the backbones of the table, each with its name beside it."""
    decades = np.log10(table[panel.column].to_numpy(np.float64))
    pad = max(0.12 * (decades.max() - decades.min()), 0.1)
    low, high = decades.min() - pad, decades.max() + pad
    axes.set_xlim(*((high, low) if panel.reversed else (low, high)))
    axes.set_ylim(*bounds)
    ticks = choose_ticks(low, high)
    axes.set_xticks(ticks, [format_number(10**tick, panel.unit) for tick in ticks])
    axes.set_xlabel(panel.label)
    x = (high - decades if panel.reversed else decades - low) / (high - low)
    y = (table.published_top1.to_numpy(np.float64) - bounds[0]) / (bounds[1] - bounds[0])
    at = np.column_stack([x, np.where(np.isnan(y), FOOT, y)])
    for place, kind, top1 in zip(at, table.kind, y, strict=True):
        colour, shape = LOOKS[kind]
        face = "white" if np.isnan(top1) else colour
        axes.plot(
            *place, shape, color=face, markersize=MARK_PT, markeredgecolor=colour if np.isnan(top1) else INK,
            transform=axes.transAxes,
        )  # fmt: skip
    label(axes, at, write_names(table, with_years=not panel.reversed))


def choose_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between the ends, in decades: 1 and 3 of each, or finer where the axis is short."""
    for multiples in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 6, 8)):
        found = [np.log10(multiple) + power for power in range(int(low) - 1, int(high) + 2) for multiple in multiples]
        ticks = [tick for tick in found if low <= tick <= high]
        if len(ticks) >= 3:
            break
    return ticks


def write_names(table: pd.DataFrame, *, with_years: bool) -> list[str]:
    """Return what stands beside each mark."""
    lines = []
    for name, year, top1 in zip(table.backbone, table.year, table.published_top1, strict=True):
        line = f"{name}, {year}" if with_years else str(name)
        lines.append(f"{line} (no top-1)" if pd.isna(top1) else line)
    return lines


def label(axes: Axes, at: np.ndarray, lines: Sequence[str]) -> None:
    """Write each line beside its mark, where it covers neither a mark nor another line."""
    inches = np.array(PANEL)
    for place, line, (side, level) in zip(at, lines, find_free_places(at * 72 * inches, lines), strict=True):
        across = {"left": GAP, "right": -GAP, "center": 0}[side]
        up = {"center": 0.0, "bottom": 0.6 * GAP, "top": -0.6 * GAP}[level]
        axes.annotate(
            line, xy=(place[0], place[1]), xycoords="axes fraction", xytext=(across, up), textcoords="offset points",
            ha=side, va=level, fontsize=LABEL_PT, color=GREY if "(" in line else INK,
        )  # fmt: skip


def find_free_places(at: np.ndarray, lines: Sequence[str]) -> list[tuple[str, str]]:
    """Return for each line that of PLACES around its mark at which it covers least; marks stand at `at`, in points."""
    taken = [(x - MARK_PT / 2, y - MARK_PT / 2, MARK_PT, MARK_PT) for x, y in at]
    chosen = []
    for (x, y), line in zip(at, lines, strict=True):
        boxes = {place: make_box(x, y, line, *place) for place in PLACES}
        costs = [measure_outside(box) + sum(measure_cover(box, other) for other in taken) for box in boxes.values()]
        chosen.append(PLACES[int(np.argmin(np.round(costs, 3)))])  # nothing covered is 0 up to rounding
        taken.append(boxes[chosen[-1]])
    return chosen


def make_box(x: float, y: float, line: str, side: str, level: str) -> Box:
    """Return where the line stands when it is so aligned beside the mark."""
    width, height = measure_width(line, LABEL_PT), 1.25 * LABEL_PT
    left = {"left": x + GAP, "right": x - GAP - width, "center": x - width / 2}[side]
    bottom = {"center": y - height / 2, "bottom": y + 0.6 * GAP, "top": y - 0.6 * GAP - height}[level]
    return left, bottom, width, height


def measure_cover(box: Box, other: Box) -> float:
    """Return the area that both boxes share."""
    sides = [min(box[i] + box[i + 2], other[i] + other[i + 2]) - max(box[i], other[i]) for i in (0, 1)]
    return max(sides[0], 0) * max(sides[1], 0)


def measure_outside(box: Box) -> float:
    """Return the area of the box that lies beyond the panel."""
    return box[2] * box[3] - measure_cover(box, (0, 0, PANEL[0] * 72, PANEL[1] * 72))
