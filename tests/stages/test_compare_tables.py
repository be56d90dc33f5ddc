"""Pairs, runs, confusions, views and races have their rows, each with what it means."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.project import dump_yaml, load_yaml
from tests.stages.compared import (
    CHANGED,
    compared,
    definition,
    edit_run,
    edit_scores,
    set_param,
)


def test_every_pair_has_its_difference_interval_and_corrected_p(study: Path) -> None:
    (pair,) = pd.read_csv(compared(study) / "pairs.csv").to_dict("records")
    assert (pair["plan"], pair["other_plan"]) == ("head", "stage4")
    assert pair["difference"] == pytest.approx(-0.15)
    assert pair["low"] < -0.15 < pair["high"]
    assert pair["p_value"] == pair["p_holm"] > 0.05
    assert pd.isna(pair["better"])


def test_a_plan_that_is_cheaper_and_likely_better_drives_the_other_off_the_front(study: Path) -> None:
    edit_scores(study, "efficientnet_lite0-head", lambda table: table.assign(probability_a=0.9, probability_b=0.1))
    costs = pd.read_csv(compared(study) / "costs.csv").set_index("plan")
    assert costs.front_train_flops["head"] == 1.0
    assert costs.front_train_flops["stage4"] < 0.25
    assert costs.front_train_seconds["head"] > 0.75  # as much time as the other
    assert costs.inference_images_per_second["head"] == 250.0


def test_one_replicate_has_no_standard_deviation_rather_than_zero(study: Path) -> None:
    for path in study.glob("runs/*/run.json"):
        run = json.loads(path.read_text())
        del run["replicates"]["1"]
        path.write_text(json.dumps(run))
        edit_scores(study, path.parent.name, lambda table: table[table.replicate == 0])
    reports = compared(study)
    assert pd.read_csv(reports / "plans.csv").accuracy_sd.isna().all()
    assert json.loads((reports / "metrics.json").read_text())["accuracy_sd"] is None
    notes = " ".join(json.loads((reports / "study.json").read_text())["notes"])
    assert "with one replicate the luck of training is not covered" in notes


def test_runs_that_are_not_of_the_study_are_left_out(study: Path) -> None:
    (study / "runs" / "efficientnet_lite0-dropped").mkdir()
    assert pd.read_csv(compared(study) / "plans.csv").plan.tolist() == ["head", "stage4"]


def test_confusions_count_the_test_images_of_all_replicates(study: Path) -> None:
    table = pd.read_csv(compared(study) / "confusion.csv")
    head = table[table.plan == "head"].set_index(["actual", "predicted"]).images
    assert head.to_dict() == {("a", "a"): 13, ("a", "b"): 7, ("b", "a"): 0, ("b", "b"): 0}


def test_the_history_marks_the_learning_rate_that_was_kept_and_holds_no_seconds(study: Path) -> None:
    history = pd.read_csv(compared(study) / "history.csv")
    assert history[history.chosen].learning_rate.unique().tolist() == [0.01]
    assert "seconds" not in history


def test_a_run_has_its_choices_and_scores_in_one_row_per_replicate(study: Path) -> None:
    runs = pd.read_csv(compared(study) / "runs.csv")
    assert runs.groupby("plan").accuracy.agg(list).to_dict() == {"head": [0.6, 0.7], "stage4": [0.9, 0.7]}
    assert runs.recall_a.tolist() == runs.accuracy.tolist()
    assert runs.test_images.tolist() == [10] * 4


def views_of(study: Path) -> list[dict[str, Any]]:
    return json.loads((compared(study) / "study.json").read_text())["views"]


def test_what_fewer_views_cost_is_told_of_two_plans_that_differ_in_that_alone(study: Path) -> None:
    edit_run(study, CHANGED, definition=definition("head", views=1))
    (told,) = views_of(study)
    (pair,) = pd.read_csv(study / "reports" / "pairs.csv").to_dict("records")
    low, high = (f"{100 * value:+.1f}" for value in (-pair["high"], -pair["low"]))  # stage4 less head
    assert told == {
        "backbone": "efficientnet_lite0", "plan": "stage4", "other_plan": "head", "views": 1, "other_views": 4,
        "sentence": "1 view instead of 4 (stage4 against head): accuracy +15.0 points "
        f"(95 % interval {low} to {high}).",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        definition("head"),  # the same views
        definition("stage4", views=1),  # another depth
        definition("head", views=1) | {"learning_rates": [0.1]},
        definition("head", views=1) | {"weights": "none"},
    ],
)
def test_nothing_is_told_of_views_where_plans_differ_in_something_else_or_in_nothing(
    study: Path, changed: dict[str, Any]
) -> None:
    edit_run(study, CHANGED, definition=changed)
    assert views_of(study) == []


@pytest.mark.parametrize(("views", "depth"), [(1, "Unfreeze norms, head with 4 views."), (4, "Unfreeze norms, head.")])
def test_the_advice_says_how_many_views_where_plans_of_one_depth_have_others(
    study: Path, views: int, depth: str
) -> None:
    set_param(study, "margin", 99.0)
    edit_run(study, CHANGED, definition=definition("head", views=views))
    assert json.loads((compared(study) / "advice.json").read_text())["sentences"][0] == depth


def test_what_a_race_stopped_is_told_with_the_reason(study: Path) -> None:
    params = load_yaml((study / "params.yaml").read_text())
    params["study"]["racing"] = True
    (study / "params.yaml").write_text(dump_yaml(params))
    dropped = {"learning_rate": 0.1, "replicates": 1, "epochs": 2, "val_loss": 0.5, "kept_val_loss": 0.25}
    stopped = {"replicates": 2, "epochs": 6, "chance": 0.004}
    race = {"racing": True, "stopped": stopped, "dropped": [dropped]}
    (study / "runs" / CHANGED / "race.json").write_text(json.dumps(race))
    reports = compared(study)
    assert pd.read_csv(reports / "plans.csv").plan.tolist() == ["head", "stage4"]
    rate, plan = pd.read_csv(reports / "stopped.csv").to_dict("records")
    assert (rate["plan"], rate["learning_rate"], rate["replicates"], rate["epochs"]) == ("stage4", 0.1, 1, 2)
    assert rate["reason"] == "validation loss 0.500, and 0.250 at a rate that went on"
    assert (plan["plan"], plan["replicates"], plan["epochs"]) == ("stage4", 2, 6)
    assert pd.isna(plan["learning_rate"])
    assert plan["reason"] == "the probability that it is advised in the end was under 1 %"
    notes = " ".join(json.loads((reports / "study.json").read_text())["notes"])
    assert "The study was a race" in notes
    for path in study.glob("runs/*/race.json"):
        path.write_text(json.dumps({"racing": False, "stopped": None, "dropped": []}))
    assert pd.read_csv(compared(study) / "stopped.csv").empty


def test_a_plan_with_phases_is_compared_like_any_other_and_told_phase_by_phase(study: Path) -> None:
    depths = [{"from": "head"}, {"from": "stage4"}, {"train": ["stem", "head"]}]
    phases = [{**depth, "epochs": 1, "learning_rates": [0.01]} for depth in depths]
    rates = "0.01 then 0.01 then 0.001"
    definition = {"phases": phases, "weights": "pretrained", "views": 1}
    edit_run(study, "efficientnet_lite0-head", definition=definition, learning_rate=rates)
    path = study / "runs" / "efficientnet_lite0-head" / "history.csv"
    history = pd.read_csv(path)
    history.assign(learning_rate=history.learning_rate.map({0.01: rates, 0.1: "another"})).to_csv(path, index=False)
    set_param(study, "margin", 99.0)
    reports = compared(study)
    assert pd.read_csv(reports / "plans.csv").learning_rate.tolist() == [rates, "0.01"]
    history = pd.read_csv(reports / "history.csv")
    assert history[history.chosen].groupby("plan").learning_rate.unique().map(list).to_dict() == {
        "head": [rates],
        "stage4": ["0.01"],
    }
    advice = json.loads((reports / "advice.json").read_text())
    assert advice["sentences"][0] == "Unfreeze from head, then from stage4, then stem, head."
