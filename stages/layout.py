"""Layout: whether a data set's Parquet files are one whole set, by how they lie in folders."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from datasets.exceptions import DatasetsError
from huggingface_hub import metadata_load
from yaml import YAMLError

from stages.mistakes import Mistake, mistake
from stages.params import Hub

SPLIT_WORDS = {
    "train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation",
}  # fmt: skip
"""By these words in the name of a folder the `datasets` library knows a split."""


def check_layout(asked: Hub, names: list[str], card: Path | None) -> None:
    """Refuse Parquet files of which the library would make one set, though they are several or a part of one.

    So may those be that the hub itself made (`refs/convert/parquet`): they lie at `<configuration>/<split>`, beside no
    card, and of a large data set at `<configuration>/partial-<split>`.
    """
    if card is not None:
        with understood(asked):
            configured = (metadata_load(card) or {}).get("configs")
        if configured:
            return
    folders = [PurePosixPath(name).parent for name in names]
    parts = sorted({str(each) for each in folders if any(step.startswith("partial-") for step in each.parts)})
    if parts:
        raise _unfit(asked, "be in Parquet as a whole", " and ".join(parts))
    tops = {"" if not each.parts or is_split(each.parts[0]) else each.parts[0] for each in folders}
    if len(tops) > 1:
        raise _unfit(asked, "have one configuration", " and ".join(sorted(top or "files beside them" for top in tops)))


@contextmanager
def understood(asked: Hub) -> Iterator[None]:
    """Raise a `Mistake` about a card that the libraries, which read it meanwhile, do not understand."""
    try:
        yield
    except (YAMLError, ValueError, TypeError, AttributeError, DatasetsError) as error:
        said = str(getattr(error, "problem", None) or error).strip().partition("\n")[0]
        raise _unfit(asked, "have a card (README.md) that can be understood", f'"{said}"') from None


def is_split(folder: str) -> bool:
    """Return whether a folder of this name holds a split, and is no configuration."""
    return not SPLIT_WORDS.isdisjoint(re.split(r"[-._ 0-9]+", folder))


def _unfit(asked: Hub, must: str, got: str) -> Mistake:
    hint = "Save the images that you mean to a folder, and say data.source: folder."
    return mistake(f"data.hub.dataset {asked.dataset}", must, got, hint)
