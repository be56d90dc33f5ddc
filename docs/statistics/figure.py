"""The picture of calibration: stated probabilities against true shares, and real against stated shortfalls."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from frostline.plotting import COLOURS, GREY, INK

MARKS = "osD^vP*X"


def draw(table: pd.DataFrame) -> Figure:
    """Return the picture of the rows of calibration.csv."""
    figure = Figure(figsize=(9.2, 5.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, (design, rows) in enumerate(table.groupby("design", sort=False)):
        look = {"marker": MARKS[place % len(MARKS)], "color": COLOURS[place % len(COLOURS)], "markeredgecolor": INK}
        bins = rows[rows.measure.str.startswith("probability")]
        left.plot(bins.stated, bins.true, linewidth=1, label=str(design), **look)
        short = rows[rows.measure == "shortfall in points"]
        right.plot(short.stated, short.true, linestyle="none", markersize=8, **look)
    _draw_diagonal(left, 1.0)
    left.set_xlabel("stated: within 1 point of the best with probability")
    left.set_ylabel("true share of such plans")
    left.set_title("above the line: surer than it says", loc="left", fontsize=10)
    short = table[table.measure == "shortfall in points"]
    _draw_diagonal(right, 1.15 * float(short[["stated", "true"]].max().max()))
    right.set_xlabel("stated: the advised plan gives up, in points")
    right.set_ylabel("real: mean over the studies")
    right.set_title("below the line: it gives up less than it says", loc="left", fontsize=10)
    figure.suptitle("Stated certainty against the truth, in simulated studies", x=0.01, ha="left", fontsize=11)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _draw_diagonal(axes: Axes, most: float) -> None:
    axes.plot([0, most], [0, most], color=GREY, linewidth=1, linestyle="--", zorder=0)
    axes.set_xlim(0, 1.02 * most)
    axes.set_ylim(0, 1.02 * most)
    axes.set_aspect("equal")
