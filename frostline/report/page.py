"""The report: one HTML file, readable on paper and on a phone, that needs no network and no script."""

from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from frostline.constants import COSTS
from frostline.files import read_json
from frostline.report.comparison import Comparison
from frostline.report.descriptions import describe_confusion, describe_curves, describe_model
from frostline.report.embedding import Tradeoff, embed_picture, embed_tradeoff
from frostline.report.lessons import list_lessons
from frostline.report.points import KEYS, label_plans, list_views, name_reference
from frostline.report.tradeoff import draw_tradeoff
from frostline.units import (
    COST_LABELS,
    format_cost,
    format_margin,
    format_number,
    format_percent,
    format_unsigned_points,
    typeset_points,
)

MEASURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "top_5_accuracy": "top-5 accuracy",
    "negative_log_likelihood": "negative log-likelihood (nats)",
    "expected_calibration_error": "expected calibration error",
}
"""What predictions are judged by, and what it is called in the page."""


def render_report(study: Comparison, figures: Path, look: Path, model: Path) -> str:
    """Return the page about the study and its `model`, with the pictures of the folders `figures` and `look` inside."""
    here = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    here.filters |= {
        "human_cost": format_cost,
        "p_value": format_p,
        "bare_points": format_unsigned_points,
        "percent": format_percent,
        "points": typeset_points,
    }
    rows = list_plan_rows(study)
    advised = rows[study.advised]
    confusions = study.confusion[(study.confusion[KEYS] == study.plans.iloc[study.advised][KEYS]).all(axis=1)]
    lessons = list_lessons(study)
    return here.get_template("report.html").render(
        advice=study.advice,
        study=study.study,
        source=study.source,
        plans=rows,
        advised=advised,
        reference=name_reference(study),
        within=format_margin(study.advice["margin"] / 100),
        pairs=list_pair_rows(study),
        views=describe_views(study),
        stopped=list_stopped_rows(study),
        costs={cost: COST_LABELS[cost] for cost in COSTS},
        measures={name: label for name, label in MEASURES.items() if name in study.plans},
        tradeoffs=draw_tradeoffs(study),
        lessons=lessons,
        pictures={
            name: embed_picture(figures / f"{name}.svg")
            for name in ("curves", "confusion", *(lesson.name for lesson in lessons))
        },
        classes=list_class_rows(study),
        inside=read_look(look),
        model=describe_model(read_json(model / "model.json")),
        told={"curves": describe_curves(study), "confusion": describe_confusion(confusions, advised["label"])},
    )


def list_class_rows(study: Comparison) -> list[dict[str, Any]]:
    """Return for each class its test images, and the advised plan's recall, precision and F1.

    A class of which there are none, or that is never named, has no such share (None).
    """
    its = study.confusion[(study.confusion[KEYS] == study.plans.iloc[study.advised][KEYS]).all(axis=1)]
    rows = []
    for name in its.actual.unique():
        of, named = its.actual == name, its.predicted == name
        right, images, taken = (int(its.images[which].sum()) for which in (of & named, of, named))
        rows.append({
            "name": name,
            "images": images,
            "recall": right / images if images else None,
            "precision": right / taken if taken else None,
            "f1": 2 * right / (images + taken) if images + taken else None,
        })  # fmt: skip
    return rows


def read_look(look: Path) -> dict[str, Any]:
    """Return look.json of the folder, with each of its pictures to be put into the page."""
    seen: dict[str, Any] = read_json(look / "look.json")
    pictures = [{**told, "picture": embed_picture(look / f"{name}.svg")} for name, told in seen["pictures"].items()]
    return {**seen, "pictures": pictures}


def list_plan_rows(study: Comparison) -> list[dict[str, Any]]:
    """Return all that is known of each plan: its rows of plans.csv and costs.csv, and what it is called."""
    told = [name for name in study.costs if name in KEYS or name not in study.plans]
    both = study.plans.merge(study.costs[told], on=KEYS, validate="1:1")
    return _list_records(both.assign(label=label_plans(study.plans)))


def list_pair_rows(study: Comparison) -> list[dict[str, Any]]:
    """Return the rows of pairs.csv, with what both plans are called and which of them is better, if one is."""
    names = dict(zip(map(tuple, study.plans[KEYS].to_numpy()), label_plans(study.plans), strict=True))
    rows = []
    for row in _list_records(study.pairs):
        one, other = names[row["backbone"], row["plan"]], names[row["other_backbone"], row["other_plan"]]
        better = {"plan": one, "other": other}.get(row["better"])
        rows.append({**row, "label": one, "other_label": other, "better": better})
    return rows


def list_stopped_rows(study: Comparison) -> list[dict[str, Any]]:
    """Return the rows of stopped.csv, with what each plan is called."""
    return _list_records(study.stopped.assign(label=label_plans(study.stopped)))


def describe_views(study: Comparison) -> list[str]:
    """Return what fewer views of each image cost in accuracy and save in seconds, where plans differ in them alone."""
    spent = study.costs.set_index(KEYS).train_seconds
    told = []
    for pair in study.study["views"]:
        seconds, other_seconds = (spent[pair["backbone"], pair[name]] for name in ("plan", "other_plan"))
        told.append(f"{pair['sentence']} {describe_saving(seconds, other_seconds)}")
    return told


def describe_saving(seconds: float, other_seconds: float) -> str:
    """Return in a sentence what training for so many seconds saves of the other's."""
    if seconds >= other_seconds:
        took, other = (format_number(value, "s") for value in (seconds, other_seconds))
        return f"It saves no time: {took} of training instead of {other}."
    return f"It saves {format_number(other_seconds - seconds, 's')} of {format_number(other_seconds, 's')} of training."


def _list_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def draw_tradeoffs(study: Comparison) -> dict[str, dict[str, dict[str, Tradeoff]]]:
    """Return the pictures by their kind, difference first, by cost, and by size: for screens and for phones."""
    pictures: dict[str, dict[str, dict[str, Tradeoff]]] = {}
    for cost in COSTS:
        for view in list_views(study, cost):
            pictures.setdefault(view.kind, {})[cost] = {
                size: embed_tradeoff(
                    draw_tradeoff(view, study.title, narrow=size == "narrow"), view, f"{view.kind}-{cost}-{size}"
                )
                for size in ("wide", "narrow")
            }
    return pictures


def format_p(value: float) -> str:
    """Return a p-value with three decimals."""
    if pd.isna(value):
        return "\N{EN DASH}"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
