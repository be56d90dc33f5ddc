"""Scores over a cost: each plan a point with its interval, drawn once, for paper, for a screen and for a phone."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

from frostline.plotting import GREY, INK, measure_width, shorten_text
from frostline.report.points import Point, View

WIDE_PT, NARROW_PT = 390.0, 186.0
"""How wide the axes are, in points: on paper and a screen, where labels stand beside them, and on a phone."""
LABEL_PT = 9.5
"""Size of the letters beside the points."""
LABEL_GAP_PT = 11.0
"""Least distance of a label to the points."""
POINT_GAP_PT = 17.0
"""Least distance between two points: what a finger hits."""
FOCUS = "#0b5fa5"
"""The colour of what is in focus, here and in report.css."""
LEAST_DECADES = float(np.log10(2))
"""A cost's axis spans at least a factor of two: costs that are nearly equal look nearly equal."""
MULTIPLES = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 4, 5, 6, 8),
    (1, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2, 2.3, 2.6, 3, 3.5, 4, 5, 6, 7, 8, 9),
)


@dataclass(frozen=True)
class CostAxis:
    """What a cost's axis shows, in decades: from `low` to `high`, with ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, decades: Any) -> Any:
        """Return where the costs lie on the axis, from 0 to 1."""
        return (np.asarray(decades, np.float64) - self.low) / (self.high - self.low)


def draw_tradeoff(view: View, title: str, *, narrow: bool = False) -> Figure:
    """Draw what the view is of over a cost: each plan's score, its 95 % interval and its single replicates.

    The fuller a mark, the likelier its plan is what the view asks for; a ring says that it is likelier than not, and
    the label says how likely. Deep plans crowd to the right, so that labels stand in one column there, each led to its
    point; a point with room beside it has its label there. A narrow picture has them in a list below it.
    """
    points, width_pt = view.points, NARROW_PT if narrow else WIDE_PT
    height = 3.8 if narrow else max(4.4, 0.44 * len(points) + 1.8)
    figure = Figure(figsize=(3.4 if narrow else 8, height))
    axes = figure.add_axes((0.1, 0.6 / height, width_pt / 72 / figure.get_figwidth(), 1 - 1 / height))
    axis = span_costs(points)
    axes.set_xlim(axis.low, axis.high)
    axes.set_ylim(*_span_scores(view))
    ticks = _thin_out([(tick, view.format_cost(10**tick)) for tick in axis.ticks], width_pt / (axis.high - axis.low))
    axes.set_xticks([tick for tick, _ in ticks], [label for _, label in ticks])
    aside = "log scale" if narrow else "log scale; plans of nearly equal cost stand side by side"
    axes.set_xlabel(f"{view.narrow_cost if narrow else view.cost} ({aside})")
    axes.set_ylabel(view.score)
    axes.set_title(shorten_text(title, 1.1 * width_pt, 10), loc="left", fontsize=10)
    if view.margin is not None:
        axes.axhspan(-view.margin, view.margin, color=GREY, alpha=0.14, linewidth=0)
        axes.axhline(0, color=GREY, linewidth=0.8)
    gap = POINT_GAP_PT / width_pt
    shares = spread(axis.share(np.log10([point.cost for point in points])), gap, gap / 2, 1 - gap / 2)
    for index, (point, share) in enumerate(zip(points, shares, strict=True)):
        _draw_point(axes, point, axis.low + share * (axis.high - axis.low), f"point-{index}")
    if narrow:
        _list_labels(axes, points)
    else:
        _place_labels(axes, points, shares, 72 * (height - 1))
    return figure


def _draw_point(axes: Axes, point: Point, x: float, name: str) -> None:
    """Draw the point in parts whose ids in an SVG begin with its name. Two of them are not seen.

    `reach` is where a pointer meets the point, and `focus` a ring for the page to show.
    """
    axes.vlines(x, point.low, point.high, linewidth=POINT_GAP_PT, alpha=0, gid=f"{name}-reach")
    axes.vlines(x, point.low, point.high, color=point.colour, linewidth=1.8, gid=f"{name}-interval")
    places = np.full(len(point.replicates), x)
    axes.plot(places, point.replicates, "_", color=point.colour, markersize=8, alpha=0.8, gid=f"{name}-replicates")
    mark = _make_mark(point, [x], [point.score])
    mark.set_gid(f"{name}-mark")
    rings: list[dict[str, Any]] = [{"markersize": 21, "markeredgecolor": FOCUS, "alpha": 0, "gid": f"{name}-focus"}]
    if point.strength >= 0.5:
        rings.append({"markersize": 15, "markeredgecolor": INK, "gid": f"{name}-ring"})
    for ring in reversed(rings):
        axes.plot(x, point.score, "o", markerfacecolor="none", clip_on=False, **ring)
    axes.add_line(mark)


def _make_mark(point: Point, x: Sequence[float] = (), y: Sequence[float] = ()) -> Line2D:
    mark = Line2D(x, y, linestyle="none", marker=point.marker, markersize=8, markeredgecolor=INK, markeredgewidth=0.9)
    mark.set_markerfacecolor(fade(point.colour, point.strength))
    return mark


def fade(colour: str, strength: float) -> tuple[float, float, float]:
    """Return the colour mixed with white: white at strength 0, the colour itself at 1."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def _write_label(point: Point) -> str:
    """Return what stands beside the point, in two lines; a long name is shortened."""
    mark = f", {point.mark}" if point.mark else ""
    name = shorten_text(point.name, 15 * LABEL_PT, LABEL_PT)
    return f"{name}  {point.shown}\n{point.told}{mark}"


def _list_labels(axes: Axes, points: Sequence[Point]) -> None:
    """Put the labels below the axes, best first, each behind its mark."""
    best = sorted(points, key=lambda point: -point.score)
    listed = axes.legend(
        [_make_mark(point) for point in best],
        [_write_label(point) for point in best],
        loc="upper left",
        bbox_to_anchor=(0, -0.2),
        borderaxespad=0,
        fontsize=LABEL_PT,
        frameon=False,
        labelspacing=0.8,
    )
    for text, point in zip(listed.get_texts(), best, strict=True):
        text.set_fontweight("bold" if point.mark else "normal")


def _place_labels(axes: Axes, points: Sequence[Point], shares: np.ndarray, height_pt: float) -> None:
    """Put the labels beside the points, or in columns right of those that stand together."""
    low, high = axes.get_ylim()
    stand = np.column_stack([shares, [(point.score - low) / (high - low) for point in points]])
    labels = [_write_label(point) for point in points]
    widths = [
        (2 * LABEL_GAP_PT + max(measure_width(line, LABEL_PT, bold=bool(point.mark)) for line in label.split("\n")))
        / WIDE_PT
        for point, label in zip(points, labels, strict=True)
    ]
    begin = begin_columns(shares, np.array(widths))
    at = stand.copy()
    for column in np.unique(begin):
        its = begin == column
        at[its, 0] = column + LABEL_GAP_PT / WIDE_PT
        at[its, 1] = spread(stand[its, 1], 2.9 * LABEL_PT / height_pt, 0, 1)
    for index, (point, label) in enumerate(zip(points, labels, strict=True)):
        led = np.hypot(*(at[index] - stand[index])) > 1.5 * LABEL_GAP_PT / WIDE_PT
        line = {"arrowstyle": "-", "color": point.colour, "linewidth": 0.6, "alpha": 0.7, "shrinkB": 8}
        axes.annotate(
            label,
            xy=stand[index],
            xytext=at[index],
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=LABEL_PT,
            fontweight="bold" if point.mark else "normal",
            annotation_clip=False,
            arrowprops={**line, "relpos": (0, 0.5)} if led else None,
        )


def span_costs(points: Sequence[Point]) -> CostAxis:
    """Return the axis that holds every cost, with few ticks at round multiples."""
    decades = np.log10([point.cost for point in points])
    span = max(decades.max() - decades.min(), LEAST_DECADES)
    middle = (decades.max() + decades.min()) / 2
    low, high = middle - 0.57 * span, middle + 0.57 * span
    for multiples in MULTIPLES:
        found = np.log10([m * 10.0**power for power in range(int(low) - 1, int(high) + 2) for m in multiples])
        ticks = found[(found >= low) & (found <= high)]
        if len(ticks) >= 3:
            break
    return CostAxis(low, high, tuple(ticks[:: -(-len(ticks) // 5)]))


def _span_scores(view: View) -> tuple[float, float]:
    """Return limits that hold every interval, every replicate, and the margin about 0 where there is one."""
    shown = [value for point in view.points for value in (point.low, point.high, *point.replicates)]
    shown += [] if view.margin is None else [-view.margin, view.margin]
    pad = max(0.06 * (max(shown) - min(shown)), 0.004 * view.unit)
    return min(shown) - pad, max(shown) + pad


def _thin_out(ticks: list[tuple[float, str]], decade_pt: float) -> list[tuple[float, str]]:
    """Return all ticks, or every second and so on, so that their labels do not meet."""
    for step in range(1, len(ticks)):
        kept = ticks[::step]
        widths = [measure_width(label, 10) for _, label in kept]
        room = [decade_pt * (after - before) for (before, _), (after, _) in pairwise(kept)]
        if all((a + b) / 2 + 4 < gap for (a, b), gap in zip(pairwise(widths), room, strict=True)):
            return kept
    return ticks[:1]


def begin_columns(x: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return for each point where the column that holds its label begins; 1 is the end of the axis.

    Points that stand together have one column, right behind the last of them, where the widest of their labels has
    room before the next point. So no line from a point to its label crosses the label of another column.
    """
    order = np.argsort(x, kind="stable")
    begin = np.ones(len(x))
    group: list[int] = []
    for index, following in zip(order, [*x[order[1:]], 1.0], strict=True):
        group.append(index)
        if x[index] + widths[group].max() <= following:
            begin[group] = x[index]
            group = []
    return begin


def spread(values: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Return the values moved apart to at least `gap`, in their order, as little as they need (least squares).

    They stay between `low` and `high`; where these leave too little room for the gap, they share it evenly.
    """
    order = np.argsort(values, kind="stable")
    gap = min(gap, (high - low) / max(len(values) - 1, 1))
    steps = gap * np.arange(len(values))
    placed = isotonic_regression(values[order] - steps).x if len(values) > 1 else values
    result = np.empty(len(values))
    result[order] = np.clip(placed, low, high - steps.max(initial=0)) + steps
    return result
