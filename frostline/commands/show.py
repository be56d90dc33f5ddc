"""Print the comparison that the study wrote, its advice, and where its report lies."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from frostline.constants import COSTS
from frostline.files import read_csv, read_json
from frostline.report.points import label_plans
from frostline.units import format_cost, format_percent

COLUMNS = ("plan", "test accuracy, 95 %", "parameters", "compute", "time", "memory", "good enough")
"""Parameters are those that learn, memory is its peak; good enough: how likely within the margin of the best plan."""


def list_rows(reports: Path) -> tuple[list[tuple[str, ...]], int]:
    """Return a row of COLUMNS for each plan of the folder `reports`, and which of the rows is advised."""
    keys = ["backbone", "plan"]
    costs, plans = read_csv(reports / "costs.csv"), read_csv(reports / "plans.csv")
    told = plans.merge(costs[[name for name in costs if name in keys or name not in plans]], on=keys, validate="1:1")
    rows: list[tuple[str, ...]] = [
        (
            label,
            f"{plan['accuracy']:.3f} ({plan['accuracy_low']:.3f}\N{EN DASH}{plan['accuracy_high']:.3f})",
            *(format_cost(plan[name], name) for name in COSTS),
            format_percent(plan["probability"]),
        )
        for label, plan in zip(label_plans(plans), told.to_dict("records"), strict=True)
    ]
    return rows, int(plans.index[plans.advised][0])


def list_sentences(reports: Path) -> list[str]:
    """Return the advice of the folder `reports`, sentence by sentence, and what the rule of thumb says beside it."""
    advice = read_json(reports / "advice.json")
    return [*advice["sentences"], advice["rule_of_thumb"]["sentence"]]


def main(reports: Path) -> None:
    """Print the plans of the folder `reports`, the advised one first to the eye."""
    rows, advised = list_rows(reports)
    table = Table(title="How deep to unfreeze", box=None, padding=(0, 1), pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "plan" else "right", overflow="fold")
    for index, row in enumerate(rows):
        table.add_row(*row, style="bold" if index == advised else None)
    console = Console(width=None if sys.stdout.isatty() else 120)  # what is not a terminal has no width of its own
    console.print(table)
    for sentence in list_sentences(reports):
        console.print(sentence, markup=False, highlight=False)
    console.print(f"Report: {(reports / 'report.html').resolve()}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", type=Path)
    main(**vars(parser.parse_args()))
