"""The figure and numbers of the page about how many images: the study of depths on shares of the training images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from frostline.files import read_csv, read_json
from tools.page_layout import accuracy_of, at, difference, laid_out, picture
from tools.page_words import Words
from tools.tables import markdown


def how_many_images(root: Path, words: Words) -> str:
    """Return which depth is best on how many training images, and what the rule of thumb would have taken."""
    kept = root / "docs" / "size"
    plans, pairs = read_csv(kept / "plans.csv").set_index("plan"), read_csv(kept / "pairs.csv")
    sizes = read_json(kept / "study.json")["sizes"]
    depths = list(dict.fromkeys(depth_of(name) for name in plans.index))
    rows, shown = [], []
    for size in sizes:
        images = words.number(f"{size['train_images']:,}")
        of_size = {depth: plans.loc[on_share(depth, size)].to_dict() for depth in depths}
        told = [accuracy_of(plan, words) for plan in of_size.values()]
        rule = words.sentences[f"rule_{size['rule']}"]
        rows.append((images, *told, f"`{depth_of(size['plan'])}`", rule, ruled(size, plans, pairs, words)))
        shown += [at(depth, words.number(f"{plan['accuracy']:.3f}"), images, words) for depth, plan in of_size.items()]
    told_depths = [f"`{depth}`" for depth in depths]
    columns = (*words.columns("images"), *told_depths, *words.columns("best", "rule", "rule_apart"))
    figure = picture(words, "sizes", "docs/size/sizes.png", points="; ".join(shown))
    agreed = str(sum(size["learns"] == size["rule"] for size in sizes))
    return laid_out(figure, markdown(columns, rows), [words.say("rule_agrees", count=agreed, sizes=str(len(sizes)))])


def ruled(size: dict[str, Any], plans: pd.DataFrame, pairs: pd.DataFrame, words: Words) -> str:
    """Return how the depth that the rule of thumb names stands, on test, to the one that is best on validation."""
    if size["learns"] == size["rule"]:
        return words.sentences["rule_same"]
    of_size = [name for name in plans.index if name == on_share(depth_of(name), size)]
    named = [name for name in of_size if kind_of(plans.loc[name].to_dict()) == size["rule"]]
    return words.points(*difference(pairs, named[0], size["plan"])) if named else words.sentences["rule_untried"]


def kind_of(plan: Mapping[Any, Any]) -> str:
    """Return what a plan is to the rule of thumb: head, parts or all."""
    if plan["learns"] == "head":
        return "head"
    return "all" if plan["trainable_parameters"] == plan["parameters"] else "parts"


def depth_of(plan: str) -> str:
    """Return the depth of a plan of the study of sizes, such as stage4 for stage4_25."""
    return plan.rpartition("_")[0]


def on_share(depth: str, size: dict[str, Any]) -> str:
    """Return the plan of that depth on a share of the training images."""
    return f"{depth}_{size['percent']:g}"
