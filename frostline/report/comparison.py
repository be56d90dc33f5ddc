"""What compare left, read together for those who draw and tell it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from frostline.files import read_csv, read_json

NAMES = ("backbone", "plan", "other_backbone", "other_plan", "actual", "predicted")


@dataclass(frozen=True)
class Comparison:
    """The tables of a study (see compare) and what was run; `source` is what fetch tells of the images."""

    plans: pd.DataFrame
    costs: pd.DataFrame
    pairs: pd.DataFrame
    runs: pd.DataFrame
    history: pd.DataFrame
    confusion: pd.DataFrame
    shifted: pd.DataFrame
    stopped: pd.DataFrame
    advice: dict[str, Any]
    study: dict[str, Any]
    source: dict[str, Any]

    @property
    def advised(self) -> int:
        """Which row of `plans` is the advised one."""
        return int(self.plans.advised.to_numpy().argmax())

    @property
    def title(self) -> str:
        """Which images it is about."""
        return f"{self.source['images']:,} images, {self.source['origin']}"


def read_comparison(reports: Path, source: Path) -> Comparison:
    """Return what lies in the folder `reports`, and the file `source`."""
    names = ("plans", "costs", "pairs", "runs", "history", "confusion", "shifted", "stopped")
    tables: dict[str, Any] = {name: _read(reports / f"{name}.csv") for name in names}
    told = {name: read_json(reports / f"{name}.json") for name in ("advice", "study")}
    return Comparison(**tables, **told, source=read_json(source))


def _read(path: Path) -> pd.DataFrame:
    """Return the table. A class may be called 007, or NA: names are read as they stand."""
    table = read_csv(path)
    names = [name for name in NAMES if name in table]
    table[names] = pd.read_csv(path, usecols=names, dtype=str, keep_default_na=False)
    return table
