"""Measure what freezing saves here, beside what it saves in the script that one would write without this project.

`make benchmark` compares seconds and memory. Accuracy, in some minutes:
`python -m benchmarks.freezing --accuracy --backbone efficientnet_lite0 --px 96 --images 400 --plans stem stage4 head`.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.accuracy import average_over_seeds, tabulate_accuracies, train_all
from benchmarks.images import arrange, find_folder_images, write_elpv_images
from benchmarks.machine import IS_GPU, describe_machine, name_kind
from benchmarks.memory import STEPS, measure_script_memory
from benchmarks.options import ROOT, Options, parse
from benchmarks.scripts import LETTERS, SCRIPTS, get_script
from benchmarks.speed import Measured, Rates, measure, warm_up
from benchmarks.steps import measure_step_seconds
from benchmarks.tables import (
    Row,
    make_speed_row,
    open_console,
    sum_rows,
    tabulate_memory,
    tabulate_speed,
    write_results,
)
from benchmarks.task import MANY, MEASURED, Task
from benchmarks.this_project import choose_precision, choose_weights, prepare_images
from frostline.errors import end_in_one_line

SCRATCH = ROOT / ".dvc" / "tmp" / "frostline"


@dataclass(frozen=True)
class Setting:
    """The images as they were arranged and prepared, what is known of them, and a task for every plan."""

    about: Row
    tasks: list[Task]


def main(options: Options) -> None:
    """Measure, print and write what was asked for."""
    for script in options.scripts:
        get_script(script)  # whoever lacks Lightning is told before any epoch
    screen = open_console()
    with prepare_setting(options) as made:
        introduce(screen, options, made.about)
        if options.accuracy:
            compare_accuracy(screen, options, made)
        else:
            compare_speed(screen, options, made)


@contextmanager
def prepare_setting(options: Options) -> Iterator[Setting]:
    """Arrange and prepare the images in a scratch folder, which goes when all is measured."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="benchmark-") as scratch:
        folder = Path(scratch)
        found = find_folder_images(options.folder) if options.folder else write_elpv_images(folder / "cells")
        counts = arrange(found, options.images, folder / "images", spare_validates=options.accuracy)
        seconds = prepare_images(folder, options.px, options.seeds if options.accuracy else 1)
        weights = choose_weights(options.backbone) if options.weights == "auto" else options.weights
        tasks = [make_task(options, folder, plan, weights) for plan in options.plans]
        origin = options.folder.name if options.folder else "elpv-dataset"
        about = {"images": origin, **counts, "prepare_seconds": seconds, "precision": choose_precision()}
        yield Setting(about | describe_task(options, tasks[0]), tasks)


def make_task(options: Options, folder: Path, plan: str, weights: str) -> Task:
    """Return the task of one plan."""
    return Task(
        folder=str(folder),
        backbone=options.backbone,
        weights=weights,
        plan=plan,
        classes=sum(path.is_dir() for path in (folder / "images" / "train").iterdir()),
        image_px=options.px,
        batch_size=options.batch,
        epochs=options.epochs if options.accuracy else MEASURED,
        learning_rate=options.learning_rate,
        fits=1 if options.accuracy or IS_GPU else torch.get_num_threads(),
    )


def describe_task(options: Options, task: Task) -> Row:
    """Return what all plans have in common, without the names of this machine's folders."""
    shared: Row = {"backbone": task.backbone, "weights": task.weights, "classes": task.classes}
    shared |= {"image_px": task.image_px, "batch_size": task.batch_size, "learning_rate": task.learning_rate}
    passes = {"epochs": options.epochs, "seeds": options.seeds} if options.accuracy else {"rounds": options.rounds}
    return shared | passes | {"machine": describe_machine()}


def introduce(screen: Console, options: Options, about: Row) -> None:
    """Say what is compared, on which images and which machine."""
    for script in options.scripts:
        screen.print(f"{LETTERS[script]} {script}: {SCRIPTS[script]}", markup=False)
    screen.print(
        f"{about['train']:,} training and {about['validation']:,} validation images of {about['images']}, "
        f"{about['image_px']} px, batch {about['batch_size']}; {about['backbone']}, weights: {about['weights']}"
    )
    machine = about["machine"]
    screen.print(f"{machine['processor']}, {machine['threads']} threads, torch {machine['versions']['torch']}")


def compare_speed(screen: Console, options: Options, made: Setting) -> None:
    """Measure seconds, and memory if asked, and write results-<kind>.json and .csv, unless it was to be quick."""
    rates = Rates()
    warm_up(made.tasks, options.scripts)
    rates.take()
    measured = []
    for plan, task in zip(measure(made.tasks, options.scripts, options.rounds), made.tasks, strict=True):
        rates.take()
        plan.step_seconds = measure_step_seconds(task)
        measured.append(plan)
    if options.memory:
        measure_memory(measured, made.tasks, options.scripts)
    rows = [make_speed_row(plan, rates, options.scripts, options.batch) for plan in measured]
    summed = sum_rows(rows, options.scripts, made.about["prepare_seconds"])
    show_speed(screen, [*rows, summed], options, made.about, rates)
    about = made.about | {"product_flops_per_second": rates.taken, "total": summed}
    if not options.quick:
        write_results(options.out, f"results-{name_kind()}", about, rows)


def measure_memory(measured: Sequence[Measured], tasks: Sequence[Task], scripts: Sequence[str]) -> None:
    """Add to each measurement every script's peak, of a few batches in a process of its own."""
    for plan, task in zip(measured, tasks, strict=True):
        plan.peaks = {script: measure_script_memory(script, replace(task, steps=STEPS, fits=1)) for script in scripts}


def show_speed(screen: Console, rows: Sequence[Row], options: Options, about: Row, rates: Rates) -> None:
    """Print the tables, and what must be known to read them."""
    screen.print(tabulate_speed(rows, options.scripts))
    if options.memory:
        screen.print(tabulate_memory(rows[:-1], options.scripts))
    at_once = 1 if IS_GPU else torch.get_num_threads()
    screen.print(
        f"Seconds are medians of {options.rounds} rounds of {MEASURED} epochs, validation included; the first counts "
        f"once, as it also starts kernels and the optimizer, and {MANY} epochs are extrapolated "
        f"from them, with each script's start, for the project its prefix. The project's images were prepared once for "
        f"all plans in {about['prepare_seconds']:.1f} s, which its total holds; it computes in {about['precision']}. "
        f"It trains {at_once} fits side by side, and its seconds are those of one: that share of both."
    )
    for name in rates.taken[0]:
        taken = sorted(rate[name] / 1e9 for rate in rates.taken)
        spread = f"{taken[0]:.0f} to {taken[-1]:.0f}"
        screen.print(f"Matrix products in {name}: {rates.get_rate(name) / 1e9:.0f} GFLOP/s (median; {spread})")
    screen.print(f"The limit is the FLOPs that a plan cannot do without, at the rate of {about['precision']}.")


def compare_accuracy(screen: Console, options: Options, made: Setting) -> None:
    """Train to the end over seeds, and write accuracy.json and accuracy.csv."""
    runs = list(train_all(made.tasks, options.scripts, options.seeds))
    rows = average_over_seeds(runs)
    screen.print(tabulate_accuracies(rows, options.scripts))
    write_results(options.out, "accuracy", made.about | {"runs": runs}, rows)


if __name__ == "__main__":
    with end_in_one_line():
        main(parse(sys.argv[1:]))
