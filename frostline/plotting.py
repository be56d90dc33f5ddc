"""What all pictures share: palette, style, letters and how they are saved."""

import textwrap
import unicodedata
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

LETTER = 13.0
"""Size of the letters in the page's picture, in its pixels; report.css says the same."""
LINE = 17.0
"""Distance of two lines of them."""
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return about how wide the text is in letters of that size, in the same unit; rather more than less.

    The letters are those of DejaVu Sans, which is wider than what most machines show.
    """
    return size * sum(map(_letter_width, text)) * (1.13 if bold else 1.0)


def _letter_width(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.05
    if letter in "mwMW%@":
        return 0.99
    return 0.74 if letter.isupper() else 0.4 if letter in " .,:;'|iljI()" else 0.65


def shortened(text: str, width: float, size: float) -> str:
    """Return the text, or its beginning and its end around an ellipsis, so that it stays within the width."""
    kept = len(text)
    short = text
    while kept > 2 and text_width(short, size, bold=True) > width:
        kept -= 1
        short = text[: kept // 2].rstrip() + ELLIPSIS + text[-(kept - kept // 2) :].lstrip()
    return short


def wrapped(text: str, width: float, size: float) -> list[str]:
    """Return the text in lines that stay within the width, torn within a word where it must be."""
    letters = len(text)
    while letters > 1:
        lines = textwrap.wrap(text, letters, break_on_hyphens=False)
        widest = max(text_width(line, size) for line in lines)
        if widest <= width:
            return lines
        letters = min(letters - 1, int(letters * width / widest) + 1)
    return [text]


# Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow (too pale for lines). Shapes
# differ too, so that grey print will do; one that comes a second time has another colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# The salt and the missing date make two drawings of the same data the same bytes. A $ in a name begins no formula.
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "frostline",
    "text.parse_math": False,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
}
GREY = "#666666"
INK = "#1a1a1a"


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write the figure as SVG and as PNG."""
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
    figure.savefig(folder / f"{name}.png", dpi=144, bbox_inches="tight")


def styled() -> Any:
    """Return the context in which the pictures are drawn and saved."""
    return mpl.rc_context(STYLE)
