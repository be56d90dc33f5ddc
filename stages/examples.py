"""Examples: labelled images as they were published, which is what every source gives."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypedDict

HUB = "Hugging Face hub"
"""With this the origin in source.json begins, where images come from there."""
MEND_IN_A_FOLDER = "Save the hub's images to a folder, mend them there, and say data.source: folder."
"""What can be done about such images, which nobody here can change where they lie."""


class Example(TypedDict):
    """One image as it was published: its encoded bytes, its class, and what else its source tells."""

    id: str
    image: dict[str, bytes | str]
    label: int
    stratum: str
    split: str | None


@dataclass(frozen=True)
class Source:
    """A set of labelled images. `facts` go into source.json; `examples` come in a fixed order."""

    classes: list[str]
    facts: dict[str, object]
    examples: Callable[[], Iterator[Example]]
