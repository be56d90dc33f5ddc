"""What the pages' tables and sentences say in each language, and how numbers are written in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from frostline.units import typeset_points
from tools.english import ENGLISH
from tools.spanish import SPANISH

NARROW = "\N{NO-BREAK SPACE}"
"""Between thousands in Spanish, from five digits on."""


@dataclass(frozen=True)
class Words:
    """A language: its code, and its sentences by name, with {places} for what a study found."""

    language: str
    sentences: Mapping[str, str]

    def say(self, name: str, **found: str) -> str:
        """Return the sentence with what was found."""
        return self.sentences[name].format(**found)

    def columns(self, *names: str) -> tuple[str, ...]:
        """Return the headings of a table."""
        return tuple(self.sentences[name] for name in names)

    def number(self, english: str) -> str:
        """Return a number, written as in English, as the language writes it; units and signs stay."""
        if self.language == "en":
            return english
        return re.sub(r"\d[\d,]*(\.\d+)?", lambda found: spanish_number(found[0]), english)

    def points(self, estimate: float, low: float, high: float) -> str:
        """Return a difference of accuracies in points, and its interval."""
        told = [self.number(typeset_points(value)) for value in (estimate, low, high)]
        return self.say("points", estimate=told[0], low=told[1], high=told[2])

    def accuracy(self, estimate: float, low: float, high: float) -> str:
        """Return an accuracy and its interval."""
        return self.number(f"{estimate:.3f} ({low:.3f}\N{EN DASH}{high:.3f})")

    def where_zero_lies(self, low: float, high: float) -> str:
        """Return in words whether the interval holds 0, or on which side of it it lies."""
        return self.sentences["below_zero" if high < 0 else "above_zero" if low > 0 else "holds_zero"]

    def higher(self, difference: float) -> str:
        """Return "higher", "lower" or "as high", for a difference."""
        return self.sentences["higher" if difference > 0 else "lower" if difference < 0 else "same"]


def spanish_number(english: str) -> str:
    """Return a number such as 26,240.5 with a decimal comma, and spaces between thousands from five digits on."""
    whole, point, decimals = english.partition(".")
    digits = whole.replace(",", "")
    grouped = f"{int(digits):,}".replace(",", NARROW) if len(digits) > 4 else digits
    return f"{grouped},{decimals}" if point else grouped


LANGUAGES = {"en": Words("en", ENGLISH), "es": Words("es", SPANISH)}
"""The languages in which there are pages, by the names of their folders."""
