"""Look at a study's images before anything is trained: what they are, what became of them, what training will take."""

import argparse
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console
from rich.table import Table

from frostline.commands.estimate import Estimate, estimate
from frostline.constants import SPLITS
from frostline.errors import end_in_one_line
from frostline.files import check_sums, read_csv, read_json
from frostline.params.loading import load_params
from frostline.plotting import use_style
from frostline.units import format_duration, format_number

CLASSES_SHOWN, IMAGES_SHOWN = 12, 10
"""Rows and columns of the contact sheet."""
CLASSES_NAMED = 40


def main(params: Path, data: Path, out: Path) -> None:
    """Print what the images in the folder `data` are, as they were prepared, and draw a contact sheet into `out`."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    with end_in_one_line():
        settings, prepared = load_params(params), data / "prepared"
        for folder in (data / "raw", prepared):
            check_sums(folder)
        images, splits = read_csv(prepared / "images.csv"), read_csv(prepared / "splits.csv")
        about = read_json(prepared / "prepared.json")
        console.print(tabulate_classes(images, splits, about))
        for line in describe(images, about, data / "raw" / "images.parquet"):
            console.print(line, markup=False, highlight=False)
        sheet = draw_sheet(np.load(prepared / "images.npy", mmap_mode="r"), images, out)
        console.print(f"Contact sheet: {sheet.resolve()}", soft_wrap=True, highlight=False)
        console.print(tabulate_estimates(estimate(settings, prepared)))


def tabulate_classes(images: pd.DataFrame, splits: pd.DataFrame, about: dict[str, Any]) -> Table:
    """Return how many images each class has, and how many of them each split, in the first replicate, and in groups."""
    first = splits[splits.replicate == 0].set_index("image").split.reindex(images.index)
    table = Table(title=f"{len(images):,} images of {len(about['classes'])} classes", box=None, padding=(0, 1))
    for column in ("class", "images", "share", "groups", *SPLITS, "left out"):
        table.add_column(column, justify="left" if column == "class" else "right", overflow="fold")
    counts = images["class"].value_counts()
    for name in counts.index[:CLASSES_NAMED]:
        its = images[images["class"] == name]
        of_splits = [f"{int((first[its.index] == split).sum()):,}" for split in (*SPLITS, "left out")]
        share = f"{100 * len(its) / len(images):.1f} %"
        table.add_row(str(name), f"{len(its):,}", share, f"{its.group.nunique():,}", *of_splits)
    if len(counts) > CLASSES_NAMED:
        rest = counts.iloc[CLASSES_NAMED:]
        table.add_row(f"and {len(rest)} more", f"{rest.sum():,}")
    table.caption = f"splits: of the first replicate of {splits.replicate.nunique()}, {about['splits']}"
    return table


def describe(images: pd.DataFrame, about: dict[str, Any], parquet: Path) -> list[str]:
    """Return in words how large the images were, what became of them, and which are alike."""
    sides = measure_sides(parquet)
    (width, height), (least_width, least_height), (most_width, most_height) = (
        sides.median().astype(int), sides.min(), sides.max(),
    )  # fmt: skip
    px = about["image_px"]
    told = [
        f"Sizes: {least_width} x {least_height} to {most_width} x {most_height} px, in the middle {width} x {height}; "
        f"the study sees the square in their middle at {px} x {px} px."
    ]
    small = int((sides.min(axis=1) < px).sum())
    if small:
        told.append(f"{small:,} of them are smaller than that, and are enlarged.")
    told += [f"{count:,} of {len(images):,} images: {note}." for note, count in about.get("notes", {}).items()]
    groups = int(images.group.nunique())
    told.append(f"Groups that stay together: {groups:,} (data.groups: {about['groups_by']}).")
    if about["exact_duplicates"] or about["near_duplicates"]:
        exact, near = (f"{about[name]:,}" for name in ("exact_duplicates", "near_duplicates"))
        alike = f"{exact} with the pixels of an earlier one, {near} near ones"
        told.append(f"Duplicates: {alike}, {about['left_out']:,} left out: data/prepared/duplicates.csv lists them.")
    return told


def measure_sides(parquet: Path) -> pd.DataFrame:
    """Return the width and height of each image, from its first bytes."""
    sides = []
    for batch in pq.ParquetFile(parquet, pre_buffer=False).iter_batches(8, columns=["image"]):
        for image in batch.to_pydict()["image"]:
            with Image.open(io.BytesIO(image["bytes"])) as opened:
                sides.append(opened.size)
    return pd.DataFrame(sides, columns=["width", "height"])


def draw_sheet(pixels: Any, images: pd.DataFrame, out: Path) -> Path:
    """Draw images of each class as the study sees them, with a row for each kind of what was made of some of them."""
    from matplotlib.figure import Figure

    rng = np.random.default_rng(0)
    rows = [(str(name), its.index.to_numpy()) for name, its in images.groupby("class", sort=False)][:CLASSES_SHOWN]
    if "note" in images:
        rows += [(str(note), its.index.to_numpy()) for note, its in images[images.note.notna()].groupby("note")]
    with use_style():
        figure = Figure(figsize=(IMAGES_SHOWN + 2.2, len(rows) * 1.06), dpi=110)
        for row, (name, its) in enumerate(rows):
            chosen = np.sort(rng.permutation(its)[:IMAGES_SHOWN])
            top = 1 - (row + 1) / len(rows)
            figure.text(0.005, top + 0.5 / len(rows), wrap(name), va="center", fontsize=9)
            for column, image in enumerate(chosen):
                left, width = (2.2 + column) / (IMAGES_SHOWN + 2.2), 0.95 / (IMAGES_SHOWN + 2.2)
                axes = figure.add_axes((left, top + 0.02 / len(rows), width, 0.92 / len(rows)))
                axes.imshow(pixels[image])
                axes.axis("off")
        out.mkdir(parents=True, exist_ok=True)
        figure.savefig(out / "contact_sheet.png")
    return out / "contact_sheet.png"


def wrap(name: str, width: int = 24) -> str:
    """Return a name in lines that are short enough for the margin of the sheet, three at most."""
    import textwrap

    return textwrap.fill(name, width, max_lines=3, placeholder="\N{HORIZONTAL ELLIPSIS}")


def tabulate_estimates(estimates: list[Estimate]) -> Table:
    """Return what each run takes, and all of them together."""
    seconds, kept = sum(run.seconds for run in estimates), sum(run.bytes for run in estimates)
    table = Table(title="What training takes here, at most", box=None, padding=(0, 1), show_footer=True)
    table.add_column("run", footer="all")
    table.add_column("fits", footer=f"{sum(run.fits for run in estimates):,}", justify="right")
    table.add_column("time", footer=f"about {format_duration(seconds)}", justify="right")
    table.add_column("on the disk", footer=format_number(kept, "B"), justify="right")
    for run in estimates:
        table.add_row(run.run, f"{run.fits:,}", f"about {format_duration(run.seconds)}", format_number(run.bytes, "B"))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("params", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("check"))
    main(**vars(parser.parse_args()))
