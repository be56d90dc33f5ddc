"""Examples: labelled images as they were published, which is what every source gives."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypedDict


class Example(TypedDict):
    """One image as it was published: its encoded bytes, its class, and what else its source tells.

    Images of one `group`, which is "" where none is known, belong together: a patient, a plant, a video.
    """

    id: str
    image: dict[str, bytes | str]
    label: int
    stratum: str
    group: str
    split: str | None


@dataclass(frozen=True)
class Source:
    """A set of labelled images. `facts` go into source.json; `examples` come in a fixed order."""

    classes: list[str]
    facts: dict[str, object]
    examples: Callable[[], Iterator[Example]]
