"""Accuracy against a cost as it stands in the page: drawn for a screen or for a phone, each point a thing to focus.

Nothing here is drawn by a script: scatter.svg lays out what is placed here, and the page's style shows what a point
tells when it is hovered, focused or touched. The unit is the pixel of the picture at its full width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from frostline.plotting import LETTER, LINE, shortened, text_width
from frostline.report.points import Point, accuracy_axis, columns, cost_axis, label_lines, places, spread
from frostline.report.tips import Tip, tell, tip_of
from frostline.units import COST_LABELS, format_cost

ROW = 24.0
"""Distance of two rows of the list on a phone."""
POINT_GAP = 26.0
"""Least distance of two points: what a finger hits."""
LEFT, TOP, BOTTOM = 52.0, 14.0, 52.0
"""Room beside the axes for their numbers and names."""
SHAPE_PATHS = {
    "circle": "M-6.5 0a6.5 6.5 0 1 0 13 0a6.5 6.5 0 1 0 -13 0z",
    "square": "M-5.8 -5.8h11.6v11.6h-11.6z",
    "up": "M0 -7.2l6.8 12.4h-13.6z",
    "diamond": "M0 -8l7 8l-7 8l-7 -8z",
    "down": "M0 7.2l6.8 -12.4h-13.6z",
    "plus": "M-2.4 -7h4.8v4.6h4.6v4.8h-4.6v4.6h-4.8v-4.6h-4.6v-4.8h4.6z",
    "cross": "M0 -3l3.5 -3.5 3 3 -3.5 3.5 3.5 3.5 -3 3 -3.5 -3.5 -3.5 3.5 -3 -3 3.5 -3.5 -3.5 -3.5 3 -3z",
}
"""Each shape around (0, 0), all of about the same area."""


@dataclass(frozen=True)
class Label:
    """Words at a place; `lines` stand below each other, the first at (x, y) on its base line."""

    x: float
    y: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """A point as it is drawn: `x` and `y` its middle, `reach` half the width in which a pointer meets it."""

    point: Point
    x: float
    y: float
    low: float
    high: float
    seeds: tuple[float, ...]
    reach: float
    path: str
    label: Label
    led: bool
    tip: Tip
    told: str


@dataclass(frozen=True)
class Scatter:
    """A picture of `width` x `height`, its axes between `left`, `right`, `top` and `bottom`."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_label: str
    told: str
    list_top: float
    listed: bool
    marks: tuple[Mark, ...]


def wide_scatter(points: Sequence[Point], cost: str) -> Scatter:
    """Return the picture for a screen and for paper: labels stand beside their points."""
    lines = [label_lines(point, 220, LETTER) for point in points]
    widths = np.array(
        [
            22 + max(text_width(line, LETTER, bold=bool(point.mark)) for line in each)
            for point, each in zip(points, lines, strict=True)
        ]
    )
    width, bottom = 800.0, TOP + max(300.0, 36 * len(points))
    frame = _Frame(LEFT, width - widths.max(), TOP, bottom, points)
    outside = widths[_columns(frame, widths) == frame.right]
    frame = _Frame(LEFT, width - outside.max(initial=10), TOP, bottom, points)  # those within it need no room beside it
    stand, begin = frame.stand(), _columns(frame, widths)
    heights = np.empty(len(points))
    for column in np.unique(begin):
        its = begin == column
        heights[its] = spread(stand[its, 1], 2.1 * LINE, TOP + LETTER, bottom - LETTER)
    labels = [Label(x + 16, y - 2, each) for x, y, each in zip(begin.tolist(), heights.tolist(), lines, strict=True)]
    return _scatter(frame, stand, labels, cost, (width, bottom + BOTTOM), listed=False)


def _columns(frame: "_Frame", widths: np.ndarray) -> np.ndarray:
    width = frame.right - frame.left
    return frame.x(columns((frame.stand()[:, 0] - frame.left) / width, widths / width))


def narrow_scatter(points: Sequence[Point], cost: str) -> Scatter:
    """Return the picture for a phone: labels stand in a list below it, each behind its mark."""
    width, bottom = 340.0, TOP + 260.0
    frame = _Frame(LEFT, width - 6, TOP, bottom, points)
    order = sorted(range(len(points)), key=lambda index: -points[index].accuracy)
    labels = [
        Label(22, bottom + BOTTOM + 22 + ROW * (1 + order.index(index)), (shortened(point.name, 190, LETTER),))
        for index, point in enumerate(points)
    ]
    height = bottom + BOTTOM + 32 + ROW * len(points)
    return _scatter(frame, frame.stand(), labels, cost, (width, height), listed=True)


@dataclass(frozen=True)
class _Frame:
    left: float
    right: float
    top: float
    bottom: float
    points: Sequence[Point]

    def stand(self) -> np.ndarray:
        """Return where each point stands (x, y)."""
        shares = places(self.points, POINT_GAP / (self.right - self.left))
        return np.column_stack([self.x(shares[:, 0]), self.y(shares[:, 1])])

    def x(self, share: np.ndarray) -> np.ndarray:
        return self.left + share * (self.right - self.left)

    def y(self, share: np.ndarray) -> np.ndarray:
        return self.bottom - share * (self.bottom - self.top)


def _scatter(
    frame: _Frame, stand: np.ndarray, labels: list[Label], cost: str, size: tuple[float, float], *, listed: bool
) -> Scatter:
    across, up = cost_axis(frame.points), accuracy_axis(frame.points)
    # Two decimals tell ticks of 0.01 apart; finer ticks need a third.
    digits = 2 if len(up.ticks) < 2 or up.ticks[1] - up.ticks[0] >= 0.0099 else 3
    return Scatter(
        *size,
        frame.left,
        frame.right,
        frame.top,
        frame.bottom,
        x_ticks=_legible(
            [
                (x, format_cost(10**tick, cost))
                for x, tick in zip(frame.x(across.share(across.ticks)).tolist(), across.ticks, strict=True)
            ],
            size[0],
        ),
        y_ticks=tuple(
            (y, f"{tick:.{digits}f}") for y, tick in zip(frame.y(up.share(up.ticks)).tolist(), up.ticks, strict=True)
        ),
        x_label=f"{COST_LABELS[cost]} (log scale)",
        told=f"Test accuracy against {COST_LABELS[cost]}, of each plan",
        list_top=frame.bottom + BOTTOM + 22,
        listed=listed,
        marks=tuple(
            _mark(frame, point, cost, (x, y), label, size)
            for point, (x, y), label in zip(frame.points, stand.tolist(), labels, strict=True)
        ),
    )


def _legible(ticks: list[tuple[float, str]], width: float) -> tuple[tuple[float, str], ...]:
    """Return the ticks whose words lie within the width: all, or every second and so on, so that none meet."""
    halves = {label: text_width(label, LETTER) / 2 for _, label in ticks}
    within = [(x, label) for x, label in ticks if halves[label] <= x <= width - halves[label]]
    for step in range(1, len(within)):
        kept = within[::step]
        if all(halves[a] + halves[b] < y - x for (x, a), (y, b) in pairwise(kept)):
            return tuple(kept)
    return tuple(within[:1])


def _mark(
    frame: _Frame, point: Point, cost: str, place: tuple[float, float], label: Label, size: tuple[float, float]
) -> Mark:
    up = accuracy_axis(frame.points)
    low, high, *seeds = frame.y(up.share([point.low, point.high, *point.seeds])).tolist()
    return Mark(
        point,
        *place,
        low=low,
        high=high,
        seeds=tuple(seeds),
        reach=min(POINT_GAP, (frame.right - frame.left) / len(frame.points)) / 2,
        path=SHAPE_PATHS[point.shape],
        label=label,
        led=label.x - place[0] > 17 or abs(label.y + 2 - place[1]) > 6,
        tip=tip_of(point, cost, place, size),
        told=tell(point, cost),
    )
