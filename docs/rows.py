"""Rows of recorded tables: plans, pairs of them and losses, as facts of pages are made of them."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

Row = dict[str, Any]
"""What stands in a row of a table, or is told of a study, by name."""
MEASURED = ("preparation", "kept_rows", "devices")
"""Tables of benchmarks that pages tell."""


def as_rows(table: pd.DataFrame) -> list[Row]:
    """Return the table's rows, each by the names of its columns."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def name_kind(plan: Mapping[str, Any]) -> str:
    """Return what a plan is to the rule of thumb: head, parts or all."""
    if plan["learns"] == "head":
        return "head"
    return "all" if plan["trainable_parameters"] == plan["parameters"] else "parts"


def find_difference(pairs: pd.DataFrame, plan: Row, other: Row) -> Row:
    """Return how much more accurate (a share) the one plan is than the other, with its interval's bounds."""
    names = plan["plan"], other["plan"]
    for pair in as_rows(pairs):
        if (pair["plan"], pair["other_plan"]) == names:
            return {"estimate": pair["difference"], "low": pair["low"], "high": pair["high"]}
        if (pair["other_plan"], pair["plan"]) == names:
            return {"estimate": -pair["difference"], "low": -pair["high"], "high": -pair["low"]}
    raise ValueError(f"pairs.csv must hold {names[0]} and {names[1]}. Got no such pair instead.")


def compare_losses(ends: pd.DataFrame, shallow: str, deep: str) -> Row:
    """Return by how much (nats) the deeper network's last training loss is the higher, and in how many replicates."""
    apart = ends[deep] - ends[shallow]
    counts = {"replicates": len(apart), "count": int((apart > 0).sum()), "same": not apart.any()}
    return {"shallow": shallow, "deep": deep, "difference": apart.mean(), **counts}


def count_layers(name: str) -> int:
    """Return the layers that a network's name ends in."""
    return int(re.sub(r"\D", "", name))
