"""The comparison as rows of text, for the terminal and for README."""

from collections.abc import Sequence
from pathlib import Path

from frostline.constants import COSTS
from frostline.files import read_csv, read_json
from frostline.report.points import labels_of
from frostline.units import format_cost, format_percent

COLUMNS = ("plan", "test accuracy, 95 %", "parameters", "compute", "time", "memory", "front")
"""Parameters are those that learn, memory is its peak, and the front that of the cost by which advice goes."""


def comparison(reports: Path) -> tuple[list[tuple[str, ...]], int]:
    """Return a row of COLUMNS for each plan of the folder `reports`, and which of the rows is advised."""
    keys = ["backbone", "plan"]
    costs, cost = read_csv(reports / "costs.csv"), read_json(reports / "advice.json")["cost"]
    plans = read_csv(reports / "plans.csv")
    told = plans.merge(costs[[name for name in costs if name in keys or name not in plans]], on=keys, validate="1:1")
    rows: list[tuple[str, ...]] = [
        (
            label,
            f"{plan['accuracy']:.3f} ({plan['accuracy_low']:.3f}\N{EN DASH}{plan['accuracy_high']:.3f})",
            *(format_cost(plan[name], name) for name in COSTS),
            format_percent(plan[f"front_{cost}"]),
        )
        for label, plan in zip(labels_of(plans), told.to_dict("records"), strict=True)
    ]
    return rows, int(plans.index[plans.advised][0])


def sentences(reports: Path) -> list[str]:
    """Return the advice of the folder `reports`, sentence by sentence, and what the rule of thumb says beside it."""
    advice = read_json(reports / "advice.json")
    return [*advice["sentences"], advice["rule_of_thumb"]["sentence"]]


def markdown(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    lines = [columns, ("---", *["---:"] * (len(columns) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
