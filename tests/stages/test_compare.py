"""What the comparison says, on toys whose answers can be seen."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from frostline.stats.metrics import score_predictions
from stages import compare
from tests.project import ROOT, dump_yaml, load_yaml

HITS = {"head": {0: 6, 1: 7}, "stage4": {0: 9, 1: 7}}
"""How many of ten test images each plan names rightly, by seed."""
VALIDATION = {"head": {0: 9, 1: 9}, "stage4": {0: 8, 1: 6}}
"""The same of ten validation images."""
CHANGED = "efficientnet_lite0-stage4"


def definition(plan: str, views: int = 4) -> dict[str, Any]:
    """Return what run.json tells of a plan; no two plans are alike."""
    parts = {"head": ["norms", "head"]}.get(plan, ["stage4.2", "head", "norms"])
    return {"train": parts, "weights": "pretrained", "learning_rates": [0.01], "views": views}


def write_cell(root: Path, plan: str, trainable: int, flops: int) -> None:
    run, scores = root / "runs" / f"efficientnet_lite0-{plan}", root / "scores" / f"efficientnet_lite0-{plan}"
    run.mkdir(parents=True)
    scores.mkdir(parents=True)
    shares = {seed: hits / 10 for seed, hits in VALIDATION[plan].items()}
    seeds = {
        str(seed): {"train_images": 20, "best_epoch": 1, "val_loss": 0.5, "val_accuracy": value}
        for seed, value in shares.items()
    }
    about = {"backbone": "efficientnet_lite0", "plan": plan, "backbone_sha256": f"of {plan}"}
    counted = {"trainable_parameters": trainable, "parameters": 1000, "learned": ["stage4.2", "head", "norms"]}
    counted["definition"] = definition(plan)
    chosen = {"learning_rate": 0.01, "classes": ["a", "b"], "seeds": seeds, "audit": "passed", "audited_tensors": 7}
    machine = {
        "precision": "float32",
        "device": "cpu",
        "processor": "a processor",
        "threads": 2,
        "versions": {"torch": "2"},
    }
    (run / "run.json").write_text(json.dumps({**about, **counted, **chosen, **machine}))
    (run / "race.json").write_text(json.dumps({"racing": False, "stopped": None, "dropped": []}))
    spent = {"train_seconds": 12.34, "train_flops": flops, "peak_memory_bytes": 1_000 + flops}
    (run / "costs.json").write_text(json.dumps({**spent, "cache": "scratch", "cache_bytes": 800}))
    (scores / "costs.json").write_text(json.dumps({"inference_images_per_second": 250.0}))
    epochs = [(rate, seed, epoch) for rate in (0.01, 0.1) for seed in shares for epoch in (1, 2)]
    history = pd.DataFrame(epochs, columns=["learning_rate", "seed", "epoch"])
    history.insert(0, "plan", plan)
    history.assign(train_loss=1.0, val_loss=0.5, seconds=3.0).to_csv(run / "history.csv", index=False)
    tests = [predictions("test", seed, HITS[plan][seed]) for seed in shares]
    tables = [*tests, *(predictions("validation", seed, VALIDATION[plan][seed]) for seed in shares)]
    pd.concat(tables).to_parquet(scores / "predictions.parquet", index=False)
    moved = [test.assign(shift=4, direction=way) for test in tests for way in ("left", "up")]
    pd.concat(moved).to_parquet(scores / "shifted.parquet", index=False)
    metrics = {str(table.seed[0]): score_predictions(table, ["a", "b"]) for table in tests}
    (scores / "metrics.json").write_text(json.dumps(metrics))


def predictions(split: str, seed: int, hits: int) -> pd.DataFrame:
    """Ten images of class a, of which the first `hits` are taken for a and the others for b."""
    of_a = np.where(np.arange(10) < hits, 0.8, 0.3)
    images = np.arange(10) + (0 if split == "test" else 10)
    columns = {"split": split, "seed": seed, "image": images, "label": 0, "probability_a": of_a}
    return pd.DataFrame(columns | {"probability_b": 1 - of_a})


def write_prepared(folder: Path) -> None:
    """Ten images each to test and to validate, the same for both seeds, and twenty to train on."""
    folder.mkdir()
    pd.DataFrame({"id": range(40), "group": range(40)}).to_csv(folder / "images.csv", index=False)
    split = ["test"] * 10 + ["validation"] * 10 + ["train"] * 20
    splits = [pd.DataFrame({"seed": seed, "image": range(40), "split": split}) for seed in (0, 1)]
    pd.concat(splits).to_csv(folder / "splits.csv", index=False)
    about = {"images": 40, "image_px": 32, "classes": ["a", "b"], "splits": "official", "sha256": {"images.npy": "1"}}
    (folder / "prepared.json").write_text(json.dumps(about))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_prepared(tmp_path / "prepared")
    write_cell(tmp_path, "head", 20, 1_000)
    write_cell(tmp_path, "stage4", 700, 4_000)
    params = load_yaml((ROOT / "params.yaml").read_text())
    params["study"] = {"seeds": [0, 1], "plans": ["head", "stage4"], "racing": False, "shifts": []}
    (tmp_path / "params.yaml").write_text(dump_yaml(params))
    return tmp_path


def compared(study: Path) -> Path:
    out, params = study / "reports", study / "params.yaml"
    compare.main(params=params, prepared=study / "prepared", runs=study / "runs", scores=study / "scores", out=out)
    return out


def edit_run(study: Path, name: str, **changes: Any) -> None:
    path = study / "runs" / name / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_scores(study: Path, name: str, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = study / "scores" / name / "predictions.parquet"
    edit(pd.read_parquet(path)).to_parquet(path, index=False)


def test_plans_hold_means_and_spread_over_seeds(study: Path) -> None:
    plans = pd.read_csv(compared(study) / "plans.csv").set_index("plan")
    assert plans.accuracy.to_dict() == {"head": 0.65, "stage4": 0.8}
    assert plans.accuracy_sd["stage4"] == pytest.approx(np.sqrt(0.02), rel=1e-5)
    assert (plans.accuracy_least["stage4"], plans.accuracy_most["stage4"]) == (0.7, 0.9)
    assert plans.accuracy_low["stage4"] < 0.7 < 0.9 < plans.accuracy_high["stage4"]
    assert plans.trainable_percent.to_dict() == {"head": 2.0, "stage4": 70.0}


def test_a_plan_says_what_learns_from_which_weights_and_what_the_audit_found(study: Path) -> None:
    head = pd.read_csv(compared(study) / "plans.csv").set_index("plan").loc["head"]
    assert (head.learns, head.weights) == ("stage4.2 head norms", "pretrained")
    assert (head.audit, head.audited_tensors) == ("passed", 7)


def test_costs_say_where_the_prefix_was_kept_and_what_it_took_there(study: Path) -> None:
    costs = pd.read_csv(compared(study) / "costs.csv").set_index("plan")
    assert (costs.cache["head"], costs.cache_bytes["head"]) == ("scratch", 800)


def test_accuracy_on_shifted_images_stands_beside_that_on_the_images_as_they_are(study: Path) -> None:
    params = load_yaml((study / "params.yaml").read_text())
    params["study"]["shifts"] = [4]
    (study / "params.yaml").write_text(dump_yaml(params))
    path = study / "scores" / CHANGED / "shifted.parquet"
    moved = pd.read_parquet(path)
    worse = (moved.direction == "up") & (moved.image < 5)  # half of the images, in one of two directions
    moved.loc[worse, ["probability_a", "probability_b"]] = [0.1, 0.9]
    moved.to_parquet(path, index=False)
    table = pd.read_csv(compared(study) / "shifted.csv").set_index(["plan", "shift_px"])
    assert table.accuracy.to_dict() == {
        ("head", 0): 0.65, ("stage4", 0): 0.8, ("head", 4): 0.65, ("stage4", 4): pytest.approx(0.8 - 0.25),
    }  # fmt: skip
    assert (table.accuracy_low < table.accuracy).all()
    assert (table.accuracy < table.accuracy_high).all()


def test_a_study_that_shifts_nothing_has_nothing_to_tell_of_it(study: Path) -> None:
    assert pd.read_csv(compared(study) / "shifted.csv").empty


@pytest.mark.parametrize("told", ["passed", "failed"])
def test_the_headline_says_passed_only_if_the_audit_of_every_run_passed(told: str, study: Path) -> None:
    edit_run(study, CHANGED, audit=told)
    assert json.loads((compared(study) / "metrics.json").read_text())["audit"] == told


def test_the_advised_plan_is_best_on_validation_even_where_test_says_otherwise(study: Path) -> None:
    reports = compared(study)
    plans = pd.read_csv(reports / "plans.csv")
    assert plans[plans.advised].plan.tolist() == ["head"]
    headline = json.loads((reports / "metrics.json").read_text())
    assert (headline["advised_plan"], headline["accuracy"], headline["trainable_parameters"]) == ("head", 0.65, 20)
    assert headline["train_seconds"] == 12.3


@pytest.mark.parametrize(("margin", "status"), [(1.0, "open"), (99.0, "unconfirmed")])
def test_changing_the_test_labels_changes_no_choice(margin: float, status: str, study: Path) -> None:
    params = load_yaml((study / "params.yaml").read_text())
    params["advice"]["margin"] = margin
    (study / "params.yaml").write_text(dump_yaml(params))
    before = compared(study)
    choices = pd.read_csv(before / "plans.csv")
    advice = json.loads((before / "advice.json").read_text())
    assert advice["status"] == status
    for name in ("efficientnet_lite0-head", CHANGED):
        edit_scores(study, name, lambda table: table.assign(label=table.label.where(table.split != "test", 1)))
    after = compared(study)
    plans = pd.read_csv(after / "plans.csv")
    assert not np.allclose(plans.accuracy, choices.accuracy)
    assert plans.advised.equals(choices.advised)
    told = json.loads((after / "advice.json").read_text())
    assert [told[name] for name in ("backbone", "plan")] == [advice[name] for name in ("backbone", "plan")]


def test_advice_and_what_was_run_are_told_in_sentences_and_figures(study: Path) -> None:
    reports = compared(study)
    advice, about = (json.loads((reports / name).read_text()) for name in ("advice.json", "study.json"))
    assert (advice["plan"], advice["against_plan"], advice["shown"], advice["cost"]) == (
        "head",
        "stage4",
        False,
        "train_flops",
    )
    assert len(advice["sentences"]) == 2
    assert advice["rule_of_thumb"]["train_images"] == 20
    assert (about["seeds"], about["splits"], about["train_images"], about["test_images"]) == (
        [0, 1],
        "official",
        20,
        10,
    )
    assert about["backbone_sha256"] == {"efficientnet_lite0-head": "of head", CHANGED: "of stage4"}
    assert about["precision"] == "float32"
    assert about["smallest_p"] == 0.5
    notes = " ".join(about["notes"])
    assert "the luck of this split itself is not covered" in notes
    assert (
        "2 seeds cannot reach significance by themselves: the smallest p that they can reach is 0.5; "
        "for 1 pair it takes 6 seeds." in notes
    )


def test_runs_are_paired_by_seed_in_whatever_order_their_predictions_come(study: Path) -> None:
    before = (compared(study) / "pairs.csv").read_text()
    edit_scores(study, CHANGED, lambda table: table.sort_values("seed", ascending=False, kind="stable"))
    path = study / "runs" / CHANGED / "run.json"
    edit_run(study, CHANGED, seeds=dict(reversed(json.loads(path.read_text())["seeds"].items())))
    assert (compared(study) / "pairs.csv").read_text() == before


def test_runs_that_were_scored_on_other_images_are_refused_in_one_line(study: Path) -> None:
    edit_scores(study, CHANGED, lambda table: table[table.seed == 0])
    with pytest.raises(
        ValueError, match=r"^data/scores must hold predictions of the same seeds and images for every run"
    ):
        compared(study)


def test_runs_of_several_machines_are_all_told(study: Path) -> None:
    edit_run(study, CHANGED, precision="bfloat16")
    assert json.loads((compared(study) / "study.json").read_text())["precision"] == "float32, bfloat16"


def test_every_pair_has_its_difference_interval_and_corrected_p(study: Path) -> None:
    (pair,) = pd.read_csv(compared(study) / "pairs.csv").to_dict("records")
    assert (pair["plan"], pair["other_plan"]) == ("head", "stage4")
    assert pair["difference"] == pytest.approx(-0.15)
    assert pair["low"] < -0.15 < pair["high"]
    assert (pair["p_value"], pair["p_holm"]) == (1.0, 1.0)
    assert pd.isna(pair["better"])


def test_a_plan_that_is_both_cheaper_and_as_good_in_every_draw_drives_the_other_off_the_front(study: Path) -> None:
    edit_scores(study, "efficientnet_lite0-head", lambda table: table.assign(probability_a=0.9, probability_b=0.1))
    costs = pd.read_csv(compared(study) / "costs.csv").set_index("plan")
    assert costs.front_train_flops.to_dict() == {"head": 1.0, "stage4": 0.0}
    assert costs.front_train_seconds["head"] == 1.0
    assert costs.inference_images_per_second["head"] == 250.0


def test_one_seed_has_no_standard_deviation_rather_than_zero(study: Path) -> None:
    for path in study.glob("runs/*/run.json"):
        run = json.loads(path.read_text())
        del run["seeds"]["1"]
        path.write_text(json.dumps(run))
        edit_scores(study, path.parent.name, lambda table: table[table.seed == 0])
    reports = compared(study)
    assert pd.read_csv(reports / "plans.csv").accuracy_sd.isna().all()
    assert json.loads((reports / "metrics.json").read_text())["accuracy_sd"] is None
    assert pd.read_csv(reports / "pairs.csv").p_value.isna().all()
    notes = " ".join(json.loads((reports / "study.json").read_text())["notes"])
    assert "the luck of training and of the split is not covered" in notes


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


@pytest.mark.parametrize(
    ("views", "depth"), [(1, "to unfreeze norms, head with 4 views is"), (4, "to unfreeze norms, head is")]
)
def test_the_advice_says_how_many_views_where_plans_of_one_depth_have_others(
    study: Path, views: int, depth: str
) -> None:
    params = load_yaml((study / "params.yaml").read_text())
    params["advice"]["margin"] = 99.0
    (study / "params.yaml").write_text(dump_yaml(params))
    edit_run(study, CHANGED, definition=definition("head", views=views))
    assert depth in json.loads((compared(study) / "advice.json").read_text())["sentences"][0]


def test_a_plan_that_a_race_stopped_is_told_apart_and_has_no_part_in_the_comparison(study: Path) -> None:
    params = load_yaml((study / "params.yaml").read_text())
    params["study"]["racing"] = True
    (study / "params.yaml").write_text(dump_yaml(params))
    dropped = {"learning_rate": 0.1, "seeds": 1, "epochs": 2, "val_loss": 0.5, "kept_val_loss": 0.25}
    stopped = {"seeds": 1, "epochs": 6, "against": "efficientnet_lite0-head", "difference": 0.02, "least": -0.004}
    race = {"racing": True, "stopped": stopped, "dropped": [dropped]}
    (study / "runs" / CHANGED / "race.json").write_text(json.dumps(race))
    reports = compared(study)
    assert pd.read_csv(reports / "plans.csv").plan.tolist() == ["head"]
    rate, plan = pd.read_csv(reports / "stopped.csv").to_dict("records")
    assert (rate["plan"], rate["learning_rate"], rate["seeds"], rate["epochs"]) == ("stage4", 0.1, 1, 2)
    assert rate["reason"] == "validation loss 0.500, and 0.250 at a rate that went on"
    assert (plan["plan"], plan["seeds"], plan["epochs"]) == ("stage4", 1, 6)
    assert pd.isna(plan["learning_rate"])
    assert plan["reason"] == (
        "efficientnet_lite0-head is cheaper and not worse by more than 1 point: on validation so far +2.0 points, "
        "at least -0.4 at 90 %"
    )
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
    params = load_yaml((study / "params.yaml").read_text())
    params["advice"]["margin"] = 99.0
    (study / "params.yaml").write_text(dump_yaml(params))
    reports = compared(study)
    assert pd.read_csv(reports / "plans.csv").learning_rate.tolist() == [rates, "0.01"]
    history = pd.read_csv(reports / "history.csv")
    assert history[history.chosen].groupby("plan").learning_rate.unique().map(list).to_dict() == {
        "head": [rates],
        "stage4": ["0.01"],
    }
    advice = json.loads((reports / "advice.json").read_text())
    assert "to unfreeze from head, then from stage4, then stem, head is not worse" in advice["sentences"][0]
