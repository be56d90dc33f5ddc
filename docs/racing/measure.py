"""Measure what racing saves, and whether it changes the advice: `python -m docs.racing.measure --help`.

On every split the full grid is trained once, and what each fit had come to after each of its epochs is noted. A race is
then held over these notes: what a race trains is bit for bit what the grid does (a test says so), so that both have the
same seconds, epoch by epoch, and no noise of the machine comes between them. Both are evaluated and compared as usual.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from rich.table import Table

from benchmarks.images import find_folder_images, link
from benchmarks.machine import describe_machine
from benchmarks.tables import Row, make_table, open_console
from frostline.backbones.precision import compute_deterministically
from frostline.constants import Rates, name_run
from frostline.errors import InputError, end_in_one_line
from frostline.files import read_csv, read_json, write_csv, write_json, write_yaml
from frostline.params import Params, load_params
from frostline.racing import Answer, Asked, TrialResult, Worker, read_result
from frostline.training.checkpoints import drop_oldest
from frostline.training.job import make_job
from frostline.training.loop import Epoch
from frostline.training.results import Histories, choose_rates
from stages import compare, evaluate, fetch, prepare
from stages.race import Trial, hold_race, start_trial, tell
from tools.choose import read_study

ROOT = Path(__file__).parents[2]
SCRATCH = ROOT / ".dvc" / "tmp" / "frostline"
UNRACED: Row = {"racing": False, "stopped": None, "dropped": []}
"""What race.json tells of a run without a race."""


@dataclass(frozen=True)
class Options:
    """Which study is raced on how many splits."""

    study: str
    folder: Path | None
    px: int | None
    splits: int
    name: str
    out: Path


@dataclass
class Noted(Worker):
    """A worker that was run once, of which all that is asked later is read from notes.

    `notes` has what each cell had come to after so many of its epochs, and `full` the epochs of each phase's fits.
    """

    notes: dict[tuple[Rates, int], dict[int, TrialResult]] = field(default_factory=dict)
    full: list[Histories] = field(default_factory=list)

    def run(self) -> None:
        """Train every cell from its first epoch to its end, noting how it stood after each."""
        self.clean_up()  # of fits that somebody trained before, whose first epochs nobody noted
        for rates, seed in product(self.job.list_rates(len(self.job.phases)), self.job.replicates):
            self.notes[rates, seed] = {len(fit.history): read_result(fit) for fit in self.train_cell(rates, seed)}
        self.full = [dict(histories) for histories in self.histories]
        for (rates, seed), results in self.notes.items():
            for epoch in self.full[-1][rates, seed]:
                if epoch.epoch not in results:  # it is in a phase that was trained once for several cells
                    results[epoch.epoch] = self.find_result_of_another(rates, seed, epoch)

    def find_result_of_another(self, rates: Rates, seed: int, epoch: Epoch) -> TrialResult:
        """Return the result after the epoch, as it was noted for a cell that had the same rates until then."""
        shared = rates[: epoch.phase]
        return next(
            results[epoch.epoch]
            for (other, its_seed), results in self.notes.items()
            if (other[: epoch.phase], its_seed) == (shared, seed) and epoch.epoch in results
        )

    def clean_up(self) -> None:
        """Remove all fits."""
        drop_oldest(self.job.scratch, 0)

    def forget(self) -> None:
        """Stand at the start again."""
        self.histories = [{} for _ in self.full]

    def train(self, rates: Rates, seed: int, most: int | None) -> TrialResult:
        """Return the result that the cell came to in so many epochs at most."""
        results = self.notes[rates, seed]
        result = results[min(most or len(results), len(results))]
        for phase, (histories, full) in enumerate(zip(self.histories, self.full, strict=True), 1):
            past = [epoch for epoch in full[rates[:phase], seed] if epoch.epoch <= result.epochs]
            histories[rates[:phase], seed] = past
        return result


def main(options: Options) -> None:
    """Race on every split, print what came of it, and write it."""
    screen = open_console()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    compute_deterministically(torch.device("cpu"))
    rows = []
    for split in range(options.splits):
        with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="benchmark-") as scratch:
            folder = Path(scratch)
            settings = arrange(options, folder, split)
            with run_grid(settings, folder) as workers:
                rows.append({"split": split, **compare_arms(workers, settings, folder)})
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
    params["study"] |= {"repeats": split + 1, "racing": True}
    if options.folder is not None:
        paths: dict[str, list[Path]] = {}
        for _, name, path in find_folder_images(options.folder):
            paths.setdefault(name, []).append(path)
        for name, of_class in paths.items():
            link(of_class, folder / "images" / name)
        params["data"] |= {"source": "folder", "folder": str(folder / "images")}
    params["data"]["image_px"] = options.px or params["data"]["image_px"]
    write_yaml(folder / "params.yaml", params)
    settings = load_params(folder / "params.yaml")
    if settings.advice.cost == "peak_memory_bytes":
        raise InputError.of(
            "advice.cost", "be counted for each run alone, as all are trained in one process", "its memory"
        )
    return settings


@contextmanager
def run_grid(settings: Params, folder: Path) -> Iterator[dict[str, Noted]]:
    """Yield the study's runs, each trained in full, by their names; their checkpoints last as long."""
    workers: dict[str, Noted] = {}
    params, raw, prepared = folder / "params.yaml", folder / "raw", folder / "prepared"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            fetch.main(params=params, out=raw)
            prepare.main(params=params, raw=raw, out=prepared)
            keep_last_repeat(prepared, settings)
            for backbone in settings.backbones:
                for plan in settings.study.plans:
                    name = name_run(backbone, plan)
                    workers[name] = Noted(make_job(settings, prepared, backbone, plan), plan)
                    workers[name].run()
        yield workers
    finally:
        for worker in workers.values():
            worker.clean_up()


def keep_last_repeat(prepared: Path, settings: Params) -> None:
    """Leave of the prepared splits those of the last repeat alone."""
    splits = read_csv(prepared / "splits.csv")
    last = splits.replicate // settings.data.folds == settings.study.repeats - 1
    write_csv(prepared / "splits.csv", splits[last])


def compare_arms(workers: Mapping[str, Noted], settings: Params, folder: Path) -> Row:
    """Return what grid and race cost and advise on this split."""
    with contextlib.redirect_stdout(io.StringIO()):
        for name, worker in workers.items():
            written = folder / "grid" / name
            written.mkdir(parents=True)
            worker.write(written, choose_rates(worker.full[-1]), worker.job.replicates)
            write_json(written / "race.json", UNRACED)
        for trial in race_over_notes(workers, settings, folder / "prepared"):
            written = folder / "race" / trial.name
            written.mkdir(parents=True)
            trial.ask(Worker.write, written, trial.rates[0], trial.replicates)
            write_json(written / "race.json", tell(trial))
        return {key: value for arm in ("grid", "race") for key, value in read_outcome(folder, arm).items()}


def race_over_notes(workers: Mapping[str, Noted], settings: Params, prepared: Path) -> list[Trial]:
    """Return how the runs would have come out of a race, each by its notes."""
    for worker in workers.values():
        worker.forget()
    return hold_race(settings, prepared, [start_trial(name, AskNotes(worker)) for name, worker in workers.items()])


@dataclass(frozen=True)
class AskNotes:
    """Has the notes of a worker do what is asked of it."""

    noted: Noted

    def __call__(self, do: Callable[[Worker, *Asked], Answer], *arguments: *Asked) -> Answer:
        """Return what the method of that name returns of the notes."""
        answer: Answer = getattr(self.noted, do.__name__)(*arguments)
        return answer


def read_outcome(folder: Path, arm: str) -> Row:
    """Return the seconds that the arm's training took, its advice, and what it stopped, once it is evaluated."""
    prepared, runs, scores, out = folder / "prepared", folder / arm, folder / f"{arm}-scores", folder / f"{arm}-reports"
    races = {run.name: read_json(run / "race.json")["stopped"] for run in runs.iterdir()}
    for name in sorted(races):
        if races[name] is None:
            evaluate.main(params=folder / "params.yaml", prepared=prepared, run=runs / name, out=scores / name)
    compare.main(params=folder / "params.yaml", prepared=prepared, runs=runs, scores=scores, out=out)
    advice = read_json(out / "advice.json")
    return {
        f"{arm}_seconds": sum(read_json(run / "costs.json")["train_seconds"] for run in runs.iterdir()),
        f"{arm}_plan": name_run(advice["backbone"], advice["plan"]),
        f"{arm}_status": advice["advice"],
        f"{arm}_stopped": " ".join(f"{name}@{stop['replicates']}" for name, stop in sorted(races.items()) if stop),
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
