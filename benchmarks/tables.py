"""The measurements as rows of numbers for files and as tables for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.scripts import LETTERS
from benchmarks.speed import Measured, Rates
from benchmarks.task import MANY
from frostline.files import write_csv, write_json

NARROWEST = 132
"""Columns of a page that is no terminal: the widest table fits."""

MEBIBYTE = 1024**2

Row = dict[str, Any]


def make_speed_row(measured: Measured, rates: Rates, scripts: Sequence[str], batch_size: int) -> Row:
    """Return what was measured of a plan, as numbers by name; ratios are of `MANY` epochs."""
    row: Row = {"plan": measured.plan, "prefix_seconds": measured.get_prefix_seconds("project")}
    for script in scripts:
        row[f"{script}_epoch_seconds"] = measured.get_epoch_seconds(script)
        row[f"{script}_start_seconds"] = measured.get_start_seconds(script)
        row[f"{script}_{MANY}_epochs_seconds"] = measured.extrapolate_seconds(script)
    row["step_seconds"], step_flops = measured.step_seconds, measured.work.training * batch_size
    row["limit_step_seconds"] = rates.limit_seconds(step_flops)
    row["step_to_limit"] = row["step_seconds"] / row["limit_step_seconds"]
    row["epoch_flops"] = measured.count_flops(1) - measured.count_flops(0)
    row[f"{MANY}_epochs_flops"] = measured.count_flops(MANY)
    row["limit_epoch_seconds"] = rates.limit_seconds(row["epoch_flops"])
    row[f"limit_{MANY}_epochs_seconds"] = rates.limit_seconds(measured.count_flops(MANY))
    row |= {f"{script}_peak_memory_bytes": peak for script, peak in measured.peaks.items()}
    return row | compute_ratios(row, scripts)


def compute_ratios(row: Row, scripts: Sequence[str]) -> Row:
    """Return how many times longer the other scripts take than the project, and the project than the limit."""
    ours = row[f"project_{MANY}_epochs_seconds"]
    others = [script for script in scripts if script != "project"]
    compared = {f"{script}_to_project": row[f"{script}_{MANY}_epochs_seconds"] / ours for script in others}
    return compared | {"project_to_limit": ours / row[f"limit_{MANY}_epochs_seconds"]}


def sum_rows(rows: Sequence[Row], scripts: Sequence[str], prepare_seconds: float) -> Row:
    """Return the sums over the plans, and the ratios of the sums; peaks of memory do not add up and are left out.

    The project prepares its images once for all plans; the others decode theirs in every epoch.
    """
    summed = [name for name in rows[0] if name.endswith(("_seconds", "_flops")) and "step_" not in name]
    sums: Row = {"plan": "total"} | {name: sum(row[name] for row in rows) for name in summed}
    sums[f"project_{MANY}_epochs_seconds"] += prepare_seconds
    return sums | compute_ratios(sums, scripts)


def tabulate_speed(rows: Sequence[Row], scripts: Sequence[str]) -> Table:
    """Return the table of seconds and ratios."""
    others = [script for script in scripts if script != "project"]
    columns = {f"{LETTERS[script]}\n1 epoch": f"{script}_epoch_seconds" for script in scripts}
    columns |= {"c\nprefix": "prefix_seconds", "c\nstep": "step_seconds", "step\n/ limit": "step_to_limit"}
    columns |= {f"{LETTERS[script]}\n{MANY} epochs": f"{script}_{MANY}_epochs_seconds" for script in scripts}
    columns |= {f"limit\n{MANY} epochs": f"limit_{MANY}_epochs_seconds"}
    columns |= {f"{LETTERS[script]} / c": f"{script}_to_project" for script in others}
    columns |= {"c / limit": "project_to_limit"}
    return make_table(columns, rows, f"Seconds, and their ratios for {MANY} epochs")


def tabulate_memory(rows: Sequence[Row], scripts: Sequence[str]) -> Table:
    """Return the table of peak memory."""
    columns = {LETTERS[script]: f"{script}_peak_memory_bytes" for script in scripts}
    in_mebibytes = [row | {name: row[name] / MEBIBYTE for name in columns.values()} for row in rows]
    return make_table(columns, in_mebibytes, "Peak memory of a fresh process, MiB")


def make_table(columns: dict[str, str], rows: Sequence[Row], title: str) -> Table:
    """Return a table of plans by columns, in plain characters."""
    made = Table(title=title, box=box.ASCII2)
    made.add_column("plan")
    for heading in columns:
        made.add_column(heading, justify="right")
    for row in rows:
        made.add_row(str(row["plan"]), *(format_figure(row[name]) if name in row else "" for name in columns.values()))
    return made


def format_figure(number: float) -> str:
    """Return the number with as many decimals as three digits need, four at most."""
    decimals = next((places for places, least in enumerate((100, 10, 1, 0.1)) if number >= least), 4)
    return f"{number:,.{decimals}f}"


def open_console() -> Console:
    """Return where people read: a terminal, or a page wide enough for the tables."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=NARROWEST)


def write_results(out: Path, name: str, about: Row, rows: Sequence[Row]) -> None:
    """Write all that is known into `<name>.json` and the rows into `<name>.csv`, without the date."""
    write_json(out / f"{name}.json", about | {"plans": list(rows)})
    write_csv(out / f"{name}.csv", pd.DataFrame(rows))
