"""Significance: Holm's correction of p-values."""

from collections.abc import Sequence

LEVEL = 0.05


def correct_by_holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of a family of tests, made larger so that even one false claim stays unlikely (Holm 1979)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, (p, place) in enumerate(sorted((p, place) for place, p in enumerate(p_values))):
        largest = max(largest, min(1.0, p * (len(p_values) - rank)))
        corrected[place] = largest
    return corrected
