"""What a person is told when their input is wrong: one line, in one grammar."""

from collections.abc import Iterable


class Mistake(ValueError):
    """A mistake in someone's input, whose message says all that they need to mend it."""


def mistake(where: str, must: str, got: str, hint: str = "") -> Mistake:
    """Return the mistake "<where> must <must>. Got <got> instead. <hint>", ready to be raised."""
    return Mistake(f"{where} must {must}. Got {got} instead.{f' {hint}' if hint else ''}")


def listed(names: Iterable[str]) -> str:
    """Return the names as "a, b or c"."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
