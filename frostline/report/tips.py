"""What a point of the page tells when it is hovered, focused or touched, and to those who do not see it."""

from dataclasses import dataclass

import numpy as np

from frostline.plotting import LETTER, LINE, text_width, wrapped
from frostline.report.points import Point
from frostline.units import COST_LABELS, format_cost, format_percent


@dataclass(frozen=True)
class Tip:
    """What a point tells: a box of `width` and `height` with lines of text in it."""

    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]


def tip_of(point: Point, cost: str, place: tuple[float, float], size: tuple[float, float]) -> Tip:
    """Return the box, above the point where there is room and below it else, and always within the picture."""
    lines = [
        *wrapped(point.name, size[0] - 60, LETTER),
        f"accuracy {point.accuracy:.3f} ({point.low:.3f} to {point.high:.3f})",
        f"{COST_LABELS[cost]} {format_cost(point.cost, cost)}",
        f"on the front: {format_percent(point.front)}",
        *([point.mark] if point.mark else []),
    ]
    width = 20 + max(text_width(line, LETTER) for line in lines)
    height = 14 + LINE * len(lines)
    above = place[1] - height - 14
    y = above if above >= 2 else place[1] + 14
    return Tip(float(np.clip(place[0] - width / 2, 2, size[0] - width - 2)), y, width, height, tuple(lines))


def tell(point: Point, cost: str) -> str:
    """Return all numbers of a point in one sentence, for those who do not see it."""
    return (
        f"{point.name}{f', {point.mark}' if point.mark else ''}: accuracy {point.accuracy:.3f}, 95 % interval "
        f"{point.low:.3f} to {point.high:.3f}; {COST_LABELS[cost]} {format_cost(point.cost, cost)}; "
        f"probability of being on the front {format_percent(point.front)}."
    )
