"""Facts of the architectures compared: their table as plain rows, and on what speeds and accuracies were measured."""

from pathlib import Path
from typing import Any

import pandas as pd

from docs.architectures.publications import PUBLICATIONS
from frostline.files import read_csv, read_json

Row = dict[str, Any]


def describe_architectures(folder: Path) -> Row:
    """Return the `rows` of the folder's table (what was not measured is None) and what its notes speak of.

    `unpublished`, `unmeasured` and `unprobed` name the backbones without a published top-1, a speed or a probe, `other`
    are the rows whose top-1 and FLOPs are for another side of image than `usual_px`; `measured`, `source` and `study`
    are the measurements' own files, or None.
    """
    table = read_csv(folder / "architectures.csv")
    rows = [{str(name): None if pd.isna(value) else value for name, value in row.items()}
            for row in table.astype(object).to_dict("records")]  # fmt: skip
    usual = table.published_px.mode()[0]
    return {
        "rows": [row | {"note": PUBLICATIONS[str(row["backbone"])].note} for row in rows],
        "unpublished": list_missing(rows, "published_top1"),
        "unmeasured": list_missing(rows, "training_images_per_second"),
        "unprobed": list_missing(rows, "probe_accuracy"),
        "usual_px": usual,
        "other": [row for row in rows if row["published_px"] != usual],
        **{name: read_kept(folder / f"{name}.json") for name in ("measured", "source", "study")},
    }


def list_missing(rows: list[Row], column: str) -> list[str]:
    """Return the backbones of which the column says nothing."""
    return [row["backbone"] for row in rows if row[column] is None]


def read_kept(path: Path) -> Row | None:
    """Return what a measurement left, if it was made."""
    if not path.is_file():
        return None
    content: Row = read_json(path)
    return content
