"""Whether what is faster learns as well: the scripts trained to the end, from the same weights, over seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import mean, stdev

from rich.table import Table

from benchmarks.scripts import LETTERS, get_script
from benchmarks.speed import take_turns
from benchmarks.tables import Row, make_table
from benchmarks.task import Task


def train_all(tasks: Sequence[Task], scripts: Sequence[str], seeds: int) -> Iterator[Row]:
    """Yield a row for every plan, seed and script: the accuracy on the validation images after the last epoch.

    No epoch is chosen, so that the validation images are as unseen as test images would be.
    """
    for task in tasks:
        for seed, script in take_turns(scripts, seeds):
            accuracy = get_script(script)(replace(task, seed=seed)).accuracies[-1]
            print(f"{task.plan}, seed {seed}, {script}: {accuracy:.4f}", flush=True)
            yield {"plan": task.plan, "seed": seed, "script": script, "val_accuracy": accuracy}


def average_over_seeds(runs: Sequence[Row]) -> list[Row]:
    """Return a row for every plan: each script's mean and standard deviation over seeds (0 for one seed)."""
    rows: dict[str, Row] = {}
    for run in runs:
        rows.setdefault(run["plan"], {"plan": run["plan"]}).setdefault(run["script"], []).append(run["val_accuracy"])
    return [{"plan": row.pop("plan")} | _spread(row) for row in rows.values()]


def _spread(accuracies: dict[str, list[float]]) -> Row:
    spread: Row = {}
    for script, values in accuracies.items():
        spread[f"{script}_val_accuracy"] = mean(values)
        spread[f"{script}_val_accuracy_sd"] = stdev(values) if len(values) > 1 else 0.0
    return spread


def tabulate_accuracies(rows: Sequence[Row], scripts: Sequence[str]) -> Table:
    """Return the table of means and standard deviations, in percent."""
    columns: dict[str, str] = {}
    for script in scripts:
        columns |= {
            f"{LETTERS[script]}\nmean, %": f"{script}_val_accuracy",
            f"{LETTERS[script]}\nsd": f"{script}_val_accuracy_sd",
        }
    percent = [row | {name: 100 * row[name] for name in columns.values()} for row in rows]
    return make_table(columns, percent, "Validation accuracy after the last epoch")
