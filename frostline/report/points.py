"""The points of accuracy against a cost: what each of them tells, and where it stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator
from scipy.optimize import isotonic_regression

from frostline.plotting import COLOURS, shortened
from frostline.units import format_percent

SHAPES = ("circle", "square", "up", "diamond", "down", "plus", "cross")
KEYS = ["backbone", "plan"]
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
class Point:
    """A plan in the picture: accuracies are shares, `front` is the probability that no plan beats it.

    `mark` says what is special about it ("advised"), and is empty for all plans but one.
    """

    name: str
    cost: float
    front: float
    accuracy: float
    low: float
    high: float
    seeds: tuple[float, ...]
    mark: str
    colour: str
    shape: str


@dataclass(frozen=True)
class Axis:
    """What an axis shows, from `low` to `high`, and where its ticks stand: decades where it shows a cost."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, values: Any) -> Any:
        """Return where the values lie on the axis, from 0 to 1."""
        return (np.asarray(values, np.float64) - self.low) / (self.high - self.low)


def labels_of(plans: pd.DataFrame) -> list[str]:
    """Return what each plan is called in pictures and tables: with its backbone where there are several.

    Where all backbones have the same one plan, the backbone alone tells them apart.
    """
    if plans.backbone.nunique() == 1:
        return [str(plan) for plan in plans.plan]
    if plans.plan.nunique() == 1:
        return [str(backbone) for backbone in plans.backbone]
    return [f"{backbone} {plan}" for backbone, plan in zip(plans.backbone, plans.plan, strict=True)]


def label_lines(point: Point, width: float, size: float) -> tuple[str, str]:
    """Return what stands beside the point, in two lines; its name stays within the width in letters of that size."""
    name, mark = shortened(point.name, width, size), f", {point.mark}" if point.mark else ""
    return f"{name}  {point.accuracy:.3f}", f"on front {format_percent(point.front)}{mark}"


def points_of(plans: pd.DataFrame, costs: pd.DataFrame, runs: pd.DataFrame, cost: str, mark: str) -> list[Point]:
    """Return a point per plan, in the order of the table, with its value of `cost`; `mark` is for the advised one."""
    charged = costs.set_index(KEYS)
    seeds = runs.groupby(KEYS).accuracy.agg(tuple)
    points = []
    for index, (name, plan) in enumerate(zip(labels_of(plans), plans.to_dict("records"), strict=True)):
        key = (plan["backbone"], plan["plan"])
        points.append(
            Point(
                name=name,
                cost=float(charged.loc[key, cost]),
                front=float(charged.loc[key, f"front_{cost}"]),
                accuracy=plan["accuracy"],
                low=plan["accuracy_low"],
                high=plan["accuracy_high"],
                seeds=seeds[key],
                mark=mark if plan["advised"] else "",
                colour=COLOURS[index % len(COLOURS)],
                shape=SHAPES[(index + index // len(COLOURS)) % len(SHAPES)],
            )
        )
    return points


def cost_axis(points: Sequence[Point]) -> Axis:
    """Return the axis of the points' costs, in decades."""
    decades = np.log10([point.cost for point in points])
    span = max(decades.max() - decades.min(), LEAST_DECADES)
    middle = (decades.max() + decades.min()) / 2
    low, high = middle - 0.57 * span, middle + 0.57 * span
    for multiples in MULTIPLES:
        found = np.log10([m * 10.0**power for power in range(int(low) - 1, int(high) + 2) for m in multiples])
        ticks = found[(found >= low) & (found <= high)]
        if len(ticks) >= 3:
            break
    return Axis(low, high, tuple(ticks[:: -(-len(ticks) // 5)]))


def accuracy_axis(points: Sequence[Point]) -> Axis:
    """Return the axis of the points' accuracies, which holds every interval and every seed."""
    shown = [value for point in points for value in (point.low, point.high, *point.seeds)]
    pad = max(0.06 * (max(shown) - min(shown)), 0.004)
    low, high = min(shown) - pad, max(shown) + pad
    ticks = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high))
    return Axis(low, high, tuple(ticks[(ticks >= low) & (ticks <= high)]))


def places(points: Sequence[Point], gap: float) -> np.ndarray:
    """Return where each point stands (x, y), as shares of the axes; costs closer than `gap` stand side by side."""
    x = cost_axis(points).share(np.log10([point.cost for point in points]))
    y = accuracy_axis(points).share([point.accuracy for point in points])
    return np.column_stack([spread(x, gap, gap / 2, 1 - gap / 2), y])


def columns(x: np.ndarray, widths: np.ndarray) -> np.ndarray:
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
