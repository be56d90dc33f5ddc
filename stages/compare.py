"""Put the study's runs side by side: what each depth scores and costs, how sure that is, and which one to take.

Reads: the study's runs and scores; exactly these, whatever else lies in their folders. Of the prepared images, which
belong together and how many are trained on.
Writes: `plans.csv`, `pairs.csv`, `runs.csv`, `history.csv`, `confusion.csv`, `costs.csv`, `shifted.csv` (what is left
of the accuracy on shifted test images, if that was asked for), `stopped.csv` (what a race stopped), `advice.json`,
`study.json` and `metrics.json`, into one folder, and in `SHA256SUMS` their sums. Measured seconds and bytes stand in
`costs.csv`, in metrics.json's `train_seconds` and `peak_memory_bytes`, in advice.json's `more_seconds`, and, where they
are the cost that is asked about, in all of advice; all else is the same bytes when the study is run again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from frostline.answer.estimator import estimate
from frostline.constants import PARTS, name_run
from frostline.errors import run_command
from frostline.files import check_sums, read_csv, read_json, write_csv, write_json, write_sums
from frostline.params.loading import load_params
from frostline.params.schema import Params
from frostline.stats.ablations import compare_sizes, compare_views, describe_share, describe_views, have_several_sizes
from frostline.stats.advice import Option, Study
from frostline.stats.advice_text import advise, classify_depth
from frostline.stats.measured import ADVISED_BY, Measured, Tested, gather_tests, measure, name_by_chance, turn
from frostline.stats.methods import describe_study
from frostline.stats.tables import (
    Cell,
    make_confusion_table,
    make_costs_table,
    make_history_table,
    make_pairs_table,
    make_plans_table,
    make_runs_table,
    make_shifted_table,
    make_stopped_table,
)

WRITTEN = (
    "plans.csv", "pairs.csv", "runs.csv", "history.csv", "confusion.csv", "costs.csv", "shifted.csv", "stopped.csv",
    "advice.json", "study.json", "metrics.json",
)  # fmt: skip


@dataclass(frozen=True)
class Images:
    """Of the prepared images: the group of each, what each is in each replicate, and prepared.json."""

    groups: NDArray[np.int64]
    splits: pd.DataFrame
    about: dict[str, Any]

    @property
    def train_images(self) -> float:
        """How many images a replicate trains on, as a mean over replicates."""
        return float((self.splits.split == "train").groupby(self.splits.replicate).sum().mean())

    @property
    def folds(self) -> int:
        """How many replicates a repeat has."""
        return int(self.about["folds"])


def main(*, params: Path, prepared: Path, runs: Path, scores: Path, out: Path) -> None:
    """Compare the study's runs into the folder `out`."""
    settings = load_params(params)
    named = [(backbone, plan) for backbone in settings.backbones for plan in settings.study.plans]
    cells = [read_cell(runs / name_run(*cell), scores / name_run(*cell)) for cell in named]
    images, classes = read_images(prepared), cells[0].run["classes"]

    tested = gather(cells, [cell.predictions for cell in cells], images)
    measured = measure(tested, classes)
    per_run = make_runs_table(cells)
    costs = make_costs_table(cells, measured.estimates["accuracy"])
    options = make_options(cells, costs[settings.advice.cost])
    study = make_study(settings, cells, options, images, tested)
    advice = advise(study)
    per_plan = make_plans_table(cells, per_run, measured, advice)

    write_csv(out / "plans.csv", per_plan)
    write_csv(out / "pairs.csv", make_pairs_table(cells, measured))
    write_csv(out / "runs.csv", per_run)
    write_csv(out / "history.csv", make_history_table(cells))
    write_csv(out / "confusion.csv", make_confusion_table(cells))
    write_csv(out / "costs.csv", costs)
    write_csv(out / "shifted.csv", make_shifted_table(cells, measure_shifts(settings, cells, images, measured)))
    write_csv(out / "stopped.csv", make_stopped_table(cells))
    write_json(out / "advice.json", name_plans(advice, cells))
    runs_told = [cell.run for cell in cells]
    lessons = {
        "views": compare_views(runs_told, measured),
        "sizes": compare_sizes(runs_told, options, measured, estimate(study.outcomes), study.margin),
    }
    about = describe_study(
        runs_told,
        images.about,
        tested,
        images.train_images,
        racing=settings.study.racing,
        tune=settings.study.tune,
    )
    write_json(out / "study.json", about | lessons)
    write_json(out / "metrics.json", make_headline(per_plan, costs, advice))
    write_sums(out, WRITTEN)


def read_cell(run: Path, scores: Path) -> Cell:
    """Return what is known of one run."""
    for folder in (run, scores):
        check_sums(folder)
    return Cell(
        race=read_json(run / "race.json"),
        run=read_json(run / "run.json"),
        costs=read_json(run / "costs.json") | read_json(scores / "costs.json"),
        history=read_csv(run / "history.csv"),
        scores=read_json(scores / "metrics.json"),
        predictions=pd.read_parquet(scores / "predictions.parquet"),
        shifted=pd.read_parquet(scores / "shifted.parquet"),
    )


def read_images(prepared: Path) -> Images:
    """Return what the comparison needs to know of the prepared images."""
    check_sums(prepared, ["images.csv", "prepared.json", "splits.csv"])
    about = read_json(prepared / "prepared.json")
    return Images(read_csv(prepared / "images.csv").group.to_numpy(np.int64), read_csv(prepared / "splits.csv"), about)


def gather(cells: list[Cell], tables: list[pd.DataFrame], images: Images) -> Tested:
    """Return what these predictions of the cells say."""
    stopped = [place for place, cell in enumerate(cells) if cell.race["stopped"] is not None]
    return gather_tests(tables, cells[0].run["classes"], images.groups, images.folds, stopped)


def measure_shifts(settings: Params, cells: list[Cell], images: Images, unmoved: Measured) -> dict[int, Measured]:
    """Return what was measured on test images by the pixels by which they were shifted; nothing where none were.

    An image that was shifted in four directions counts as one group of images.
    """
    by_shift, classes = ({0: unmoved} if settings.study.shifts else {}), cells[0].run["classes"]
    for shift in settings.study.shifts:
        tables = [cell.shifted[cell.shifted["shift"] == shift] for cell in cells]
        by_shift[shift] = measure(gather(cells, tables, images), classes)
    return by_shift


def make_options(cells: list[Cell], costs: "pd.Series[float]") -> list[Option]:
    """Return the runs as advice speaks of them."""
    runs = [cell.run for cell in cells]
    several = len({run["backbone"] for run in runs}) > 1
    return [
        _make_option(
            cell, float(cost), describe_views(cell.run, runs) + describe_share(cell.run, runs), several=several
        )
        for cell, cost in zip(cells, costs, strict=True)
    ]


def make_study(settings: Params, cells: list[Cell], options: list[Option], images: Images, tested: Tested) -> Study:
    """Return what advice is drawn from."""
    classes, (metric, sign) = cells[0].run["classes"], ADVISED_BY[settings.advice.metric]
    longest = next(cell for cell in cells if cell.race["stopped"] is None).predictions
    chance = gather_tests([name_by_chance(longest, classes)], classes, images.groups, images.folds)
    return Study(
        options=options,
        outcomes=turn(tested.get_outcomes(metric), sign),
        by_chance=turn(chance.get_outcomes(metric), sign),
        metric=settings.advice.metric,
        margin=settings.advice.margin / 100,
        cost=settings.advice.cost,
        repeat_seconds=images.folds * sum(cell.costs["replicate_seconds"] for cell in cells),
        train_images=round(images.train_images),
        several_sizes=have_several_sizes([cell.run for cell in cells]),
    )


def name_plans(advice: dict[str, Any], cells: list[Cell]) -> dict[str, Any]:
    """Return the advice with the names of backbone and plan for their places."""
    chosen, reference = cells[advice["plan"]].key, cells[advice["reference"]].key
    of_plans = {"plan", "reference", "probabilities", "expected_shortfalls"}
    rest = {name: value for name, value in advice.items() if name not in of_plans}
    return {**chosen, "reference_backbone": reference["backbone"], "reference_plan": reference["plan"], **rest}


def _make_option(cell: Cell, cost: float, more: str, *, several: bool) -> Option:
    run, plan = cell.run, cell.run["definition"]
    phases = plan.get("phases", [plan])
    everything = run["trainable_parameters"] == run["parameters"] and "head_after" not in plan
    verb = "learn" if all("adapt" in phase for phase in phases) else "unfreeze"
    depth = (
        f"{verb} {'everything' if everything and len(phases) == 1 else ', then '.join(map(_describe_depth, phases))}"
    )
    if plan["weights"] == "none":
        depth = "train from random weights"
    if "head_after" in plan:
        depth += f", with the head on what {plan['head_after']} makes"
    depth += more
    named = f"{run['backbone']} {run['plan']}" if several else str(run["plan"])
    deep_end = all(map(_is_deep_end, phases))
    learns = classify_depth(run["learned"], everything=everything, deep_end=deep_end, weights=plan["weights"])
    return Option(named, f"{depth} on {run['backbone']}" if several else depth, learns, cost, run["backbone"])


def _is_deep_end(depth: dict[str, Any]) -> bool:
    """Return whether all from some place on learns."""
    return "from" in depth or set(depth.get("train", ())) in [set(PARTS[place:]) for place in range(len(PARTS))]


def _describe_depth(depth: dict[str, Any]) -> str:
    if "adapt" in depth:
        return f"head and LoRA of rank {depth['adapt']['lora']} in {', '.join(depth['adapt']['parts'])}"
    return f"from {depth['from']}" if "from" in depth else ", ".join(depth["train"])


def make_headline(per_plan: pd.DataFrame, costs: pd.DataFrame, advice: dict[str, Any]) -> dict[str, Any]:
    """Return the advised plan's figures, flat and under fixed keys: one row of `dvc exp show`."""
    advised = per_plan[per_plan.advised].iloc[0]
    cost = costs[per_plan.advised].iloc[0]
    return {
        "advised_plan": advised.plan,
        "advised_backbone": advised.backbone,
        "advice": advice["advice"],
        "probability": round(advice["probability"], 4),
        "expected_shortfall": round(advice["expected_shortfall"], 4),
        "resolution": round(advice["resolution"], 4),
        "accuracy": round(float(advised.accuracy), 6),
        "accuracy_low": round(float(advised.accuracy_low), 6),
        "accuracy_high": round(float(advised.accuracy_high), 6),
        "accuracy_sd": None if pd.isna(advised.accuracy_sd) else round(float(advised.accuracy_sd), 6),
        "trainable_parameters": int(advised.trainable_parameters),
        "trainable_percent": round(float(advised.trainable_percent), 4),
        "train_flops": int(advised.train_flops),
        "train_seconds": round(float(cost.train_seconds), 1),
        "peak_memory_bytes": int(cost.peak_memory_bytes),
        "plans": len(per_plan),
        "audit": "passed" if (per_plan.audit == "passed").all() else "failed",
        f"{advice['metric']}_after_choice": round(advice["after_choice"], 6),
        "repeats": advice["repeats"],
        "replicates": int(advised.replicates),
    }


if __name__ == "__main__":
    run_command(main)
