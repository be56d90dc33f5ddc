"""Sizes: which depth is best on how many training images, told of plans that are shown different shares of them."""

from typing import Any

from stages.advice import Option
from stages.intervals import Measured
from stages.sentences import RULE_WORDS, rule_for
from stages.units import points


def compare_sizes(
    runs: list[dict[str, Any]], options: list[Option], measured: dict[str, Measured]
) -> list[dict[str, Any]]:
    """Return an entry for each share of the training images, if there are several, from the smallest on.

    `runs` hold what run.json tells, `options` what they do. A sentence says which depth is best on validation with so
    many images, and how it stands on test to what the rule of thumb would take.
    """
    if not have_several_sizes(runs):
        return []
    told = []
    for percent in sorted({percent_of(run) for run in runs}):
        mine = [place for place, run in enumerate(runs) if percent_of(run) == percent]
        best = max(mine, key=lambda place: measured["validation"].figures[place]["accuracy"].estimate)
        seeds = runs[best]["seeds"].values()
        images = round(sum(each["train_images"] for each in seeds) / len(seeds))
        says = rule_for(images)
        ruled = next((place for place in mine if options[place].learns == says), None)
        beside = _beside(options, best, ruled, measured["test"])
        told.append({
            "percent": percent,
            "train_images": images,
            "backbone": runs[best]["backbone"],
            "plan": runs[best]["plan"],
            "learns": options[best].learns,
            "rule": says,
            "sentence": f"{images:,} images ({percent:g} %): {options[best].named} is best on validation. "
            f"The rule of thumb says {RULE_WORDS[says]}{beside}.",
        })  # fmt: skip
    return told


def percent_of(run: dict[str, Any]) -> float:
    """Return the share of the training images that the run was shown, in per cent."""
    return float(run["definition"].get("train_percent", 100))


def have_several_sizes(runs: list[dict[str, Any]]) -> bool:
    """Return whether the runs were shown different shares of the training images."""
    return len({percent_of(run) for run in runs}) > 1


def on_share(run: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """Return " (on 25 % of the training images)" or the like, where others were shown another share; else nothing."""
    return f" (on {percent_of(run):g} % of the training images)" if have_several_sizes(runs) else ""


def _beside(options: list[Option], best: int, ruled: int | None, test: Measured) -> str:
    if ruled is None:
        return ", which no plan does"
    if options[best].learns == options[ruled].learns:
        return " too"
    found = test.difference(ruled, best)
    told = f"{points(found.estimate)} points, 95 % interval {points(found.low)} to {points(found.high)}"
    return f": on test {options[ruled].named} is {told} from it"
