"""The pictures of a study, drawn from its tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from frostline.plotting import COLOURS, GREY, INK, shortened, text_width
from frostline.report.points import Point, accuracy_axis, columns, cost_axis, label_lines, labels_of, places, spread
from frostline.units import COST_LABELS, format_cost, format_percent

MARKERS = {"circle": "o", "square": "s", "up": "^", "diamond": "D", "down": "v", "plus": "P", "cross": "X"}
WIDTH_PT = 390.0
"""How wide the axes of the tradeoff are, in points; labels stand outside, and saving trims what is left over."""
LABEL_GAP = 0.028
"""Least distance of a label to the points of the tradeoff, in widths of its axes."""
POINT_GAP = 0.043
"""Least distance between two points of the tradeoff, in widths of its axes."""
LABEL_PT = 9.5
"""Size of the letters beside the points of the tradeoff."""


def tradeoff(points: Sequence[Point], cost: str, title: str) -> Figure:
    """Draw test accuracy over one of COSTS: each plan's mean, its 95 % interval and its single seeds.

    The fuller a mark, the likelier its plan is on the Pareto front; a ring says that it is likelier than not, and the
    label says how likely. Deep plans crowd to the right, so that labels stand in one column there, each led to its
    point; a point with room beside it has its label there.
    """
    height = max(4.4, 0.44 * len(points) + 1.8)
    figure = Figure(figsize=(8, height))
    axes = figure.add_axes((0.1, 0.6 / height, WIDTH_PT / 72 / 8, 1 - 1 / height))
    across, up = cost_axis(points), accuracy_axis(points)
    axes.set_xlim(across.low, across.high)
    axes.set_ylim(up.low, up.high)
    axes.set_xticks(across.ticks, [format_cost(10**tick, cost) for tick in across.ticks])
    axes.set_yticks(up.ticks)
    axes.set_xlabel(f"{COST_LABELS[cost]} (log scale; plans of nearly equal cost stand side by side)")
    axes.set_ylabel("test accuracy, with its 95 % interval")
    axes.set_title(title, loc="left", fontsize=10)
    stand = places(points, POINT_GAP)
    for point, (x, _) in zip(points, stand, strict=True):
        _draw(axes, point, across.low + x * (across.high - across.low))
    _label(axes, points, stand, height)
    return figure


def _draw(axes: Axes, point: Point, x: float) -> None:
    axes.vlines(x, point.low, point.high, color=point.colour, linewidth=1.8)
    axes.plot(np.full(len(point.seeds), x), point.seeds, "_", color=point.colour, markersize=8, alpha=0.8)
    if point.front >= 0.5:
        axes.plot(x, point.accuracy, "o", markersize=15, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1)
    axes.plot(
        x,
        point.accuracy,
        MARKERS[point.shape],
        markersize=8,
        markerfacecolor=faded(point.colour, point.front),
        markeredgecolor=INK,
        markeredgewidth=0.9,
    )


def faded(colour: str, strength: float) -> tuple[float, ...]:
    """Return the colour mixed with white: white at strength 0, the colour itself at 1."""
    return tuple(1 - strength * (1 - part) for part in to_rgb(colour))


def _label(axes: Axes, points: Sequence[Point], stand: np.ndarray, height: float) -> None:
    lines = [label_lines(point, 18 * LABEL_PT, LABEL_PT) for point in points]
    widths = [
        0.05 + max(text_width(line, LABEL_PT, bold=bool(point.mark)) for line in each) / WIDTH_PT
        for point, each in zip(points, lines, strict=True)
    ]
    begin = columns(stand[:, 0], np.array(widths))
    at = stand.copy()
    for column in np.unique(begin):
        its = begin == column
        at[its, 0] = column + LABEL_GAP
        at[its, 1] = spread(stand[its, 1], 2.9 * LABEL_PT / (72 * (height - 1)), 0, 1)
    for index, point in enumerate(points):
        led = np.hypot(*(at[index] - stand[index])) > 1.5 * LABEL_GAP
        axes.annotate(
            "\n".join(lines[index]),
            xy=stand[index],
            xytext=at[index],
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=LABEL_PT,
            fontweight="bold" if point.mark else "normal",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": point.colour,
                "linewidth": 0.6,
                "alpha": 0.7,
                "shrinkB": 8,
                "relpos": (0, 0.5),
            }
            if led
            else None,
        )


def curves(history: pd.DataFrame, plans: pd.DataFrame) -> Figure:
    """Draw the loss of each plan over its epochs, a line per seed, at the learning rate that was kept.

    A bar across a line stands where a phase begins, but for the first.
    """
    columns = min(3, len(plans))
    rows = -(-len(plans) // columns)
    figure = Figure(figsize=(8, 2.6 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for index, (label, plan) in enumerate(zip(labels_of(plans), _rows(plans), strict=True)):
        axes = panels.flat[index]
        kept = history[(history.backbone == plan.backbone) & (history.plan == plan.plan) & history.chosen]
        for _, seed in kept.groupby("seed"):
            axes.plot(seed.epoch, seed.train_loss, color=GREY, linewidth=0.9, linestyle="--")
            axes.plot(seed.epoch, seed.val_loss, color=COLOURS[index % len(COLOURS)], linewidth=1.3)
            best = seed.loc[seed.val_loss.idxmin()]
            axes.plot(best.epoch, best.val_loss, "o", color=COLOURS[index % len(COLOURS)], markersize=4)
            begun = seed[seed.phase > seed.phase.shift(fill_value=1)]
            axes.plot(begun.epoch, begun.val_loss, "|", color=INK, markersize=11)
        lines = [shortened(line, 150, 9) for line in (label, f"learning rate {plan.learning_rate}")]
        axes.set_title("\n".join(lines), loc="left", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels.flat[len(plans) :]:
        axes.set_visible(False)
    for axes in panels.flat[max(0, len(plans) - columns) : len(plans)]:
        axes.tick_params(labelbottom=True)  # shared axes show numbers in the last row only, which may be short
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel("cross-entropy (nats)", fontsize=10)
    bars = "; bar: a phase begins" if history.phase.max() > 1 else ""
    figure.suptitle(
        f"validation (solid, dot: epoch kept) and training (dashed), a line per seed{bars}",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    return figure


def confusion(counts: pd.DataFrame, label: str, seeds: int) -> Figure:
    """Draw a run's confusion matrix: shares of each true class, with counts of test images added up over seeds."""
    classes = list(dict.fromkeys(counts.actual))
    names = [shortened(name, 14 * LABEL_PT, LABEL_PT) for name in classes]
    pivot = counts.pivot_table(index="actual", columns="predicted", values="images", aggfunc="sum")
    table = pivot.reindex(index=classes, columns=classes).to_numpy(np.float64)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)  # a class may be missing from all tests
    side = max(3.6, 0.55 * len(classes) + 2)
    widest = max(text_width(name, 10) for name in names) / 72
    room = max(widest - 0.8, 0)
    turned = widest > (side - 1.4) / len(classes)
    figure = Figure(figsize=(side + 0.6 + room, side + (widest if turned else 0)), layout="constrained")
    axes = figure.subplots()
    axes.grid(visible=False)
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(table.shape):
        text = f"{format_percent(shares[i, j])}\n{int(table[i, j]):,}" if len(classes) <= 6 else f"{int(table[i, j]):,}"
        colour = "white" if shares[i, j] > 0.55 else "black"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=10 if len(classes) <= 6 else 7)
    axes.set_xticks(range(len(classes)), names, rotation=90 if turned else 0)
    axes.set_yticks(range(len(classes)), names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    name = shortened(label, 60 * side, 10)
    axes.set_title(f"{name}\ntest images of {seeds} {'seed' if seeds == 1 else 'seeds'}", loc="left", fontsize=10)
    figure.colorbar(shown, label="share of the true class", shrink=0.8)
    return figure


def _rows(table: pd.DataFrame) -> list[Any]:
    """Return the table's rows, whose cells are attributes."""
    return list(table.itertuples())
