"""Views: what fewer augmented views of each image cost in accuracy, told of plans that differ in nothing else."""

from itertools import combinations
from typing import Any

from stages.intervals import Measured
from stages.units import points

DEPTH = ("from", "train", "phases", "weights")
"""What of a plan's definition says how deep it unfreezes, and what it starts from."""


def compare_views(runs: list[dict[str, Any]], measured: Measured) -> list[dict[str, Any]]:
    """Return an entry for every two runs that differ in their views alone, `plan` being the one that had fewer.

    `runs` hold what run.json tells; the sentence says the difference in accuracy, with its interval of 95 %.
    """
    several, told = len({run["backbone"] for run in runs}) > 1, []
    for pair in combinations(range(len(runs)), 2):
        few, many = sorted(pair, key=lambda place: runs[place]["definition"]["views"])
        one, other = runs[few], runs[many]
        if one["backbone"] != other["backbone"] or _but_views(one) != _but_views(other):
            continue
        views, other_views = one["definition"]["views"], other["definition"]["views"]
        if views == other_views:
            continue
        found = measured.difference(few, many)
        named = f"{one['backbone']} {one['plan']}" if several else one["plan"]
        sentence = (
            f"{in_views(views)} instead of {other_views} ({named} against {other['plan']}): "
            f"accuracy {points(found.estimate)} points (95 % interval {points(found.low)} to {points(found.high)})."
        )
        names = {"backbone": one["backbone"], "plan": one["plan"], "other_plan": other["plan"]}
        told.append({**names, "views": views, "other_views": other_views, "sentence": sentence})
    return told


def with_views(run: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """Return " with 1 view" or the like, where another of the runs unfreezes as deep with other views; else nothing."""
    mine = run["definition"]["views"]
    alike = [each for each in runs if each["backbone"] == run["backbone"] and _depth(each) == _depth(run)]
    return f" with {in_views(mine)}" if any(each["definition"]["views"] != mine for each in alike) else ""


def in_views(views: int) -> str:
    """Return so many views in words."""
    return f"{views} view{'' if views == 1 else 's'}"


def _but_views(run: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run["definition"].items() if name != "views"}


def _depth(run: dict[str, Any]) -> list[Any]:
    return [run["definition"].get(name) for name in DEPTH]
