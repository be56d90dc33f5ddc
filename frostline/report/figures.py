"""The pictures of a study, drawn from its tables."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from frostline.plotting import COLOURS, GREY, INK, measure_width, shorten_text
from frostline.report.points import label_plans
from frostline.units import format_percent

LABEL_PT = 9.5
"""Size of the letters beside a matrix of many classes."""


def draw_curves(history: pd.DataFrame, plans: pd.DataFrame) -> Figure:
    """Draw the loss of each plan over its epochs, a line per replicate, at the learning rate that was kept.

    A bar across a line stands where a phase begins, but for the first.
    """
    columns = min(3, len(plans))
    rows = -(-len(plans) // columns)
    figure = Figure(figsize=(8, 2.6 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for index, (label, plan) in enumerate(zip(label_plans(plans), _list_rows(plans), strict=True)):
        axes = panels.flat[index]
        kept = history[(history.backbone == plan.backbone) & (history.plan == plan.plan) & history.chosen]
        for _, replicate in kept.groupby("replicate"):
            axes.plot(replicate.epoch, replicate.train_loss, color=GREY, linewidth=0.9, linestyle="--")
            axes.plot(replicate.epoch, replicate.val_loss, color=COLOURS[index % len(COLOURS)], linewidth=1.3)
            best = replicate.loc[replicate.val_loss.idxmin()]
            axes.plot(best.epoch, best.val_loss, "o", color=COLOURS[index % len(COLOURS)], markersize=4)
            begun = replicate[replicate.phase > replicate.phase.shift(fill_value=1)]
            axes.plot(begun.epoch, begun.val_loss, "|", color=INK, markersize=11)
        lines = [shorten_text(line, 150, 9) for line in (label, f"learning rate {plan.learning_rate}")]
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
        f"validation (solid, dot: epoch kept) and training (dashed), a line per replicate{bars}",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    return figure


def draw_confusion(counts: pd.DataFrame, label: str, replicates: int) -> Figure:
    """Draw a run's confusion matrix: shares of each true class, with counts of test images added up over replicates."""
    classes = list(dict.fromkeys(counts.actual))
    names = [shorten_text(name, 14 * LABEL_PT, LABEL_PT) for name in classes]
    pivot = counts.pivot_table(index="actual", columns="predicted", values="images", aggfunc="sum")
    table = pivot.reindex(index=classes, columns=classes).to_numpy(np.float64)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)  # a class may be missing from all tests
    side = max(3.6, 0.55 * len(classes) + 2)
    widest = max(measure_width(name, 10) for name in names) / 72
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
    name = shorten_text(label, 50 * side, 10)
    axes.set_title(
        f"{name}\ntest images of {replicates} {'replicate' if replicates == 1 else 'replicates'}",
        loc="left",
        fontsize=10,
    )
    figure.colorbar(shown, label="share of the true class", shrink=0.8)
    return figure


def _list_rows(table: pd.DataFrame) -> list[Any]:
    """Return the table's rows, whose cells are attributes."""
    return list(table.itertuples())
