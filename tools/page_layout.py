"""What the pages are laid out of: a figure, a table and sentences, and how accuracies and differences are told."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tools.page_words import Words

Pair = tuple[float, float, float]
"""A difference in accuracy between two plans, and the bounds of its interval."""


def picture(words: Words, name: str, path: str, **found: str) -> str:
    """Return the picture at a path from the project's root, with what it shows in words."""
    return f"![{words.say(name, **found)}](../../{path})"


def at(name: str, value: str, place: str, words: Words) -> str:
    """Return a point of a picture in words."""
    return words.say("at", point=name, value=value, place=place)


def accuracy_of(plan: Mapping[Any, Any], words: Words) -> str:
    """Return a plan's test accuracy with its interval."""
    return words.accuracy(plan["accuracy"], plan["accuracy_low"], plan["accuracy_high"])


def difference(pairs: pd.DataFrame, plan: str, other: str) -> Pair:
    """Return how much more accurate the one plan is than the other, with its interval."""
    for pair in pairs.to_dict("records"):
        if (pair["plan"], pair["other_plan"]) == (plan, other):
            return pair["difference"], pair["low"], pair["high"]
        if (pair["plan"], pair["other_plan"]) == (other, plan):
            return -pair["difference"], -pair["high"], -pair["low"]
    raise ValueError(f"pairs.csv must hold {plan} and {other}. Got no such pair instead.")


def laid_out(figure: str, table: str, sentences: list[str]) -> str:
    """Return the figure, the table and the sentences, which are a list, with room between them."""
    return "\n\n".join(["", figure, table, "\n".join(f"- {sentence}" for sentence in sentences), ""]).strip()
