"""The figures and numbers of the pages that compare depths: what freezing saves, and what it costs in accuracy."""

from pathlib import Path
from typing import Any

import pandas as pd

from frostline.files import read_csv
from frostline.units import format_cost
from tools.page_layout import accuracy_of, at, difference, laid_out, picture
from tools.page_words import Words
from tools.size_block import kind_of
from tools.tables import markdown

BESIDE_ACCURACY = ("trainable_parameters", "train_flops", "train_seconds")


def freezing(root: Path, words: Words) -> str:
    """Return what each plan of the default study lets learn, and what that takes."""
    plans, whole = with_costs(root / "reports")
    columns = words.columns("plan", "learns", "trainable", "share", "checked", "compute", "accuracy")
    table = markdown(columns, [row_of_freezing(plan, words) for plan in plans])
    told = []
    for plan in plans:
        if plan["trainable_parameters"] < whole["trainable_parameters"]:
            shares = {"share": share_of(plan, words), "ratio": ratio(plan, whole, words)}
            told.append(words.say("plan_learns", plan=plan["plan"], whole=whole["plan"], **shares))
    if all(plan["audit"] == "passed" for plan in plans):
        told.append(words.say("audit"))
    return laid_out(tradeoff(plans, words, "reports/figures/tradeoff.png"), table, told)


def row_of_freezing(plan: dict[str, Any], words: Words) -> tuple[str, ...]:
    """Return a row of the table of what learns."""
    counted = [words.number(format_cost(plan[cost], cost)) for cost in ("trainable_parameters", "train_flops")]
    checked = words.number(f"{plan['audited_tensors']:,}")
    named = (f"`{plan['plan']}`", f"`{plan['learns']}`")
    return (*named, counted[0], share_of(plan, words), checked, counted[1], accuracy_of(plan, words))


def share_of(plan: dict[str, Any], words: Words) -> str:
    """Return the share of the parameters that learn."""
    return words.number(f"{plan['trainable_percent']:.3g} %")


def feature_extraction(root: Path, words: Words) -> str:
    """Return how each plan of the recorded bean leaves stands to full fine-tuning."""
    plans, whole = with_costs(root / "docs" / "beans")
    pairs = read_csv(root / "docs" / "beans" / "pairs.csv")
    rows = []
    for plan in plans:
        counted = [words.number(format_cost(plan[cost], cost)) for cost in BESIDE_ACCURACY]
        rows.append((f"`{plan['plan']}`", *counted, accuracy_of(plan, words)))
    table = markdown(words.columns("plan", "trainable", "compute", "time", "accuracy"), rows)
    told = [against(plan, whole, pairs, words) for plan in plans if plan["plan"] != whole["plan"]]
    return laid_out(tradeoff(plans, words, "docs/beans/tradeoff.png"), table, told)


def against(plan: dict[str, Any], whole: dict[str, Any], pairs: pd.DataFrame, words: Words) -> str:
    """Return in a sentence how a plan stands to full fine-tuning."""
    found = difference(pairs, plan["plan"], whole["plan"])
    names = {"plan": plan["plan"], "whole": whole["plan"], "ratio": ratio(plan, whole, words)}
    return words.say("against_whole", points=words.points(*found), zero=words.where_zero_lies(*found[1:]), **names)


def with_costs(kept: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a study's plans with what each cost, and the one of them that is full fine-tuning."""
    plans, costs = read_csv(kept / "plans.csv"), read_csv(kept / "costs.csv")
    new = [name for name in costs if name == "plan" or name not in plans]
    rows: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()}
        for row in plans.merge(costs[new], on="plan").to_dict("records")
    ]
    return rows, next(row for row in rows if row["weights"] == "pretrained" and kind_of(row) == "all")


def tradeoff(plans: list[dict[str, Any]], words: Words, path: str) -> str:
    """Return the picture of accuracy over computation, and in words what it shows."""
    told = [
        at(
            plan["plan"],
            words.number(f"{plan['accuracy']:.3f}"),
            words.number(format_cost(plan["train_flops"], "train_flops")),
            words,
        )
        for plan in plans
    ]
    return picture(words, "tradeoff", path, points="; ".join(told))


def ratio(plan: dict[str, Any], whole: dict[str, Any], words: Words) -> str:
    """Return the share of full fine-tuning's computation that the plan took."""
    return words.number(f"{100 * plan['train_flops'] / whole['train_flops']:.3g} %")
