"""Put the study's runs side by side: what each depth learns, scores and costs, and which one to take.

Reads: the study's runs and scores; exactly these, whatever else lies in their folders.
Writes: `plans.csv`, `runs.csv`, `history.csv`, `confusion.csv`, `costs.csv` and `metrics.json`, into one folder.
Measured seconds and bytes stand in `costs.csv` and in metrics.json's `train_seconds`; all else is the same bytes when
the study is run again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.command import command
from stages.metrics import count_confusion
from stages.outputs import read_csv, read_json, write_csv, write_json
from stages.params import load_params
from stages.vocabulary import run_name


@dataclass(frozen=True)
class Cell:
    """What one run of the study left: run.json, costs.json, history.csv, metrics.json and predictions.parquet."""

    run: dict[str, Any]
    costs: dict[str, float]
    history: pd.DataFrame
    scores: dict[str, dict[str, Any]]
    predictions: pd.DataFrame

    @property
    def key(self) -> dict[str, str]:
        """The columns that name the run in every table."""
        return {"backbone": self.run["backbone"], "plan": self.run["plan"]}


def main(*, params: Path, runs: Path, scores: Path, out: Path) -> None:
    """Compare the study's runs into the folder `out`."""
    settings = load_params(params)
    names = [run_name(backbone, plan) for backbone in settings.backbones for plan in settings.study.plans]
    cells = [read_cell(runs / name, scores / name) for name in names]
    per_run = runs_table(cells)
    per_plan = plans_table(cells, per_run)
    write_csv(out / "plans.csv", per_plan)
    write_csv(out / "runs.csv", per_run)
    write_csv(out / "history.csv", history_table(cells))
    write_csv(out / "confusion.csv", confusion_table(cells))
    write_csv(out / "costs.csv", costs_table(cells))
    write_json(out / "metrics.json", headline(per_plan, costs_table(cells)))


def read_cell(run: Path, scores: Path) -> Cell:
    """Return what is known of one run."""
    return Cell(
        run=read_json(run / "run.json"),
        costs=read_json(run / "costs.json"),
        history=read_csv(run / "history.csv"),
        scores=read_json(scores / "metrics.json"),
        predictions=pd.read_parquet(scores / "predictions.parquet"),
    )


def runs_table(cells: list[Cell]) -> pd.DataFrame:
    """Return a row per backbone, plan and seed: what was chosen on validation and what that scored on test."""
    return pd.DataFrame([_run_row(cell, seed) for cell in cells for seed in cell.run["seeds"]])


def _run_row(cell: Cell, seed: str) -> dict[str, Any]:
    scores = dict(cell.scores[seed])
    recall = {f"recall_{name}": value for name, value in scores.pop("recall").items()}
    chosen = {"seed": int(seed), "learning_rate": cell.run["learning_rate"], **cell.run["seeds"][seed]}
    return {**cell.key, **chosen, "test_images": scores.pop("images"), **scores, **recall}


def plans_table(cells: list[Cell], per_run: pd.DataFrame) -> pd.DataFrame:
    """Return a row per backbone and plan: means over seeds, and the spread of accuracy.

    `accuracy_sd` is the sample standard deviation over seeds (empty for one seed), `accuracy_low` and `accuracy_high`
    the least and the greatest. `advised` marks the plan of the best mean validation accuracy; among equals, the one
    that learns fewer parameters.
    """
    rows = [_plan_row(cell, per_run) for cell in cells]
    plans = pd.DataFrame(rows)
    order = plans.sort_values(["val_accuracy", "trainable_parameters"], ascending=[False, True], kind="stable")
    plans["advised"] = plans.index == order.index[0]
    return plans


def _plan_row(cell: Cell, per_run: pd.DataFrame) -> dict[str, Any]:
    run = cell.run
    seeds = per_run[(per_run.backbone == run["backbone"]) & (per_run.plan == run["plan"])]
    return {
        **cell.key,
        "learns": " ".join(run["learned"]),
        "weights": run["definition"]["weights"],
        "trainable_parameters": run["trainable_parameters"],
        "parameters": run["parameters"],
        "trainable_percent": 100 * run["trainable_parameters"] / run["parameters"],
        "learning_rate": run["learning_rate"],
        "seeds": len(seeds),
        "val_accuracy": seeds.val_accuracy.mean(),
        "accuracy": seeds.accuracy.mean(),
        "accuracy_sd": seeds.accuracy.std(ddof=1),
        "accuracy_low": seeds.accuracy.min(),
        "accuracy_high": seeds.accuracy.max(),
        "balanced_accuracy": seeds.balanced_accuracy.mean(),
        "macro_f1": seeds.macro_f1.mean(),
        "negative_log_likelihood": seeds.negative_log_likelihood.mean(),
        "majority_accuracy": seeds.majority_accuracy.mean(),
        "audit": run["audit"],
        "audited_tensors": run["audited_tensors"],
    }


def history_table(cells: list[Cell]) -> pd.DataFrame:
    """Return every epoch of every fit, but for its seconds. `chosen` marks the learning rate that was kept."""
    tables = []
    for cell in cells:
        table = cell.history.drop(columns="seconds")
        table.insert(0, "backbone", cell.run["backbone"])
        table["chosen"] = table.learning_rate == cell.run["learning_rate"]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def confusion_table(cells: list[Cell]) -> pd.DataFrame:
    """Return, for each run, how many test images of each class were taken for each class, added up over seeds."""
    rows = []
    for cell in cells:
        classes = cell.run["classes"]
        counts = count_confusion(cell.predictions, classes)
        rows += [
            {**cell.key, "actual": actual, "predicted": predicted, "images": counts[i, j]}
            for i, actual in enumerate(classes)
            for j, predicted in enumerate(classes)
        ]
    return pd.DataFrame(rows)


def costs_table(cells: list[Cell]) -> pd.DataFrame:
    """Return a row per run with its measured seconds (wall clock) and bytes."""
    return pd.DataFrame([cell.key | cell.costs for cell in cells])


def headline(per_plan: pd.DataFrame, costs: pd.DataFrame) -> dict[str, Any]:
    """Return the advised plan's figures, flat and under fixed keys: one row of `dvc exp show`."""
    advised = per_plan[per_plan.advised].iloc[0]
    cost = costs[(costs.backbone == advised.backbone) & (costs.plan == advised.plan)].iloc[0]
    return {
        "advised_plan": advised.plan,
        "advised_backbone": advised.backbone,
        "accuracy": round(float(advised.accuracy), 6),
        "accuracy_sd": None if pd.isna(advised.accuracy_sd) else round(float(advised.accuracy_sd), 6),
        "trainable_parameters": int(advised.trainable_parameters),
        "trainable_percent": round(float(advised.trainable_percent), 4),
        "train_seconds": round(float(cost.train_seconds), 1),
        "plans": len(per_plan),
        "audit": "passed" if (per_plan.audit == "passed").all() else "failed",
        "seeds": int(advised.seeds),
    }


if __name__ == "__main__":
    command(main)
