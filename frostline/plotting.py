"""What all pictures share: palette, style, how wide words are and how pictures are saved."""

from pathlib import Path
from typing import IO, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
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


def measure_width(text: str, size_pt: float, *, bold: bool = False) -> float:
    """Return how wide the text is, in points, in letters of that size."""
    font = FontProperties(size=size_pt, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width)


def shorten_text(text: str, width_pt: float, size_pt: float) -> str:
    """Return the text, or its beginning and its end around an ellipsis, so that it stays within the width in bold."""
    kept = len(text)
    short = text
    while kept > 2 and measure_width(short, size_pt, bold=True) > width_pt:
        kept -= 1
        short = text[: kept // 2].rstrip() + ELLIPSIS + text[-(kept - kept // 2) :].lstrip()
    return short


def use_style() -> Any:
    """Return the context in which pictures are drawn and saved."""
    return mpl.rc_context(STYLE)


def write_svg(figure: Figure, file: Path | IO[str]) -> None:
    """Write the figure as SVG, trimmed; two of the same data are the same bytes."""
    figure.savefig(file, format="svg", metadata={"Date": None}, bbox_inches="tight")


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write the figure as SVG and as PNG."""
    write_svg(figure, folder / f"{name}.svg")
    figure.savefig(folder / f"{name}.png", dpi=144, bbox_inches="tight")
