"""The picture of drifting statistics: accuracy over epochs, and each head on either statistics, fold by fold."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from docs.drift.training import WAYS
from frostline.plotting import COLOURS, INK

LOOKS = {"held": (COLOURS[0], "-", "o"), "drifting": (COLOURS[1], "--", "s")}
"""Colour, line and mark of each way: grey print tells them apart."""
TOLD = {"held": "statistics held while it learned", "drifting": "statistics drifted while it learned"}
STATISTICS = {"loaded": "published", "drifted": "drifted"}
"""What those are called that the backbone came with, and those that it was left with."""


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Return the picture of what `drifting.compare_ways` returned for each fold."""
    figure = Figure(figsize=(8.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_curves(left, rows)
    draw_crossed(right, rows)
    figure.suptitle(
        "Only the head learns, and no frozen weight moves: what BatchNorm's statistics do",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def draw_curves(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the accuracy on validation after each epoch: a thin line for each fold, a thick one for their mean."""
    for way in WAYS:
        colour, line, mark = LOOKS[way]
        curves = np.array([row["curves"][way] for row in rows])
        epochs = np.arange(1, curves.shape[1] + 1)
        axes.plot(epochs, curves.T, line, color=colour, linewidth=0.7, alpha=0.5)
        axes.plot(epochs, curves.mean(0), line, color=colour, linewidth=2.2, marker=mark, label=f"head: {TOLD[way]}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy (thick: mean over folds)")
    axes.set_title("as it is trained", loc="left", fontsize=10)


def draw_crossed(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the test accuracy of each head on either statistics; a line joins what one fold's head comes to."""
    places: list[float] = []
    for way, begin in zip(WAYS, (0.0, 2.4), strict=True):
        colour, line, mark = LOOKS[way]
        where = [begin, begin + 1]
        found = np.array([[row[f"{way}_head_{name}_statistics"] for name in STATISTICS] for row in rows])
        axes.plot(where, found.T, line, color=colour, linewidth=0.7, alpha=0.5)
        axes.plot(
            where, found.mean(0), line, color=colour, linewidth=2.2, marker=mark, markersize=8, markeredgecolor=INK
        )
        places += where
    axes.set_xticks(places, [f"on {label}\nstatistics" for _ in WAYS for label in STATISTICS.values()])
    axes.set_xlim(-0.4, places[-1] + 0.4)
    axes.set_ylabel("test accuracy (thick: mean over folds)")
    axes.set_title("each head on either statistics", loc="left", fontsize=10)
