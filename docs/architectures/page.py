"""The table of architectures as people read it, in README and on a page of its own, and its notes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from docs.architectures.publications import PUBLICATIONS
from frostline.files import read_csv, read_json
from frostline.units import format_number
from tools.tables import markdown

PROBES = "make record STUDY=architectures"


def page(table: pd.DataFrame, folder: Path) -> str:
    """Return the page of the table, its picture and its notes; the folder holds what was measured."""
    notes = "\n".join(f"- {note}" for note in [*sources(table), *remarks(table), *conditions(table, folder)])
    picture = f"![{alternative(table)}](architectures.png)"
    return f"# Architectures compared\n\n{picture}\n\n{shown(table, with_papers=True)}\n\n{notes}\n"


def alternative(table: pd.DataFrame) -> str:
    """Return in words what the picture shows."""
    costs = "the FLOPs of one image forward"
    if table.training_images_per_second.notna().any():
        costs += ", and over the images that it trains on in a second"
    return f"Published ImageNet top-1 of each architecture over {costs}"


def readme_block(folder: Path) -> str:
    """Return the table as README has it, and how its speeds and accuracies were measured."""
    table = read_csv(folder / "architectures.csv")
    return f"{shown(table, with_papers=False)}\n\n{' '.join(conditions(table, folder))}"


def shown(table: pd.DataFrame, *, with_papers: bool) -> str:
    """Return the table in Markdown: a line for each backbone, a cell empty where nothing was measured."""
    columns = ["backbone", "year", *(["paper", "image px"] if with_papers else []), "parameters", "compute", "top-1"]
    columns += ["images/s", "images/s, training", "frozen probe, 95 %"]
    rows = [cells(row, with_papers=with_papers) for row in table.to_dict("records")]
    return markdown(tuple(columns), rows)


def cells(row: dict[Any, Any], *, with_papers: bool) -> tuple[str, ...]:
    """Return a row of the table as text."""
    number = str(row["paper"]).removeprefix("arXiv:")
    paper = [f"[{number}](https://arxiv.org/abs/{number})", str(row["published_px"])] if with_papers else []
    return (
        f"`{row['backbone']}`",
        str(row["year"]),
        *paper,
        format_number(row["parameters"], ""),
        format_number(row["flops"], "FLOP"),
        told(row["published_top1"], "{:.1f} %"),
        *(told(row[f"{what}_images_per_second"], "{:,.3g}") for what in ("forward", "training")),
        interval(row),
    )


def told(value: Any, form: str) -> str:
    """Return the value in that form, and nothing of one that is missing."""
    return "" if pd.isna(value) else form.format(value)


def interval(row: dict[Any, Any]) -> str:
    """Return the probe's accuracy with its interval, if there is one."""
    low, high = (told(row[f"probe_accuracy_{end}"], "{:.3f}") for end in ("low", "high"))
    accuracy = told(row["probe_accuracy"], "{:.3f}")
    return f"{accuracy} ({low}\N{EN DASH}{high})" if accuracy else ""


def sources(table: pd.DataFrame) -> list[str]:
    """Return where parameters, FLOPs and top-1 come from."""
    notes = [
        "Parameters and compute are those of the ImageNet model with its 1,000 classes, for one image forward at its "
        "own image px. Convolutions and matrix products are counted; a multiplication and its addition are two FLOPs, "
        "of which other tables make one. Classifiers that only Inception's own recipe trains are left out.",
        "Top-1 is what torchvision publishes with the very weights that this project loads, on ImageNet's validation "
        "images. torchvision has newer weights of some, with a higher one.",
    ]
    if missing := list(table[table.published_top1.isna()].backbone):
        notes.append(f"No top-1 is published in the package of {listing(missing)}.")
    return notes


def remarks(table: pd.DataFrame) -> list[str]:
    """Return what is to be said about single publications."""
    return [f"`{name}`: {PUBLICATIONS[name].note}" for name in table.backbone if PUBLICATIONS[name].note]


def conditions(table: pd.DataFrame, folder: Path) -> list[str]:
    """Return on what speeds and accuracies were measured, and why cells are empty."""
    return [*of_sides(table), *of_speed(table, folder), *of_probes(table, folder)]


def of_sides(table: pd.DataFrame) -> list[str]:
    """Return whose top-1 and compute are for images of another side than the others'."""
    usual = table.published_px.mode()[0]
    other = table[table.published_px != usual]
    return [
        f"Top-1 and compute of `{row['backbone']}` are for {row['published_px']} px, not {usual}."
        for row in other.to_dict("records")
    ]


def of_speed(table: pd.DataFrame, folder: Path) -> list[str]:
    """Return how images a second were measured, and which backbones were not."""
    missing = list(table[table.training_images_per_second.isna()].backbone)
    if len(missing) == len(table):
        return ["Speed was not measured yet, which `make architectures` does."]
    measured = read_json(folder / "measured.json")
    machine = measured["machine"]
    note = (
        f"Images a second on {measured['device']} ({counted(machine['threads'], 'thread')}, {machine['capability']}, "
        f"torch {machine['versions']['torch']}): the median of {counted(measured['repeats'], 'repeat')} of "
        f"{measured['images']} images of {measured['image_px']} px, batch {measured['batch_size']}, "
        f"{measured['precision']}; forward as a frozen network predicts, in training with everything learning."
    )
    return [note, *([f"Not measured: {listing(missing)}."] if missing else [])]


def of_probes(table: pd.DataFrame, folder: Path) -> list[str]:
    """Return of which study the probes' accuracies are, and why some are missing."""
    missing = list(table[table.probe_accuracy.isna()].backbone)
    if len(missing) == len(table):
        return [f"No frozen probe was recorded yet, which `{PROBES}` does."]
    source, study = read_json(folder / "source.json"), read_json(folder / "study.json")
    note = (
        f"A frozen probe trains a linear head alone: accuracy on the test images of "
        f"{counted(len(study['seeds']), 'seed')}, of {source['images']:,} images ({source['origin']}) at "
        f"{study['image_px']} px."
    )
    why = f"their weights could not be reached where this was made, and with internet `{PROBES}` adds them"
    return [note, *([f"It is not told of {listing(missing)}: {why}."] if missing else [])]


def counted(count: int, noun: str) -> str:
    """Return the count with its noun, such as "2 threads"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listing(names: Sequence[str]) -> str:
    """Return the names as "`a`, `b` and `c`"; four or more, whose cells are seen to be empty, are the others."""
    if len(names) > 3:
        return f"the {len(names)} others"
    *first, last = (f"`{name}`" for name in names)
    return f"{', '.join(first)} and {last}" if first else last
