"""Ablations: the same depth with and without views, and on shares of the training images."""

from itertools import combinations
from typing import Any

import numpy as np

from frostline.answer.decision import decide
from frostline.answer.estimator import Estimate
from frostline.stats.advice import Option
from frostline.stats.advice_text import RULE_WORDS, find_rule
from frostline.stats.measured import Measured
from frostline.units import format_margin, format_percent, format_points

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
        if one["backbone"] != other["backbone"] or _drop_views(one) != _drop_views(other):
            continue
        views, other_views = one["definition"]["views"], other["definition"]["views"]
        if views == other_views:
            continue
        found = measured.get_difference(few, many)
        named = f"{one['backbone']} {one['plan']}" if several else one["plan"]
        estimate, low, high = map(format_points, (found.estimate, found.low, found.high))
        sentence = (
            f"{format_views(views)} instead of {other_views} ({named} against {other['plan']}): "
            f"accuracy {estimate} points (95 % interval {low} to {high})."
        )
        names = {"backbone": one["backbone"], "plan": one["plan"], "other_plan": other["plan"]}
        told.append({**names, "views": views, "other_views": other_views, "sentence": sentence})
    return told


def describe_views(run: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """Return " with 1 view" or the like, where another of the runs unfreezes as deep with other views; else nothing."""
    mine = run["definition"]["views"]
    alike = [other for other in runs if other["backbone"] == run["backbone"] and _get_depth(other) == _get_depth(run)]
    return f" with {format_views(mine)}" if any(other["definition"]["views"] != mine for other in alike) else ""


def format_views(views: int) -> str:
    """Return so many views in words."""
    return f"{views} view{'' if views == 1 else 's'}"


def _drop_views(run: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run["definition"].items() if name != "views"}


def _get_depth(run: dict[str, Any]) -> list[Any]:
    return [run["definition"].get(name) for name in DEPTH]


def compare_sizes(
    runs: list[dict[str, Any]], options: list[Option], measured: Measured, found: Estimate, margin: float
) -> list[dict[str, Any]]:
    """Return an entry for each share of the training images, if there are several, from the smallest on.

    `runs` hold what run.json tells, `options` what they do, `found` what advice goes by. A sentence says which depth
    would be advised among those of the share, how sure that is, and how it stands to what the rule of thumb would take.
    """
    if not have_several_sizes(runs):
        return []
    told = []
    for percent in sorted({get_train_percent(run) for run in runs}):
        mine = [place for place, run in enumerate(runs) if get_train_percent(run) == percent]
        decision = decide(found.pick(mine), np.array([options[place].cost for place in mine]), margin)
        advised = mine[decision.plan]
        replicates = runs[advised]["replicates"].values()
        images = round(sum(score["train_images"] for score in replicates) / len(replicates))
        says = find_rule(images)
        ruled = next((place for place in mine if options[place].learns == says), None)
        beside = _find_beside(options, advised, ruled, measured)
        told.append({
            "percent": percent,
            "train_images": images,
            "backbone": runs[advised]["backbone"],
            "plan": runs[advised]["plan"],
            "learns": options[advised].learns,
            "probability": decision.probability,
            "expected_shortfall": 100 * decision.expected_shortfall,
            "rule": says,
            "sentence": f"{images:,} images ({percent:g} %): {options[advised].named}, "
            f"{format_percent(decision.probability)} sure that it is within {format_margin(margin)} of the best. "
            f"The rule of thumb says {RULE_WORDS[says]}{beside}.",
        })  # fmt: skip
    return told


def get_train_percent(run: dict[str, Any]) -> float:
    """Return the share of the training images that the run was shown, in per cent."""
    return float(run["definition"].get("train_percent", 100))


def have_several_sizes(runs: list[dict[str, Any]]) -> bool:
    """Return whether the runs were shown different shares of the training images."""
    return len({get_train_percent(run) for run in runs}) > 1


def describe_share(run: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """Return " (on 25 % of the training images)" or the like, where others were shown another share; else nothing."""
    return f" (on {get_train_percent(run):g} % of the training images)" if have_several_sizes(runs) else ""


def _find_beside(options: list[Option], advised: int, ruled: int | None, measured: Measured) -> str:
    if ruled is None:
        return ", which no plan does"
    if options[advised].learns == options[ruled].learns:
        return " too"
    found = measured.get_difference(ruled, advised)
    estimate, low, high = map(format_points, (found.estimate, found.low, found.high))
    return f": {options[ruled].named} is {estimate} points, 95 % interval {low} to {high} from it"
