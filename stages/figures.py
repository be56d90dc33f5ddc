"""The pictures of a study, drawn from its tables."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow (too pale for lines). Shapes
# differ too, so that grey print will do.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SHAPES = ("o", "s", "^", "D", "v", "P", "X")

# The salt and the missing date make two drawings of the same data the same bytes.
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "frostline",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
}
GREY = "#666666"
LABEL_GAP = 0.075
"""Least distance between two labels of the tradeoff, in heights of its axes."""
POINT_GAP = 0.03
"""Least distance between two points of the tradeoff, in widths of its axes."""


def labels_of(plans: pd.DataFrame) -> list[str]:
    """Return what each plan is called in pictures: with its backbone where there are several."""
    if plans.backbone.nunique() == 1:
        return [str(plan) for plan in plans.plan]
    return [f"{backbone} {plan}" for backbone, plan in zip(plans.backbone, plans.plan, strict=True)]


def tradeoff(plans: pd.DataFrame, runs: pd.DataFrame, title: str) -> Figure:
    """Draw test accuracy over trainable parameters: each plan's mean, range over seeds and single seeds.

    Plans whose counts lie closer than their marks are wide stand side by side. Deep plans crowd to the right, so that
    labels stand in one column there, each led to its point; a point that stands alone has its label beside it.
    """
    figure = Figure(figsize=(8, max(4.2, 0.42 * len(plans) + 1.6)))
    axes = figure.subplots()
    axes.set_xscale("log")
    counts, low, high = (plans[name] for name in ("trainable_parameters", "accuracy_low", "accuracy_high"))
    axes.set_xlim(counts.min() / 2, counts.max() * 2)
    axes.set_ylim(low.min() - 0.012, high.max() + 0.012)
    axes.set_xlabel("trainable parameters (log scale; counts too close to tell apart stand side by side)")
    axes.set_ylabel("test accuracy")
    axes.set_title(title, loc="left", fontsize=10)
    points = _places(axes, plans)
    for index, plan in enumerate(_rows(plans)):
        colour, shape = COLOURS[index % len(COLOURS)], SHAPES[index % len(SHAPES)]
        place = 10 ** np.interp(points[index, 0], (0, 1), np.log10(axes.get_xlim()))
        seeds = runs[(runs.backbone == plan.backbone) & (runs.plan == plan.plan)].accuracy
        axes.vlines(place, plan.accuracy_low, plan.accuracy_high, color=colour, linewidth=1.6)
        axes.plot(np.full(len(seeds), place), seeds, "_", color=colour, markersize=9, alpha=0.7)
        size = 11 if plan.advised else 8
        axes.plot(place, plan.accuracy, shape, color=colour, markersize=size, markeredgecolor="white")
    _label(axes, plans, points)
    return figure


def _rows(table: pd.DataFrame) -> list[Any]:
    """Return the table's rows, whose cells are attributes."""
    return list(table.itertuples())


def _places(axes: Axes, plans: pd.DataFrame) -> np.ndarray:
    """Return where each plan's point stands (x, y), as shares of the axes."""
    (left, right), (bottom, top) = np.log10(axes.get_xlim()), axes.get_ylim()
    x = (np.log10(plans.trainable_parameters.to_numpy(np.float64)) - left) / (right - left)
    y = (plans.accuracy.to_numpy(np.float64) - bottom) / (top - bottom)
    return np.column_stack([spread(x, POINT_GAP), y])


def _label(axes: Axes, plans: pd.DataFrame, points: np.ndarray) -> None:
    alone = [x < 0.6 and not ((points[:, 0] > x) & (points[:, 0] < x + 0.3)).any() for x in points[:, 0]]
    beside = np.flatnonzero(alone)
    led = np.flatnonzero(~np.array(alone))
    heights = dict(zip(led, spread(points[led, 1], LABEL_GAP), strict=True))
    for index, (name, plan) in enumerate(zip(labels_of(plans), _rows(plans), strict=True)):
        colour = COLOURS[index % len(COLOURS)]
        axes.annotate(
            f"{name}  {plan.accuracy:.3f}{'  (advised)' if plan.advised else ''}",
            xy=points[index],
            xytext=points[index] + (0.025, 0) if index in beside else (1.04, heights[index]),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontweight="bold" if plan.advised else "normal",
            annotation_clip=False,
            arrowprops=None
            if index in beside
            else {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6, "shrinkB": 6},
        )


def spread(heights: np.ndarray, gap: float) -> np.ndarray:
    """Return the heights moved apart to at least `gap`, in their order, as little as they need."""
    order = np.argsort(heights, kind="stable")
    placed = heights[order].astype(float)
    for _ in range(200):  # each pass halves what is left of the worst overlap
        overlaps = gap - np.diff(placed)
        if (overlaps <= 1e-9).all():
            break
        for index in np.flatnonzero(overlaps > 0):
            overlap = max(gap - (placed[index + 1] - placed[index]), 0.0)
            placed[index] -= overlap / 2
            placed[index + 1] += overlap / 2
    result = np.empty_like(placed)
    result[order] = placed
    return result


def curves(history: pd.DataFrame, plans: pd.DataFrame) -> Figure:
    """Draw the loss of each plan over its epochs, a line per seed, at the learning rate that was kept."""
    columns = min(3, len(plans))
    rows = -(-len(plans) // columns)
    figure = Figure(figsize=(8, 2.5 * rows + 0.5))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for index, (label, plan) in enumerate(zip(labels_of(plans), _rows(plans), strict=True)):
        axes = panels.flat[index]
        kept = history[(history.backbone == plan.backbone) & (history.plan == plan.plan) & history.chosen]
        for _, seed in kept.groupby("seed"):
            axes.plot(seed.epoch, seed.train_loss, color=GREY, linewidth=0.9, linestyle="--")
            axes.plot(seed.epoch, seed.val_loss, color=COLOURS[index % len(COLOURS)], linewidth=1.3)
            best = seed.loc[seed.val_loss.idxmin()]
            axes.plot(best.epoch, best.val_loss, "o", color=COLOURS[index % len(COLOURS)], markersize=4)
        axes.set_title(f"{label}, learning rate {plan.learning_rate:g}", loc="left", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels.flat[len(plans) :]:
        axes.set_visible(False)
    for axes in panels.flat[max(0, len(plans) - columns) : len(plans)]:
        axes.tick_params(labelbottom=True)  # shared axes show numbers in the last row only, which may be short
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel("cross-entropy (nats)", fontsize=10)
    figure.suptitle(
        "validation (solid, dot: epoch kept) and training (dashed), a line per seed",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    return figure


def confusion(counts: pd.DataFrame, label: str, seeds: int) -> Figure:
    """Draw a run's confusion matrix: shares of each true class, with counts of test images added up over seeds."""
    classes = list(dict.fromkeys(counts.actual))
    pivot = counts.pivot_table(index="actual", columns="predicted", values="images", aggfunc="sum")
    table = pivot.reindex(index=classes, columns=classes).to_numpy(np.float64)
    shares = table / table.sum(axis=1, keepdims=True)
    side = max(3.6, 0.55 * len(classes) + 2)
    figure = Figure(figsize=(side + 0.6, side))
    axes = figure.subplots()
    axes.grid(visible=False)
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(table.shape):
        text = f"{shares[i, j]:.0%}\n{int(table[i, j]):,}" if len(classes) <= 6 else f"{int(table[i, j]):,}"
        colour = "white" if shares[i, j] > 0.55 else "black"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=10 if len(classes) <= 6 else 7)
    turned: dict[str, Any] = {"rotation": 90} if max(map(len, classes)) * len(classes) > 40 else {}
    axes.set_xticks(range(len(classes)), classes, **turned)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{label}: test images of {seeds} seeds", loc="left", fontsize=10)
    figure.colorbar(shown, label="share of the true class", shrink=0.8)
    return figure


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write the figure as SVG and as PNG."""
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
    figure.savefig(folder / f"{name}.png", dpi=144, bbox_inches="tight")


def styled() -> Any:
    """Return the context in which the pictures are drawn and saved."""
    return mpl.rc_context(STYLE)
