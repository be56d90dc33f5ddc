"""The tables of a study: runs, plans, pairs, histories, confusions, shifts, costs, and what a race stopped."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from frostline.answer.decision import DRAWS, draw_deviations
from frostline.answer.estimator import Estimate
from frostline.answer.stopping import LEAST_CHANCE
from frostline.constants import COSTS
from frostline.stats.measured import Measured, list_telling_metrics
from frostline.stats.metrics import Floats, count_confusion
from frostline.stats.significance import LEVEL, correct_by_holm
from frostline.units import format_percent


def compute_front_probabilities(accuracies: Floats, costs: Floats) -> Floats:
    """Return each run's share of draws (accuracies: runs x draws) in which it is on the front for the cost.

    A run is off the front when another is no dearer and no less accurate, and better in one of the two.
    """
    cheaper, as_cheap = costs[:, None] < costs, costs[:, None] <= costs
    dominated = np.zeros(accuracies.shape, dtype=bool)
    for run in range(len(accuracies)):
        better, as_good = accuracies > accuracies[run], accuracies >= accuracies[run]
        beats = (as_cheap[:, run, None] & better) | (cheaper[:, run, None] & as_good)
        dominated[run] = beats.any(axis=0)
    share: Floats = 1 - dominated.mean(axis=1)
    return share


@dataclass(frozen=True)
class Cell:
    """What one run of the study left: race.json, run.json, both costs.json, history.csv, metrics.json, predictions."""

    race: dict[str, Any]
    run: dict[str, Any]
    costs: dict[str, Any]
    history: pd.DataFrame
    scores: dict[str, dict[str, Any]]
    predictions: pd.DataFrame
    shifted: pd.DataFrame

    @property
    def key(self) -> dict[str, str]:
        """The columns that name the run in every table."""
        return {"backbone": self.run["backbone"], "plan": self.run["plan"]}


COLUMNS = ("backbone", "plan", "learning_rate", "replicates", "epochs", "reason")


def make_stopped_table(cells: list[Cell]) -> pd.DataFrame:
    """Return a row for all that was stopped, by the replicates and epochs it had; a plan has no learning rate."""
    rows = []
    for cell in cells:
        for rate in cell.race["dropped"]:
            reason = f"validation loss {rate['val_loss']:.3f}, and {rate['kept_val_loss']:.3f} at a rate that went on"
            rows.append((*cell.key.values(), rate["learning_rate"], rate["replicates"], rate["epochs"], reason))
        if stop := cell.race["stopped"]:
            reason = f"the probability that it is advised in the end was under {format_percent(LEAST_CHANCE)}"
            rows.append((*cell.key.values(), None, stop["replicates"], stop["epochs"], reason))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def make_runs_table(cells: list[Cell]) -> pd.DataFrame:
    """Return a row per backbone, plan and replicate: what was chosen on validation and what that scored on test."""
    return pd.DataFrame([_make_run_row(cell, replicate) for cell in cells for replicate in cell.run["replicates"]])


def _make_run_row(cell: Cell, replicate: str) -> dict[str, Any]:
    scores = dict(cell.scores[replicate])
    recall = {f"recall_{name}": value for name, value in scores.pop("recall").items()}
    chosen = {
        "replicate": int(replicate),
        "learning_rate": cell.run["learning_rate"],
        **cell.run["replicates"][replicate],
    }
    return {**cell.key, **chosen, "test_images": scores.pop("images"), **scores, **recall}


def make_plans_table(
    cells: list[Cell], per_run: pd.DataFrame, measured: Measured, advice: dict[str, Any]
) -> pd.DataFrame:
    """Return a row per backbone and plan: its metrics over all images that were tested, each with its 95 % interval.

    `probability` is that of being within the margin of the best plan, `expected_shortfall` (points) how far the plan
    lies below it on average. `difference` is the accuracy less that of the plan that others are compared with. Of
    accuracy, `accuracy_sd` is the sample standard deviation over replicates (empty for one), `accuracy_least` and
    `accuracy_most` the least and the greatest. `advice` is what `advise` tells, places and all.
    """
    rows = []
    for place, cell in enumerate(cells):
        mine = per_run[(per_run.backbone == cell.run["backbone"]) & (per_run.plan == cell.run["plan"])]
        row: dict[str, Any] = _make_plan_row(cell, mine)
        for name in list_telling_metrics(cell.run["classes"]):
            found = measured.get(place, name)
            row |= {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
        apart = measured.get_difference(place, advice["reference"])
        row |= {"difference": apart.estimate, "difference_low": apart.low, "difference_high": apart.high}
        row["probability"] = advice["probabilities"][place]
        row["expected_shortfall"] = advice["expected_shortfalls"][place]
        rows.append(row | {"advised": place == advice["plan"]})
    return pd.DataFrame(rows)


def _make_plan_row(cell: Cell, mine: pd.DataFrame) -> dict[str, Any]:
    run = cell.run
    return {
        **cell.key,
        "learns": " ".join(run["learned"]),
        "weights": run["definition"]["weights"],
        "trainable_parameters": run["trainable_parameters"],
        "parameters": run["parameters"],
        "trainable_percent": 100 * run["trainable_parameters"] / run["parameters"],
        "train_flops": cell.costs["train_flops"],
        "learning_rate": run["learning_rate"],
        "audit": run["audit"],
        "audited_tensors": run["audited_tensors"],
        "replicates": len(mine),
        "train_images": mine.train_images.mean(),
        "val_accuracy": mine.val_accuracy.mean(),
        "majority_accuracy": mine.majority_accuracy.mean(),
        "accuracy_sd": mine.accuracy.std(ddof=1),
        "accuracy_least": mine.accuracy.min(),
        "accuracy_most": mine.accuracy.max(),
    }


def make_pairs_table(cells: list[Cell], measured: Measured) -> pd.DataFrame:
    """Return a row per pair of plans: the difference in accuracy with its interval, its p-value, and who is better.

    A plan is called better where the p-value, corrected for all pairs (Holm 1979), and the interval agree.
    """
    pairs = list(combinations(range(len(cells)), 2))
    p_values = [measured.compute_p(*pair) for pair in pairs]
    columns = (
        "backbone",
        "plan",
        "other_backbone",
        "other_plan",
        "difference",
        "low",
        "high",
        "p_value",
        "p_holm",
        "better",
    )
    rows = []
    for (one, other), p_value, p_holm in zip(pairs, p_values, correct_by_holm(p_values), strict=True):
        found = measured.get_difference(one, other)
        sure = p_holm <= LEVEL and not found.low <= 0 <= found.high
        better = None if not sure else "plan" if found.estimate > 0 else "other"
        names = (*cells[one].key.values(), *cells[other].key.values())
        rows.append((*names, found.estimate, found.low, found.high, p_value, p_holm, better))
    return pd.DataFrame(rows, columns=list(columns))


def make_history_table(cells: list[Cell]) -> pd.DataFrame:
    """Return every epoch of every fit, but for its seconds. `chosen` marks the learning rate that was kept."""
    tables = []
    for cell in cells:
        table = cell.history.drop(columns="seconds")
        table.insert(0, "backbone", cell.run["backbone"])
        table["chosen"] = table.learning_rate == cell.run["learning_rate"]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def make_confusion_table(cells: list[Cell]) -> pd.DataFrame:
    """Return, for each run, how many test images of each class were taken for each class, added up over replicates."""
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


def make_shifted_table(cells: list[Cell], by_shift: dict[int, Measured]) -> pd.DataFrame:
    """Return a row per run and shift (pixels; 0 is the images as they are): the accuracy on test, with its interval."""
    columns = ("backbone", "plan", "shift_px", "accuracy", "accuracy_low", "accuracy_high")
    rows = []
    for shift, measured in by_shift.items():
        for place, cell in enumerate(cells):
            found = measured.get(place)
            rows.append((*cell.key.values(), shift, found.estimate, found.low, found.high))
    return pd.DataFrame(rows, columns=list(columns))


def make_costs_table(cells: list[Cell], found: Estimate) -> pd.DataFrame:
    """Return a row per run with all that it cost, and for each cost the probability of being on the Pareto front.

    That is the share of draws of what the plans' true accuracies may be, about what was `found`.
    """
    counted = [{"trainable_parameters": cell.run["trainable_parameters"]} for cell in cells]
    table = pd.DataFrame([cell.key | mine | cell.costs for cell, mine in zip(cells, counted, strict=True)])
    table = table.drop(columns="spent_seconds", errors="ignore")  # another figure only where a race stopped a plan
    accuracies = found.means[:, None] + draw_deviations(found, DRAWS)
    for cost in COSTS:
        table[f"front_{cost}"] = compute_front_probabilities(accuracies, table[cost].to_numpy(float))
    return table
