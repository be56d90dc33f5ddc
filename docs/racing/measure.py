"""Hold a race against the grid on the same splits: `python -m docs.racing.measure --help`.

On each split (the folds of a repeat of its own) the study is trained in full, then raced. A race finds the fits that it
would have trained in the grid's scratch, bit for bit what it would train itself, so that the seconds of both are the
same ones, fit by fit, and no noise of the machine comes between them.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.table import Table

from benchmarks.images import find_folder_images, link
from benchmarks.machine import describe_machine
from benchmarks.tables import Row, make_table, open_console
from frostline.constants import name_run
from frostline.errors import InputError, end_in_one_line
from frostline.files import read_csv, read_json, write_csv, write_json, write_yaml
from frostline.laying.studies import read_study
from frostline.params.loading import load_params
from frostline.params.schema import Params
from stages import compare, evaluate, fetch, prepare, race, train

ROOT = Path(__file__).parents[2]
SCRATCH = ROOT / ".dvc" / "tmp" / "frostline"


@dataclass(frozen=True)
class Options:
    """Which study is raced on how many splits."""

    study: str
    folder: Path | None
    px: int | None
    splits: int
    name: str
    out: Path


def main(options: Options) -> None:
    """Race on every split, print what came of it, and write it."""
    screen = open_console()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    rows = []
    for split in range(options.splits):
        with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="benchmark-") as scratch:
            settings = arrange(options, Path(scratch), split)
            rows.append({"split": split, **compare_arms(settings, Path(scratch))})
        screen.print(report_outcome(rows[-1]), markup=False)
    screen.print(show_outcomes(rows))
    about: Row = {"study": options.study, "image_px": settings.data.image_px, **summarise(rows)}
    same = f"The same plan is advised on {about['same_plan']} of {len(rows)} splits"
    screen.print(f"{same}, after {about['ratio']:.2f} of the seconds.", markup=False)
    name = options.name
    write_json(options.out / f"{name}.json", about | {"machine": describe_machine(), "of_splits": rows})
    write_csv(options.out / f"{name}.csv", pd.DataFrame(rows))


def arrange(options: Options, folder: Path, split: int) -> Params:
    """Return the study on a split, in the folds of a repeat of its own, written into params.yaml in the folder.

    Of a folder the images of all official splits are put together, and split anew.
    """
    params = read_study(options.study, ROOT)
    params["study"] |= {"repeats": split + 1, "racing": False}
    if options.folder is not None:
        paths: dict[str, list[Path]] = {}
        for _, name, path in find_folder_images(options.folder):
            paths.setdefault(name, []).append(path)
        for name, of_class in paths.items():
            link(of_class, folder / "images" / name)
        params["data"] |= {"source": "folder", "folder": str(folder / "images")}
    params["data"]["image_px"] = options.px or params["data"]["image_px"]
    write_yaml(folder / "params.yaml", params)
    write_yaml(folder / "raced.yaml", params | {"study": params["study"] | {"racing": True}})
    return load_params(folder / "params.yaml")


def compare_arms(settings: Params, folder: Path) -> Row:
    """Return what grid and race cost and advise on this split."""
    prepared, before = folder / "prepared", os.environ.get("DVC_ROOT")
    os.environ["DVC_ROOT"] = str(folder)  # where workers, too, keep their fits
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            fetch.main(params=folder / "params.yaml", out=folder / "raw")
            prepare.main(params=folder / "params.yaml", raw=folder / "raw", out=prepared)
            keep_last_repeat(prepared, settings)
            return run_arm(settings, folder, "grid", folder / "params.yaml") | run_arm(
                settings, folder, "race", folder / "raced.yaml"
            )
    finally:
        os.environ.pop("DVC_ROOT")
        if before is not None:
            os.environ["DVC_ROOT"] = before


def keep_last_repeat(prepared: Path, settings: Params) -> None:
    """Leave of the prepared splits those of the last repeat alone."""
    splits = read_csv(prepared / "splits.csv")
    last = splits.replicate // settings.data.folds == settings.study.repeats - 1
    write_csv(prepared / "splits.csv", splits[last])


def run_arm(settings: Params, folder: Path, arm: str, params: Path) -> Row:
    """Return the seconds that the arm's training took, its advice, and what it stopped."""
    prepared, runs, scores, out = folder / "prepared", folder / arm, folder / f"{arm}-scores", folder / f"{arm}-reports"
    race.main(params=params, prepared=prepared, out=folder / f"{arm}-races")
    for backbone in settings.backbones:
        for plan in settings.study.plans:
            name = name_run(backbone, plan)
            left = folder / f"{arm}-races" / name
            train.main(params=params, prepared=prepared, race=left, backbone=backbone, plan=plan, out=runs / name)
            evaluate.main(params=params, prepared=prepared, run=runs / name, out=scores / name)
    compare.main(params=params, prepared=prepared, runs=runs, scores=scores, out=out)
    advice = read_json(out / "advice.json")
    stopped = {run.name: read_json(run / "race.json")["stopped"] for run in sorted(runs.iterdir())}
    return {
        f"{arm}_seconds": sum(read_json(run / "costs.json")["spent_seconds"] for run in runs.iterdir()),
        f"{arm}_plan": name_run(advice["backbone"], advice["plan"]),
        f"{arm}_status": advice["advice"],
        f"{arm}_stopped": " ".join(f"{name}@{stop['replicates']}" for name, stop in stopped.items() if stop),
    }


def report_outcome(row: Row) -> str:
    """Return in a line what came of a split."""
    stopped = row["race_stopped"] or "no plan"
    advised = f"advised {row['race_plan']} ({row['race_status']}), in full {row['grid_plan']} ({row['grid_status']})"
    return f"split {row['split']}: {advised}; stopped after so many folds: {stopped}"


def show_outcomes(rows: Sequence[Row]) -> Table:
    """Return the table of seconds."""
    columns = {"grid": "grid_seconds", "race": "race_seconds", "race / grid": "ratio"}
    lines = [
        row | {"plan": f"split {row['split']}", "ratio": row["race_seconds"] / row["grid_seconds"]} for row in rows
    ]
    return make_table(columns, lines, "Seconds of training")


def summarise(rows: Sequence[Row]) -> Row:
    """Return on how many splits the advice was the same, and the share of all seconds that the race needed."""
    return {
        "splits": len(rows),
        "same_plan": sum(row["grid_plan"] == row["race_plan"] for row in rows),
        "same_status": sum(row["grid_status"] == row["race_status"] for row in rows),
        "ratio": sum(row["race_seconds"] for row in rows) / sum(row["grid_seconds"] for row in rows),
    }


def parse(arguments: Sequence[str]) -> Options:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m docs.racing.measure", description=__doc__)
    add = parser.add_argument
    add("--study", default="default", help="a study by its name, whose images are taken")
    add("--folder", type=Path, help="its images: all splits of it are put together and drawn anew")
    add("--px", type=int, help="side of the square images, in place of the study's")
    add("--splits", type=int, default=5, help="on how many splits, each in folds of its own")
    add("--name", default="default", help="of the results: <name>.json and .csv")
    add("--out", type=Path, default=Path(__file__).parent, help="folder for the results")
    options = Options(**vars(parser.parse_args(arguments)))
    read_study(options.study, ROOT)  # or say which there are
    if options.splits < 1:
        raise InputError.of("--splits", "be at least 1", str(options.splits))
    return options


if __name__ == "__main__":
    with end_in_one_line():
        main(parse(sys.argv[1:]))
