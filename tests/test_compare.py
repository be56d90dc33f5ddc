"""What the comparison says, on toys whose answers can be seen."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from stages import compare
from tests.project import ROOT

HITS = {"head": {0: 6, 1: 7}, "stage4": {0: 9, 1: 7}}
"""How many of ten test images each plan names rightly, by seed."""
VALIDATION = {"head": {0: 0.9, 1: 0.9}, "stage4": {0: 0.8, 1: 0.6}}


def write_cell(root: Path, plan: str, validation: dict[int, float], trainable: int) -> None:
    run, scores = root / "runs" / f"efficientnet_lite0-{plan}", root / "scores" / f"efficientnet_lite0-{plan}"
    run.mkdir(parents=True)
    scores.mkdir(parents=True)
    seeds = {str(seed): {"best_epoch": 1, "val_loss": 0.5, "val_accuracy": value} for seed, value in validation.items()}
    about = {"backbone": "efficientnet_lite0", "plan": plan}
    counted = {"trainable_parameters": trainable, "parameters": 1000, "learned": ["stage4.2", "head", "norms"]}
    counted["definition"] = {"train": ["stage4.2", "head", "norms"], "weights": "pretrained", "learning_rates": [0.01]}
    chosen = {"learning_rate": 0.01, "classes": ["a", "b"], "seeds": seeds, "audit": "passed", "audited_tensors": 7}
    (run / "run.json").write_text(json.dumps({**about, **counted, **chosen}))
    (run / "costs.json").write_text(json.dumps({"train_seconds": 12.34, "cache": "scratch", "cache_bytes": 800}))
    epochs = [(rate, seed, epoch) for rate in (0.01, 0.1) for seed in validation for epoch in (1, 2)]
    history = pd.DataFrame(epochs, columns=["learning_rate", "seed", "epoch"])
    history.insert(0, "plan", plan)
    history.assign(train_loss=1.0, val_loss=0.5, seconds=3.0).to_csv(run / "history.csv", index=False)
    tables = [predictions(seed, HITS[plan][seed]) for seed in validation]
    pd.concat(tables).to_parquet(scores / "predictions.parquet", index=False)
    metrics = {str(table.seed[0]): compare_scores(table) for table in tables}
    (scores / "metrics.json").write_text(json.dumps(metrics))


def predictions(seed: int, hits: int) -> pd.DataFrame:
    """Ten images of class a, of which the first `hits` are taken for a and the others for b."""
    of_a = np.where(np.arange(10) < hits, 0.8, 0.3)
    columns = {"seed": seed, "image": np.arange(10), "label": 0, "probability_a": of_a, "probability_b": 1 - of_a}
    return pd.DataFrame(columns)


def compare_scores(table: pd.DataFrame) -> dict[str, Any]:
    accuracy = float((table.probability_a > 0.5).mean())
    parts = dict.fromkeys(("balanced_accuracy", "macro_f1", "negative_log_likelihood", "majority_accuracy"), 0.5)
    return {"images": len(table), "accuracy": accuracy, **parts, "recall": {"a": accuracy, "b": 0.0}}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_cell(tmp_path, "head", VALIDATION["head"], 20)
    write_cell(tmp_path, "stage4", VALIDATION["stage4"], 700)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["study"] = {"seeds": [0, 1], "plans": ["head", "stage4"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return tmp_path


def compared(study: Path) -> Path:
    out = study / "reports"
    compare.main(params=study / "params.yaml", runs=study / "runs", scores=study / "scores", out=out)
    return out


def test_plans_hold_means_and_spread_over_seeds(study: Path) -> None:
    plans = pd.read_csv(compared(study) / "plans.csv").set_index("plan")
    assert plans.accuracy.to_dict() == {"head": 0.65, "stage4": 0.8}
    assert plans.accuracy_sd["stage4"] == pytest.approx(np.sqrt(0.02), rel=1e-5)
    assert (plans.accuracy_low["stage4"], plans.accuracy_high["stage4"]) == (0.7, 0.9)
    assert plans.trainable_percent.to_dict() == {"head": 2.0, "stage4": 70.0}


def test_a_plan_says_what_learns_from_which_weights_and_what_the_audit_found(study: Path) -> None:
    head = pd.read_csv(compared(study) / "plans.csv").set_index("plan").loc["head"]
    assert (head.learns, head.weights) == ("stage4.2 head norms", "pretrained")
    assert (head.audit, head.audited_tensors) == ("passed", 7)


def test_costs_say_where_the_prefix_was_kept_and_what_it_took_there(study: Path) -> None:
    costs = pd.read_csv(compared(study) / "costs.csv").set_index("plan")
    assert (costs.cache["head"], costs.cache_bytes["head"]) == ("scratch", 800)


@pytest.mark.parametrize("told", ["passed", "failed"])
def test_the_headline_says_passed_only_if_the_audit_of_every_run_passed(told: str, study: Path) -> None:
    path = study / "runs" / "efficientnet_lite0-stage4" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"audit": told}))
    assert json.loads((compared(study) / "metrics.json").read_text())["audit"] == told


def test_the_advised_plan_is_best_on_validation_even_where_test_says_otherwise(study: Path) -> None:
    reports = compared(study)
    plans = pd.read_csv(reports / "plans.csv")
    assert plans[plans.advised].plan.tolist() == ["head"]
    headline = json.loads((reports / "metrics.json").read_text())
    assert (headline["advised_plan"], headline["accuracy"], headline["trainable_parameters"]) == ("head", 0.65, 20)
    assert headline["train_seconds"] == 12.3


def test_among_equals_the_plan_that_learns_fewer_parameters_is_advised(study: Path) -> None:
    path = study / "runs" / "efficientnet_lite0-stage4" / "run.json"
    run = json.loads(path.read_text())
    for seed in run["seeds"].values():
        seed["val_accuracy"] = 0.9
    path.write_text(json.dumps(run))
    plans = pd.read_csv(compared(study) / "plans.csv")
    assert plans[plans.advised].plan.tolist() == ["head"]


def test_one_seed_has_no_standard_deviation_rather_than_zero(study: Path) -> None:
    for path in study.glob("runs/*/run.json"):
        run = json.loads(path.read_text())
        del run["seeds"]["1"]
        path.write_text(json.dumps(run))
    reports = compared(study)
    assert pd.read_csv(reports / "plans.csv").accuracy_sd.isna().all()
    assert json.loads((reports / "metrics.json").read_text())["accuracy_sd"] is None


def test_runs_that_are_not_of_the_study_are_left_out(study: Path) -> None:
    (study / "runs" / "efficientnet_lite0-dropped").mkdir()
    assert pd.read_csv(compared(study) / "plans.csv").plan.tolist() == ["head", "stage4"]


def test_confusions_count_the_test_images_of_all_seeds(study: Path) -> None:
    table = pd.read_csv(compared(study) / "confusion.csv")
    head = table[table.plan == "head"].set_index(["actual", "predicted"]).images
    assert head.to_dict() == {("a", "a"): 13, ("a", "b"): 7, ("b", "a"): 0, ("b", "b"): 0}


def test_the_history_marks_the_learning_rate_that_was_kept_and_holds_no_seconds(study: Path) -> None:
    history = pd.read_csv(compared(study) / "history.csv")
    assert history[history.chosen].learning_rate.unique().tolist() == [0.01]
    assert "seconds" not in history


def test_a_run_has_its_choices_and_scores_in_one_row_per_seed(study: Path) -> None:
    runs = pd.read_csv(compared(study) / "runs.csv")
    assert runs.groupby("plan").accuracy.agg(list).to_dict() == {"head": [0.6, 0.7], "stage4": [0.9, 0.7]}
    assert runs.recall_a.tolist() == runs.accuracy.tolist()
    assert runs.test_images.tolist() == [10] * 4
