"""The figures and numbers of the pages about networks themselves: their layers, kinds, weights and answers."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from frostline.files import read_csv, read_json
from frostline.units import format_number, format_percent, typeset_points
from tools.page_layout import accuracy_of, at, laid_out, picture
from tools.page_words import Words
from tools.tables import markdown

KINDS = ("plain", "residual")
ORIGINAL_PX = 8
"""Side of scikit-learn's digits before they are enlarged."""


def residuals(root: Path, words: Words) -> str:
    """Return what plain and residual networks of two depths came to on their training images."""
    kept = root / "docs" / "depth"
    plans, history = read_csv(kept / "plans.csv"), read_csv(kept / "history.csv")
    ends = final_losses(history)
    rows = [
        (
            f"`{plan['backbone']}`",
            words.number(format_number(plan["parameters"], "")),
            range_of(ends[plan["backbone"]], words),
            accuracy_of(plan, words),
        )
        for plan in plans.to_dict("records")
    ]
    told = [
        deeper(ends, shallow, deep, words)
        for kind in KINDS
        for shallow, deep in pairwise(sorted((name for name in ends.columns if name.startswith(kind)), key=layers_of))
    ]
    shown = "; ".join(f"{name} {words.number(f'{ends[name].mean():.4f}')}" for name in plans.backbone)
    figure = picture(words, "losses", "docs/depth/losses.png", points=shown)
    return laid_out(figure, markdown(words.columns("network", "parameters", "final_loss", "accuracy"), rows), told)


def final_losses(history: pd.DataFrame) -> pd.DataFrame:
    """Return the training loss in each fit's last epoch, a row for each seed and a column for each network."""
    kept = history[history.chosen].sort_values("epoch", kind="stable")
    return kept.groupby(["seed", "backbone"]).train_loss.last().unstack("backbone")


def range_of(losses: pd.Series, words: Words) -> str:
    """Return the mean of the seeds' losses, and the least and the greatest."""
    three = {"mean": losses.mean(), "least": losses.min(), "most": losses.max()}
    return words.say("final_range", **{name: words.number(f"{value:.4f}") for name, value in three.items()})


def deeper(ends: pd.DataFrame, shallow: str, deep: str, words: Words) -> str:
    """Return in a sentence whether the deeper network ends with the higher training loss."""
    apart = ends[deep] - ends[shallow]
    if not apart.any():
        return words.say("deeper_same", deep=deep, shallow=shallow)
    counts = {"seeds": str(len(apart)), "count": str(int((apart > 0).sum()))}
    told = {"higher": words.higher(apart.mean()), "difference": words.number(f"{abs(apart.mean()):.4f}")}
    return words.say("deeper", deep=deep, shallow=shallow, **counts, **told)


def layers_of(name: str) -> int:
    """Return the layers that a network's name ends in."""
    return int(re.sub(r"\D", "", name))


def mlp_or_cnn(root: Path, words: Words) -> str:
    """Return what is left of each network's accuracy where test images are shifted."""
    kept = root / "docs" / "digits"
    plans, shifted = read_csv(kept / "plans.csv"), read_csv(kept / "shifted.csv")
    enlarged = read_json(kept / "study.json")["image_px"] / ORIGINAL_PX
    table = shifted.pivot_table(index="backbone", columns="shift_px", values="accuracy")
    rows, shown = [], []
    for plan in plans.to_dict("records"):
        its = shifted[shifted.backbone == plan["backbone"]].sort_values("shift_px").to_dict("records")
        parameters = words.number(format_number(plan["parameters"], ""))
        rows.append((f"`{plan['backbone']}`", parameters, *(accuracy_of(each, words) for each in its)))
        for each in its:
            shown.append(at(plan["backbone"], words.number(f"{each['accuracy']:.3f}"), f"{each['shift_px']} px", words))
    told = [
        words.say("shifted", px=str(px), original=words.number(f"{px / enlarged:.3g}")) for px in table.columns if px
    ]
    figure = picture(words, "shifts", "docs/digits/shifts.png", points="; ".join(shown))
    columns = (*words.columns("network", "parameters", "unmoved"), *told)
    return laid_out(figure, markdown(columns, rows), [losses_of_shift(table, words)])


def losses_of_shift(table: pd.DataFrame, words: Words) -> str:
    """Return in words what the farthest shift does to each network, and to which the least and the most."""
    farthest = max(table.columns)
    apart = (table[farthest] - table[0]).sort_values(ascending=False)
    losses = "; ".join(
        words.say("loses", network=str(name), points=words.number(typeset_points(value)))
        for name, value in apart.items()
    )
    ends = words.say("least_lost", firmest=str(apart.index[0]), weakest=str(apart.index[-1]))
    return f"{words.say('lost', px=str(farthest), losses=losses)} {ends}"


def weights_and_activations(root: Path, words: Words) -> str:
    """Return what weights are and what they answer, in the run that the stage `look` looked into."""
    look = read_json(root / "reports" / "look" / "look.json")
    rows = [row_of_part(look, part, words) for part in look["moved"]]
    columns = words.columns("part", "parameters", "weights_moved", "map_places", "maps_differ")
    figures = [
        picture(words, name, f"reports/look/{name}.png") for name in ("filters", "maps") if name in look["pictures"]
    ]
    told = words.say(
        "looked_into", backbone=look["backbone"], plan=look["plan"], seed=str(look["seed"]), image=look["mapped"]
    )
    return laid_out("\n\n".join(figures), markdown(columns, rows), [told])


def row_of_part(look: dict[str, Any], moved: dict[str, Any], words: Words) -> tuple[str, ...]:
    """Return a part's weights and how far they moved, and its maps, where it has any, and how far they differ."""
    part, norm = moved["part"], moved["relative_norm"]
    share = "" if norm is None else words.number(f"{100 * norm:.2g} %")
    maps = ("", "")
    if part in look["maps"]:
        across, up = look["maps"][part]["places"]
        maps = f"{across} x {up}", format_percent(look["maps"][part]["difference"])
    return (f"`{part}`", words.number(f"{moved['parameters']:,}"), share, *maps)
