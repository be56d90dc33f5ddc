"""Lessons: what a study shows beside depth against cost, where it compares networks, shifts images, or has fewer."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from frostline.constants import PARTS
from frostline.plotting import COLOURS
from frostline.report.comparison import Comparison
from frostline.report.points import KEYS, label_plans
from frostline.units import format_number, format_percent

LINES = ("-", "--", "-.", ":")
MARKS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Lesson:
    """A picture of its own: what draws it, its name as a file, and what the report says above, of and below it."""

    name: str
    heading: str
    sentences: list[str]
    told: str
    caption: str
    draw: Callable[[], Figure]


def list_lessons(study: Comparison) -> list[Lesson]:
    """Return the lessons of the study, of which most have none."""
    found = []
    if study.plans.backbone.nunique() > 1:
        found.append(describe_losses(study))
    if len(study.shifted):
        found.append(describe_shifts(study))
    if study.study["sizes"]:
        found.append(describe_sizes(study))
    return found


def describe_losses(study: Comparison) -> Lesson:
    """Return what several backbones made of the images that they were trained on."""
    kept = study.history[study.history.chosen]
    means = kept.groupby([*KEYS, "epoch"], sort=False).train_loss.mean().reset_index()
    lines = [
        (label, means[(means[KEYS] == plan).all(axis=1)])
        for label, plan in zip(label_plans(study.plans), study.plans[KEYS].to_numpy(), strict=True)
    ]
    told = "; ".join(f"{label} {its.train_loss.iloc[-1]:.3f} after {its.epoch.iloc[-1]} epochs" for label, its in lines)
    return Lesson(
        name="losses",
        heading="What each network learns of its training images",
        sentences=[],
        told=f"Training loss over epochs, a line for each network, means over replicates: {told}.",
        caption="Mean training loss over replicates, at the learning rate that was kept. A deeper network can compute "
        "all that a shallower one can; where it ends above it, not overfitting is in its way, but optimization.",
        draw=partial(draw_losses, lines),
    )


def draw_losses(lines: list[tuple[str, pd.DataFrame]]) -> Figure:
    """Draw the training loss of each network over its epochs, on a logarithmic axis."""
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes = figure.subplots()
    for index, (label, its) in enumerate(lines):
        axes.plot(its.epoch, its.train_loss, label=label, **_style_line(index), markevery=max(1, len(its) // 8))
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    _set_decimal_ticks(axes, np.concatenate([its.train_loss for _, its in lines]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("training cross-entropy (nats, log scale)")
    _name_lines(figure)
    return figure


def _set_decimal_ticks(axes: Axes, values: Any) -> None:
    """Set ticks at 1, 2 and 5 of each decade that the positive values span, written as decimals."""
    low, high = values.min(), values.max()
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [m * 10.0**power for power in decades for m in (1, 2, 5) if low * 0.8 <= m * 10.0**power <= high * 1.25]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


def describe_shifts(study: Comparison) -> Lesson:
    """Return what is left of each plan's accuracy where test images are moved by a few pixels."""
    lines = []
    for label, plan in zip(label_plans(study.plans), study.plans.to_dict("records"), strict=True):
        its = study.shifted[(study.shifted.backbone == plan["backbone"]) & (study.shifted.plan == plan["plan"])]
        lines.append((f"{label}, {format_number(plan['parameters'], '')} parameters", its))
    told = "; ".join(f"{label}: {_describe_accuracies(its.accuracy, its.shift_px, 'at')}" for label, its in lines)
    return Lesson(
        name="shifts",
        heading="What a shift of the image does",
        sentences=[],
        told=f"Test accuracy by the pixels by which the images are shifted. {told}.",
        caption=f"Test images moved left, right, up and down by so many of {study.study['image_px']} pixels, the edge "
        "repeated; means with their 95 % intervals. Nothing that they show has changed.",
        draw=partial(draw_shifts, lines),
    )


def _describe_accuracies(accuracies: Iterable[float], places: Iterable[float], at: str) -> str:
    """Return the accuracies in words, each with where it was found."""
    return ", ".join(
        f"{format_percent(share)} {at} {place:,.0f}" for share, place in zip(accuracies, places, strict=True)
    )


def draw_shifts(lines: list[tuple[str, pd.DataFrame]]) -> Figure:
    """Draw each plan's test accuracy, with its 95 % interval, over the shift in pixels."""
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes = figure.subplots()
    for index, (label, its) in enumerate(lines):
        _draw_line(axes, its.shift_px.to_numpy(float), its, label, index)
    axes.set_xticks(sorted(set(lines[0][1].shift_px)))
    axes.set_xlabel("shift of the test images (pixels)")
    axes.set_ylabel("test accuracy, with its 95 % interval")
    _name_lines(figure)
    return figure


def describe_sizes(study: Comparison) -> Lesson:
    """Return how each depth fares on more and fewer training images."""
    lines = []
    for (backbone, learns, weights), its in study.plans.groupby(["backbone", "learns", "weights"], sort=False):
        depth = _label_depth(str(learns), str(weights))
        several = study.plans.backbone.nunique() > 1
        lines.append((f"{backbone} {depth}" if several else depth, its.sort_values("train_images")))
    told = "; ".join(f"{label}: {_describe_accuracies(its.accuracy, its.train_images, 'on')}" for label, its in lines)
    return Lesson(
        name="sizes",
        heading="Which depth for how many images",
        sentences=[size["sentence"] for size in study.study["sizes"]],
        told=f"Test accuracy by training images. {told}.",
        caption="Test accuracy with its 95 % interval over the images that were trained on. All test images are the "
        "same, and a smaller share of the training images is a part of a larger one.",
        draw=partial(draw_sizes, lines),
    )


def _label_depth(learns: str, weights: str) -> str:
    """Return what a depth is called in the picture."""
    if weights == "none":
        return "scratch"
    if learns.split() == list(PARTS):
        return "all"
    return "head" if learns == "head" else f"from {learns.split()[0]}"


def draw_sizes(lines: list[tuple[str, pd.DataFrame]]) -> Figure:
    """Draw each depth's test accuracy, with its 95 % interval, over its training images on a logarithmic axis."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    for index, (label, its) in enumerate(lines):
        aside = 1 + 0.025 * (index - (len(lines) - 1) / 2)  # intervals that share a place would hide each other
        _draw_line(axes, its.train_images.to_numpy(float) * aside, its, label, index)
    ticks = sorted({round(images) for _, its in lines for images in its.train_images})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("training images (log scale)")
    axes.set_ylabel("test accuracy, with its 95 % interval")
    _name_lines(figure)
    return figure


def _name_lines(figure: Figure) -> None:
    """Name the lines above the axes, where they hide none."""
    figure.legend(loc="outside upper left", ncols=3, frameon=False)


def _draw_line(axes: Axes, x: np.ndarray, its: pd.DataFrame, label: str, index: int) -> None:
    style = _style_line(index)
    axes.plot(x, its.accuracy, label=label, **style)
    axes.vlines(x, its.accuracy_low, its.accuracy_high, color=style["color"], linewidth=1, alpha=0.7)


def _style_line(index: int) -> dict[str, Any]:
    """Return how the line of that place is drawn: in grey print lines and marks tell them apart."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index % len(LINES)],
        "marker": MARKS[index % len(MARKS)],
        "markersize": 5,
        "linewidth": 1.6,
    }
