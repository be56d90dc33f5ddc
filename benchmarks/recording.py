"""Recording: rows of measurements that pages tell, in a table that later measurements of the same kind go on with."""

from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.machine import name_kind
from frostline.files import read_csv, write_csv

HERE = Path(__file__).parent


def record(name: str, rows: list[dict[str, Any]], what: list[str], into: Path = HERE) -> None:
    """Write the rows into the table, instead of those that were measured of the same, by the columns `what`.

    Each row has the kind of processor that it was measured on.
    """
    path, table = into / f"{name}.csv", pd.DataFrame([{**row, "processor": name_kind()} for row in rows])
    if path.exists():
        table = pd.concat([read_csv(path), table]).drop_duplicates(what, keep="last").sort_values(what)
    write_csv(path, table)
