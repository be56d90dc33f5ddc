"""Costs as people say them: 2.67 M parameters, 41.3 TFLOP, 112 s, 1.33 GB."""

import math

from frostline.constants import COSTS

COST_LABELS = dict(
    zip(COSTS, ("trainable parameters", "training computation", "training time", "peak memory"), strict=True)
)
"""What each cost is called where people read it."""
COST_UNITS = dict(zip(COSTS, ("", "FLOP", "s", "B"), strict=True))
"""The unit of each cost; a count has none."""
PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def format_number(value: float, unit: str) -> str:
    """Return the value with three significant digits and a decimal prefix. Seconds stay seconds; missing is a dash."""
    if math.isnan(value):
        return "\N{EN DASH}"
    if unit == "s":
        return f"{value:,.0f} s" if value >= 99.95 else f"{value:.3g} s"
    power = 0
    while float(f"{value:.3g}") >= 1000 and power < len(PREFIXES) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {PREFIXES[power]}{unit}".rstrip()


def format_cost(value: float, cost: str) -> str:
    """Return the value of one of COSTS in its unit."""
    return format_number(value, COST_UNITS[cost])


def format_percent(share: float) -> str:
    """Return a share as whole per cent."""
    return f"{100 * share:.0f} %"


def format_points(share: float, digits: int = 1) -> str:
    """Return a difference of shares in points, with its sign, such as "-0.2"; 0 has none."""
    value = 100 * share
    return f"{value:+.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def typeset_points(share: float) -> str:
    """Return the same as a printer sets it: with a minus sign instead of a hyphen."""
    return format_points(share).replace("-", "\N{MINUS SIGN}")


def format_margin(margin: float) -> str:
    """Return a margin, a share, in words, such as "1 point"."""
    value = 100 * margin
    return f"{value:g} point{'' if value == 1 else 's'}"


def format_unsigned_points(points: float) -> str:
    """Return points with one digit at most, and two significant ones below 1: "1", "2.6", "0.25"."""
    return f"{points:.2g}" if abs(points) < 1 else f"{points:.1f}".removesuffix(".0")


def format_duration(seconds: float) -> str:
    """Return a duration as people say it: "40 seconds", "11 minutes", "3 hours"."""
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * length:
            count = round(seconds / length)
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    count = max(1, round(seconds))
    return f"{count} second{'' if count == 1 else 's'}"
