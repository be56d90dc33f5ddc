"""Sentences: advice, and the rule of thumb beside it, as a person reads them."""

from collections.abc import Sequence
from typing import Any

from frostline.stats.advice import (
    Choice,
    Needed,
    Study,
    choose,
    estimate_needed,
    find_cheapest_open,
    find_rival,
    is_not_worse,
)
from frostline.stats.intervals import Interval
from frostline.units import format_margin, format_points

COST_WORDS = {
    "trainable_parameters": "trainable parameters",
    "train_flops": "training FLOPs",
    "train_seconds": "training seconds",
    "peak_memory_bytes": "peak memory",
}
HEAD_BELOW, LAST_PARTS_UP_TO = 1_000, 10_000
"""Training images at which the rule of thumb changes its mind."""
RULE_WORDS = {"head": "only the head", "parts": "the last parts", "all": "everything, at a low rate"}
"""What the rule of thumb would train, in words."""


def advise(study: Study) -> dict[str, Any]:
    """Return what advice.json tells but for the names of backbone and plan: `run` and `against` are places."""
    choice, alone = choose(study), len(study.options) == 1
    good_enough = choice.good_enough and not alone
    borne_out = good_enough and is_not_worse(study.test, choice.run, study)
    shown = borne_out and study.seeds > 1
    against = choice.against if borne_out or not good_enough else find_rival(study.test, choice.run, study)
    found = None if alone else study.test.get_difference(choice.run, against)
    sentences, needed = _write_advice(study, choice, against, found, shown=shown)
    return {
        "run": choice.run,
        "against": against,
        "cost": study.cost,
        "margin": 100 * study.margin,
        "status": "shown" if shown else "unconfirmed" if good_enough else "open",
        "shown": shown,
        "cost_ratio": _write_ratio(study, choice.run)[0],
        "difference": found.estimate if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "seeds_needed": needed.seeds,
        "images_needed": needed.images,
        "sentences": sentences,
        "rule_of_thumb": apply_rule_of_thumb(study, choice.run if shown else None),
    }


def _write_advice(
    study: Study, choice: Choice, against: int, found: Interval | None, *, shown: bool
) -> tuple[list[str], Needed]:
    """Return the advice in two sentences, and what it would take to settle what they leave open."""
    chosen, nothing = study.options[choice.run], Needed(None, None)
    if found is None:
        return [f"There is one plan, {chosen.named}.", "With nothing beside it there is nothing to advise."], nothing
    if not choice.good_enough:
        return _write_left_open(study, choice)
    other, margin = study.options[against].named, format_margin(study.margin)
    priced, difference = _write_ratio(study, choice.run)[1], describe_difference(found, study.margin)
    if shown:
        said = f"It {priced} and is not worse than {other} by more than {margin} ({difference})."
        return [f"{chosen.depth[0].upper()}{chosen.depth[1:]}.", said], nothing
    if found.high < -study.margin:
        first = f"Validation chose to {chosen.depth}, but on test that is worse than {other} by more than {margin}."
        return [first, f"It {priced} ({difference}); this study advises no plan."], nothing
    first = f"On validation, to {chosen.depth} is not worse than any other plan by more than {margin}."
    if found.low >= -study.margin:
        luck = "one seed tells nothing of the luck of training, and more of them are needed"
        return [first, f"It {priced}, and test agrees ({difference} against {other}), but {luck}."], nothing
    needed = estimate_needed(study, found)
    second = f"It {priced}, but test does not settle it ({difference} against {other}); {_write_out(needed, study)}"
    return [first, second], needed


def _write_left_open(study: Study, choice: Choice) -> tuple[list[str], Needed]:
    """Return what to say when validation shows no plan to be good enough."""
    best, cheapest = choice.run, find_cheapest_open(study, choice)
    against = find_rival(study.validation, cheapest, study)
    open_ = study.validation.get_difference(cheapest, against)
    needed, margin = estimate_needed(study, open_), format_margin(study.margin)
    leader, named, priced = study.options[best].named, study.options[cheapest].named, _write_ratio(study, cheapest)[1]
    subject = f"It {priced}" if cheapest == best else f"The cheapest plan that may do is {named}, which {priced}"
    held = f"on validation, against {study.options[against].named}: {describe_difference(open_, study.margin)}"
    return [
        f"The data cannot tell {_write_question(study)} to within {margin}; {leader} is best on validation.",
        f"{subject} ({held}); {_write_out(needed, study)}",
    ], needed


def _write_question(study: Study) -> str:
    """Return what the study asks: from random weights nothing is unfrozen."""
    return "which of them to train" if _is_of_scratch(study) else "how deep to unfreeze"


def _is_of_scratch(study: Study) -> bool:
    return all(option.learns == "scratch" for option in study.options)


def _write_ratio(study: Study, run: int) -> tuple[float, str]:
    """Return what the run costs as a share of its backbone's full fine-tuning, or of the dearest run, and in words."""
    mine = study.options[run]
    fulls = [option for option in study.options if option.learns == "all" and option.backbone == mine.backbone]
    full = max(fulls, key=lambda option: option.cost, default=None)
    several = len({option.backbone for option in study.options}) > 1
    dearest = max(study.options, key=lambda option: option.cost)
    whole = full or dearest
    ratio = mine.cost / whole.cost
    if mine in fulls and ratio == 1:
        return ratio, "is full fine-tuning"
    if full is None and ratio == 1:
        alike = all(option.cost == mine.cost for option in study.options)
        return ratio, "costs as much as any other plan" if alike else "costs the most"
    name = dearest.named if full is None else f"full fine-tuning of {mine.backbone}" if several else "full fine-tuning"
    share = f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}" if ratio >= 0.01 else f"1/{1 / ratio:,.0f}"
    return ratio, f"costs {share} of {name}'s {COST_WORDS[study.cost]}"


def _write_out(needed: Needed, study: Study) -> str:
    ways = []
    if needed.seeds:
        more = needed.seeds - study.seeds
        ways.append(f"about {more:,} more seed{'' if more == 1 else 's'}")
    if needed.images:
        ways.append(f"about {needed.images:,} images instead of {study.images:,}")
    return f"{' or '.join(ways)} would tell." if ways else "neither more seeds nor more images alone would tell."


def apply_rule_of_thumb(study: Study, advised: int | None) -> dict[str, Any]:
    """Return what the rule of thumb says for so many training images, and whether the advised run agrees."""
    count = study.train_images
    says = find_rule(count)
    first = f"The rule of thumb for {count:,} training images: train {RULE_WORDS[says]}"
    if _is_of_scratch(study):
        rest = "it is about pretrained weights, and this study has none."
    elif study.several_sizes:
        rest = "the plans of this study are shown different shares of them, and each share is told by itself."
    elif advised is None:
        rest = "this study cannot tell whether that is right."
    elif study.options[advised].learns == says:
        rest = "this study agrees."
    elif says not in {option.learns for option in study.options}:
        rest = "no plan of this study does that."
    else:
        rest = f"this study says otherwise ({study.options[advised].named})."
    return {"train_images": count, "says": RULE_WORDS[says], "sentence": f"{first}; {rest}"}


def find_rule(count: int) -> str:
    """Return what the rule of thumb would train on so many images: "head", "parts" (the last ones) or "all"."""
    return "head" if count < HEAD_BELOW else "parts" if count <= LAST_PARTS_UP_TO else "all"


def describe_difference(found: Interval, margin: float) -> str:
    """Return a difference and its interval in words, in accuracy points: so many digits that the margin can be seen."""
    digits = 1 if abs(found.low + margin) >= 0.001 else 2
    ends = " to ".join(format_points(end, digits) for end in (found.low, found.high))
    return f"difference {format_points(found.estimate, digits)}, 95 % interval {ends}"


def classify_depth(learned: Sequence[str], *, everything: bool, deep_end: bool, weights: str) -> str:
    """Return which of the rule of thumb's ways a run takes: "head", "parts" (the last ones), "all", or neither.

    Neither is "scratch" of random weights, and "other" where what learns is not one piece up to the head.
    """
    if weights == "none":
        return "scratch"
    if everything:
        return "all"
    if not deep_end:
        return "other"
    return "head" if list(learned) == ["head"] else "parts"
