"""Sentences: advice, and the rule of thumb beside it, as a person reads them."""

from collections.abc import Sequence
from typing import Any

from frostline.stats.advice import Advised, Study, decide_study
from frostline.stats.measured import ADVISED_BY
from frostline.units import COST_LABELS, format_duration, format_percent, format_unsigned_points

METRIC_UNITS = {"nll": ("hundredth of a nat", "hundredths of a nat")}
"""What a hundredth of `advice.metric` is called, one and many; of the others it is a point."""
HEAD_BELOW, LAST_PARTS_UP_TO = 1_000, 10_000
"""Training images at which the rule of thumb changes its mind."""
RULE_WORDS = {"head": "only the head", "parts": "the last parts", "all": "everything, at a low rate"}
"""What the rule of thumb would train, in words."""


def advise(study: Study) -> dict[str, Any]:
    """Return what advice.json tells but for the names of backbone and plan: `plan` and `reference` are places.

    Shortfall, margin, resolution and the finest margin are in points, hundredths of the metric.
    """
    advised, reference = decide_study(study), find_reference(study)
    decision, alone = advised.decision, len(study.options) == 1
    needed = None if advised.repeats_needed is None else advised.repeats_needed - advised.repeats
    return {
        "plan": advised.plan,
        "reference": reference,
        "metric": study.metric,
        "cost": study.cost,
        "margin": 100 * study.margin,
        "advice": "one plan" if alone else decision.confidence,
        "probability": decision.probability,
        "expected_shortfall": 100 * decision.expected_shortfall,
        "resolution": 100 * decision.resolution,
        "finest_margin": 100 * advised.finest,
        "probabilities": [float(each) for each in decision.probabilities],
        "expected_shortfalls": [100 * float(each) for each in decision.shortfalls],
        "cost_ratio": _compare_cost(study, advised.plan)[0],
        "repeats": advised.repeats,
        "more_repeats": needed,
        "more_seconds": None if needed is None else needed * study.repeat_seconds,
        "after_choice": ADVISED_BY[study.metric][1] * advised.after_choice,
        "above_chance": {"estimate": advised.chance.estimate, "low": advised.chance.low, "high": advised.chance.high},
        "sentences": _write_advice(study, advised),
        "rule_of_thumb": apply_rule_of_thumb(study, advised),
    }


def find_reference(study: Study) -> int:
    """Return the plan that others are compared with: full fine-tuning, the dearest of several, or the dearest plan."""
    places = range(len(study.options))
    return max(places, key=lambda place: (study.options[place].learns == "all", study.options[place].cost))


def _write_advice(study: Study, advised: Advised) -> list[str]:
    """Return the advice in sentences: what to do, how sure that is, and what would make it surer."""
    option, decision = study.options[advised.plan], advised.decision
    if len(study.options) == 1:
        sentences = [f"There is one plan, {option.named}.", "With nothing beside it there is nothing to advise."]
        return sentences + _warn_of_chance(study, advised)
    gives_up = 100 * decision.expected_shortfall
    average = f"less than {_count(0.1, study)}" if gives_up < 0.05 else _count(gives_up, study)
    sure = "more than 99 %" if decision.probability > 0.995 else format_percent(decision.probability)
    return [
        f"{option.depth[0].upper()}{option.depth[1:]}.",
        f"{sure[0].upper()}{sure[1:]} sure that it is within {_count(100 * study.margin, study)} of the best, "
        f"{_compare_cost(study, advised.plan)[1]}; on average it gives up {average}.",
        *([] if advised.is_sure else [_tell_what_helps(study, advised)]),
        *_warn_of_chance(study, advised),
    ]


def _tell_what_helps(study: Study, advised: Advised) -> str:
    """Return what would make the advice sure, or what these images can settle at most."""
    now, finest = (_count(100 * margin, study) for margin in (advised.decision.resolution, advised.finest))
    if advised.repeats_needed is not None:
        more = advised.repeats_needed - advised.repeats
        took = format_duration(more * study.repeat_seconds)
        noun = "repeat" if more == 1 else "repeats"
        return f"To be sure, let it train {more} more {noun} (study.repeats: {advised.repeats_needed}, about {took})."
    reach = f"sure to within {now} now"
    if study.margin < advised.finest < advised.decision.resolution - 0.0005:
        reach += f", and to {finest} at best with more repeats"
    return f"To be surer takes more images: these make it {reach}."


def _warn_of_chance(study: Study, advised: Advised) -> list[str]:
    """Return a warning where nobody can say that the plan has learned anything."""
    if advised.chance.low > 0:
        return []
    above = _count(100 * advised.chance.estimate, study)
    return [
        f"Beware: it is not clearly better than always naming the commonest class (by {above}, 95 % interval "
        f"{100 * advised.chance.low:.1f} to {100 * advised.chance.high:.1f})."
    ]


def _count(points: float, study: Study) -> str:
    one, many = METRIC_UNITS.get(study.metric, ("point", "points"))
    told = format_unsigned_points(points)
    return f"{told} {one if told == '1' else many}"


def _is_of_scratch(study: Study) -> bool:
    return all(option.learns == "scratch" for option in study.options)


def _compare_cost(study: Study, plan: int) -> tuple[float, str]:
    """Return what the plan costs as a share of its backbone's full fine-tuning, or of the dearest plan."""
    mine = study.options[plan]
    fulls = [option for option in study.options if option.learns == "all" and option.backbone == mine.backbone]
    full = max(fulls, key=lambda option: option.cost, default=None)
    several = len({option.backbone for option in study.options}) > 1
    dearest = max(study.options, key=lambda option: option.cost)
    whole = full or dearest
    ratio, cost = mine.cost / whole.cost, COST_LABELS[study.cost]
    if mine in fulls and ratio == 1:
        return ratio, "and it is full fine-tuning"
    if full is None and ratio == 1:
        alike = all(option.cost == mine.cost for option in study.options)
        return ratio, f"at the same {cost} as any other" if alike else f"at the highest {cost} of all"
    name = dearest.named if full is None else f"full fine-tuning of {mine.backbone}" if several else "full fine-tuning"
    share = f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}" if ratio >= 0.01 else f"1/{1 / ratio:,.0f}"
    return ratio, f"at {share} of {name}'s {cost}"


def apply_rule_of_thumb(study: Study, advised: Advised) -> dict[str, Any]:
    """Return what the rule of thumb says for so many training images, and whether the advice agrees."""
    count = study.train_images
    says = find_rule(count)
    first = f"The rule of thumb for {count:,} training images: train {RULE_WORDS[says]}"
    option = study.options[advised.plan]
    if _is_of_scratch(study):
        rest = "it is about pretrained weights, and this study has none."
    elif study.several_sizes:
        rest = "the plans of this study are shown different shares of them, and each share is told by itself."
    elif option.learns == says:
        rest = "this study agrees." if advised.is_sure else "so does this study."
    elif says not in {each.learns for each in study.options}:
        rest = "no plan of this study does that."
    else:
        rest = f"this study {'says otherwise' if advised.is_sure else 'leans another way'} ({option.named})."
    return {"train_images": count, "says": RULE_WORDS[says], "sentence": f"{first}; {rest}"}


def find_rule(count: int) -> str:
    """Return what the rule of thumb would train on so many images: "head", "parts" (the last ones) or "all"."""
    return "head" if count < HEAD_BELOW else "parts" if count <= LAST_PARTS_UP_TO else "all"


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
