"""Measure what frozen BatchNorm does when it is not held: `python -m docs.drift.measure --help`.

Only the head of EfficientNet-Lite0 learns, in two ways that differ in the mode of what is frozen (`drifting.py`), on
the same images, in the same batches, from the same new head. As in the default study each image is tested once, in
folds. Neither rate nor epoch is chosen; validation is for the curves, and each test set is read in the end.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.machine import describe_machine
from benchmarks.tables import Row
from benchmarks.this_project import compute_exactly
from docs.drift.figure import draw
from docs.drift.training import BACKBONE, WAYS, Lesson, compare_ways
from docs.racing.measure import ROOT, SCRATCH
from frostline.answer.estimator import estimate
from frostline.answer.outcomes import Integers, average_scores
from frostline.data.images import Prepared, read_prepared
from frostline.errors import InputError, end_in_one_line
from frostline.files import read_csv, write_csv, write_json, write_yaml
from frostline.laying.studies import read_study
from frostline.plotting import save_figure, use_style
from frostline.units import typeset_points
from stages import fetch, prepare

COMPARED = {
    "drifting": ("drifting_head_drifted_statistics", "held_head_loaded_statistics"),
    "drifting_head_alone": ("drifting_head_loaded_statistics", "drifting_head_drifted_statistics"),
    "held_head_moved": ("held_head_drifted_statistics", "held_head_loaded_statistics"),
}
"""Differences in test accuracy, the first minus the second: what the drifting way comes to beside the held one; what is
left of its head when it is put on the published backbone; and of the held head when the backbone beneath it drifts."""


@dataclass(frozen=True)
class Options:
    """What is measured, and how long."""

    study: str
    epochs: int
    batch: int
    px: int | None
    learning_rate: float
    out: Path


def main(options: Options) -> None:
    """Teach both ways in every fold, say what came of it, and write it."""
    rows = []
    with compute_exactly(torch.device("cpu")):
        data, groups = load_images(options)
        for fold in sorted(set(data.splits.replicate)):
            rows.append(compare_ways(summarise_lesson(data, options, fold)))
            print(report_row(rows[-1]), flush=True)
    differences = {name: measure_difference(rows, groups, *pair) for name, pair in COMPARED.items()}
    about = {"folds": len(rows), "backbone": BACKBONE, "image_px": data.images.shape[1], "machine": describe_machine()}
    asked = {name: value for name, value in asdict(options).items() if name in ("epochs", "batch", "learning_rate")}
    rows = [{name: value for name, value in row.items() if name not in ("tested", "hits")} for row in rows]
    write_json(options.out / "drift.json", about | asked | {"differences": differences, "of_folds": rows})
    write_csv(options.out / "drift.csv", pd.DataFrame(rows).drop(columns="curves"))
    with use_style():
        save_figure(draw(rows), options.out, "drift")


def load_images(options: Options) -> tuple[Prepared, Integers]:
    """Return the study's images, in the folds of one repeat, and their groups. They are in memory, as files vanish."""
    params = read_study(options.study, ROOT)
    params["study"]["repeats"] = 1
    params["data"]["image_px"] = options.px or params["data"]["image_px"]
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=SCRATCH, prefix="benchmark-") as scratch,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        folder = Path(scratch)
        write_yaml(folder / "params.yaml", params)
        fetch.main(params=folder / "params.yaml", out=folder / "raw")
        prepare.main(params=folder / "params.yaml", raw=folder / "raw", out=folder / "prepared")
        found = read_prepared(folder / "prepared")
        groups = read_csv(folder / "prepared" / "images.csv").group.to_numpy(np.int64)
        return Prepared(np.array(found.images), found.labels, found.ids, found.classes, found.splits), groups


def summarise_lesson(data: Prepared, options: Options, fold: int) -> Lesson:
    """Return what is taught in the fold, and how."""
    rows = {split: data.list_rows(split, [fold]) for split in ("train", "validation", "test")}
    how = (len(data.classes), fold, options.epochs, options.batch, options.learning_rate)
    return Lesson(data.images, data.labels, rows, *how)


def measure_difference(rows: Sequence[Row], groups: Integers, one: str, other: str) -> dict[str, float]:
    """Return by how much the one accuracy is above the other, image by image in pairs, with its 95 % interval.

    `groups` are those of all images, each of which one of the folds has tested.
    """
    tested = np.concatenate([row["tested"] for row in rows])
    folds = np.repeat(np.arange(len(rows)), [len(row["tested"]) for row in rows])
    scores = np.array([[np.concatenate([row["hits"][name] for row in rows])] for name in (one, other)], dtype=float)
    numbered = np.unique(groups[tested], return_inverse=True)[1].astype(np.int64)
    found = estimate(average_scores(scores, numbered, folds[None])).get_difference(0, 1)
    return {"estimate": found.estimate, "low": max(-1.0, found.low), "high": min(1.0, found.high)}


def report_row(row: Row) -> str:
    """Return in a line what came of a fold."""
    apart = {name: typeset_points(row[one] - row[other]) for name, (one, other) in COMPARED.items()}
    moved = " and ".join(f"{row[f'{way}_moved_tensors']} ({way})" for way in WAYS)
    return (
        f"fold {row['fold']}: {moved} of {row['frozen_tensors']} frozen tensors moved; drifting against held "
        f"{apart['drifting']} points, its head on the loaded statistics {apart['drifting_head_alone']}, the held head "
        f"on the drifted ones {apart['held_head_moved']}"
    )


def parse(arguments: Sequence[str]) -> Options:
    """Return the options, or raise an `InputError` about the first that is out of range."""
    made = argparse.ArgumentParser(prog="python -m docs.drift.measure", description=__doc__)
    add = made.add_argument
    add("--study", default="default", help="a study by its name, whose images are taken")
    add("--epochs", type=int, default=4, help="all of them: none is chosen")
    add("--batch", type=int, default=32, help="images in a batch, whose statistics are drifted by")
    add("--px", type=int, help="side of the square images, in place of the study's")
    add("--learning-rate", type=float, default=0.001, help="of AdamW")
    add("--out", type=Path, default=ROOT / "docs" / "drift", help="folder for the results")
    options = Options(**vars(made.parse_args(arguments)))
    read_study(options.study, ROOT)  # or say which there are
    for option, least in {"epochs": 1, "batch": 2}.items():
        if (got := getattr(options, option)) < least:
            raise InputError.of(f"--{option}", f"be at least {least}", str(got))
    if not options.learning_rate > 0:
        raise InputError.of("--learning-rate", "be more than 0", f"{options.learning_rate:g}")
    return options


if __name__ == "__main__":
    with end_in_one_line():
        main(parse(sys.argv[1:]))
