"""Points: what a picture shows of each plan over a cost, as a difference to full fine-tuning or as an accuracy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from frostline.plotting import COLOURS
from frostline.report.comparison import Comparison
from frostline.units import COST_LABELS, format_cost, format_margin, format_percent, typeset_points

KEYS = ["backbone", "plan"]
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Point:
    """A plan in a picture: its score with the interval of 95 % and that of each replicate, over its cost.

    `strength` is the probability that it is what the picture asks for, and `told` says so; `shown` is the score in
    words, and `lines` are all its numbers. `mark` says what is special about it, and is empty for all plans but one.
    """

    name: str
    cost: float
    strength: float
    score: float
    low: float
    high: float
    replicates: tuple[float, ...]
    shown: str
    told: str
    lines: tuple[str, ...]
    mark: str
    colour: str
    marker: str


@dataclass(frozen=True)
class View:
    """A picture of plans over a cost: what its axes are called, its points, and the margin about 0, if it has one.

    `unit` is what a score of 1 is on the axis: 100 points, or 1.
    """

    kind: str
    cost: str
    narrow_cost: str
    score: str
    points: list[Point]
    format_cost: Callable[[float], str]
    unit: float = 1.0
    margin: float | None = None


def label_plans(plans: pd.DataFrame) -> list[str]:
    """Return what each plan is called in pictures and tables: with its backbone where there are several.

    Where all backbones have the same one plan, the backbone alone tells them apart.
    """
    if plans.backbone.nunique() == 1:
        return [str(plan) for plan in plans.plan]
    if plans.plan.nunique() == 1:
        return [str(backbone) for backbone in plans.backbone]
    return [f"{backbone} {plan}" for backbone, plan in zip(plans.backbone, plans.plan, strict=True)]


def list_views(study: Comparison, cost: str) -> list[View]:
    """Return the pictures of the study over one of COSTS: differences first, where there is more than one plan."""
    return [*([view_differences(study, cost)] if len(study.plans) > 1 else []), view_accuracies(study, cost)]


def view_accuracies(study: Comparison, cost: str) -> View:
    """Return test accuracies over one of COSTS; a mark is as full as its plan is likely on the Pareto front."""
    replicates = study.runs.groupby(KEYS).accuracy.agg(tuple)
    points = []
    for plan, charged, common in _list_plans(study):
        front = float(charged[f"front_{cost}"])
        interval = plan["accuracy_low"], plan["accuracy_high"]
        told = f"accuracy {plan['accuracy']:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
        points.append(
            Point(
                cost=float(charged[cost]),
                strength=front,
                score=plan["accuracy"],
                low=interval[0],
                high=interval[1],
                replicates=replicates[plan["backbone"], plan["plan"]],
                shown=f"{plan['accuracy']:.3f}",
                told=f"on front {format_percent(front)}",
                lines=(told, _tell_cost(charged, cost), f"on the front: {format_percent(front)}"),
                **common,
            )
        )
    label = COST_LABELS[cost]
    score = "test accuracy, with its 95 % interval"
    return View("accuracy", label, label, score, points, lambda value: format_cost(value, cost))


def view_differences(study: Comparison, cost: str) -> View:
    """Return differences of accuracy, in points, to the plan that others are compared with, over the share of its cost.

    A mark is as full as its plan is likely within the margin of the best.
    """
    advice = study.advice
    reference = advice["reference_backbone"], advice["reference_plan"]
    whole = study.costs.set_index(KEYS).loc[reference]
    accuracies = study.runs.pivot(index="replicate", columns=KEYS, values="accuracy")
    apart = 100 * accuracies.sub(accuracies[reference], axis=0)
    within, name = format_margin(advice["margin"] / 100), name_reference(study)
    points = []
    for plan, charged, common in _list_plans(study):
        difference, low, high = (plan[f"difference{end}"] for end in ("", "_low", "_high"))
        key, probability = (plan["backbone"], plan["plan"]), plan["probability"]
        share = float(charged[cost]) / float(whole[cost])
        shown, *ends = map(typeset_points, (difference, low, high))
        told = "what others are compared with" if key == reference else f"difference {shown} ({ends[0]} to {ends[1]})"
        points.append(
            Point(
                cost=share,
                strength=probability,
                score=100 * difference,
                low=100 * low,
                high=100 * high,
                replicates=() if key == reference else tuple(apart[key].dropna()),
                shown=shown,
                told=f"within {within}: {format_percent(probability)}",
                lines=(
                    told,
                    f"{_tell_cost(charged, cost)}, {share:.2g} of {name}'s",
                    f"within {within} of the best: {format_percent(probability)}",
                ),
                **common,
            )
        )
    return View(
        "difference",
        f"share of {name}'s {COST_LABELS[cost]}",
        f"share of {COST_LABELS[cost]}",
        f"accuracy less that of {name} (points)",
        points,
        lambda value: f"{value:.3g}",
        unit=100.0,
        margin=advice["margin"],
    )


def name_reference(study: Comparison) -> str:
    """Return what the plan is called that others are compared with."""
    key = study.advice["reference_backbone"], study.advice["reference_plan"]
    place = next(place for place, its in enumerate(map(tuple, study.plans[KEYS].to_numpy())) if its == key)
    plan = study.plans.iloc[place]
    if plan.weights == "none" or plan.trainable_parameters != plan.parameters:
        return label_plans(study.plans)[place]
    return "full fine-tuning" + (f" of {key[0]}" if study.plans.backbone.nunique() > 1 else "")


def _list_plans(study: Comparison) -> list[tuple[dict[str, Any], "pd.Series[Any]", dict[str, Any]]]:
    """Return each plan's rows of plans.csv and costs.csv, and what its points have in common."""
    charged = study.costs.set_index(KEYS)
    listed = []
    for index, (name, plan) in enumerate(zip(label_plans(study.plans), study.plans.to_dict("records"), strict=True)):
        common = {
            "name": name,
            "mark": "advised" if plan["advised"] else "",
            "colour": COLOURS[index % len(COLOURS)],
            "marker": MARKERS[(index + index // len(COLOURS)) % len(MARKERS)],
        }
        named = {str(column): value for column, value in plan.items()}
        listed.append((named, charged.loc[(plan["backbone"], plan["plan"])], common))
    return listed


def _tell_cost(charged: "pd.Series[Any]", cost: str) -> str:
    return f"{COST_LABELS[cost]} {format_cost(float(charged[cost]), cost)}"
