"""Sentences: advice, and the rule of thumb beside it, as a person reads them."""

from collections.abc import Sequence
from typing import Any

from stages.advice import Choice, Needed, Study, cheapest_open, choose, not_worse, what_it_takes
from stages.intervals import Interval

COST_WORDS = {
    "trainable_parameters": "trainable parameters",
    "train_flops": "training FLOPs",
    "train_seconds": "training seconds",
    "peak_memory_bytes": "peak memory",
}
HEAD_BELOW, LAST_PARTS_UP_TO = 1_000, 10_000
"""Training images at which the rule of thumb changes its mind."""


def advise(study: Study) -> dict[str, Any]:
    """Return what advice.json tells but for the names of backbone and plan: `run` and `against` are places."""
    choice = choose(study)
    alone = len(study.options) == 1
    found = None if alone else study.test.difference(choice.run, choice.against)
    shown = choice.good_enough and not alone and not_worse(study.test, choice.run, study)
    sentences, needed = _words(study, choice, found, shown=shown)
    return {
        "run": choice.run,
        "against": choice.against,
        "cost": study.cost,
        "margin": 100 * study.margin,
        "status": "shown" if shown else "unconfirmed" if choice.good_enough else "open",
        "shown": shown,
        "cost_ratio": _ratio(study, choice.run)[0],
        "difference": found.estimate if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "seeds_needed": needed.seeds,
        "images_needed": needed.images,
        "sentences": sentences,
        "rule_of_thumb": rule_of_thumb(study, choice.run if shown else None),
    }


def _words(study: Study, choice: Choice, found: Interval | None, *, shown: bool) -> tuple[list[str], Needed]:
    """Return the advice in two sentences, and what it would take to settle what they leave open."""
    chosen, margin = study.options[choice.run], points(study.margin, signed=False)
    if found is None:
        return [f"There is one plan, {chosen.named}.", "With nothing beside it there is nothing to advise."], Needed(
            None, None
        )
    other = study.options[choice.against].named
    priced = _ratio(study, choice.run)[1]
    if shown:
        said = f"It {priced} and is not worse than {other} by more than {margin} ({told(found)})."
        return [f"{chosen.depth[0].upper()}{chosen.depth[1:]}.", said], Needed(None, None)
    if choice.good_enough:
        needed = what_it_takes(study, study.test.difference(choice.run, choice.against))
        first = f"Validation says: {chosen.depth}, which is not worse than any other plan by more than {margin}."
        second = f"It {priced}, but test does not settle it ({told(found)} against {other}); {_in_words(needed, study)}"
        return [first, second], needed
    return _left_open(study, choice)


def _left_open(study: Study, choice: Choice) -> tuple[list[str], Needed]:
    """Return what to say when validation shows no plan to be good enough."""
    best, cheapest = choice.run, cheapest_open(study, choice)
    against = choice.against if cheapest == best else best
    open_ = study.validation.difference(cheapest, against)
    needed, margin = what_it_takes(study, open_), points(study.margin, signed=False)
    leader, named, priced = study.options[best].named, study.options[cheapest].named, _ratio(study, cheapest)[1]
    subject = f"It {priced}" if cheapest == best else f"The cheapest plan that may do is {named}, which {priced}"
    held = f"on validation, against {study.options[against].named}: {told(open_)}"
    return [
        f"The data cannot tell how deep to unfreeze to within {margin}; {leader} is best on validation.",
        f"{subject} ({held}); {_in_words(needed, study)}",
    ], needed


def _ratio(study: Study, run: int) -> tuple[float | None, str]:
    """Return what the run costs as a share of full fine-tuning, or of the dearest run where none is, and in words."""
    full = [option for option in study.options if option.learns == "all"]
    dearest = max(study.options, key=lambda option: option.cost)
    whole, name = (full[0], "full fine-tuning") if full else (dearest, dearest.named)
    ratio = study.options[run].cost / whole.cost
    if study.options[run] is whole:
        return ratio, f"is {name}" if full else "costs the most"
    digits = f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"
    return ratio, f"costs {digits} of {name}'s {COST_WORDS[study.cost]}"


def _in_words(needed: Needed, study: Study) -> str:
    ways = []
    if needed.seeds:
        more = needed.seeds - study.seeds
        ways.append(f"about {more:,} more seed{'' if more == 1 else 's'}")
    if needed.images:
        ways.append(f"about {needed.images:,} images instead of {study.images:,}")
    return f"{' or '.join(ways)} would tell." if ways else "more seeds or images of this kind would not tell."


def rule_of_thumb(study: Study, advised: int | None) -> dict[str, Any]:
    """Return what the rule of thumb says for so many training images, and whether the advised run agrees."""
    count = study.train_images
    says = "head" if count < HEAD_BELOW else "parts" if count <= LAST_PARTS_UP_TO else "all"
    words = {"head": "only the head", "parts": "the last parts", "all": "everything, at a low rate"}
    first = f"The rule of thumb for {count:,} training images: train {words[says]}"
    if advised is None:
        rest = "this study cannot tell whether that is right."
    elif study.options[advised].learns == says:
        rest = "this study agrees."
    elif says not in {option.learns for option in study.options}:
        rest = "no plan of this study does that."
    else:
        rest = f"this study says otherwise ({study.options[advised].named})."
    return {"train_images": count, "says": words[says], "sentence": f"{first}; {rest}"}


def points(share: float, *, signed: bool = True) -> str:
    """Return a difference of accuracies in points, such as "-0.2" or, unsigned, "1 point"."""
    value = 100 * share
    if signed:
        return f"{value:+.1f}" if round(value, 1) else "0.0"
    return f"{value:g} point{'' if value == 1 else 's'}"


def told(found: Interval) -> str:
    """Return a difference and its interval in words, in accuracy points."""
    ends = " to ".join(points(end) for end in (found.low, found.high))
    return f"difference {points(found.estimate)}, 95 % interval {ends}"


def learns_what(learned: Sequence[str], *, everything: bool, weights: str) -> str:
    """Return which of the rule of thumb's ways a run takes: "head", "parts", "all", or "scratch" of random weights."""
    if weights == "none":
        return "scratch"
    if everything:
        return "all"
    return "head" if list(learned) == ["head"] else "parts"
