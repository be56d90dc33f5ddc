"""What the comparison says, on toys whose answers can be seen."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.project import dump_yaml, load_yaml
from tests.stages.compared import (
    CHANGED,
    compared,
    edit_run,
    edit_scores,
)


def test_plans_hold_means_and_spread_over_replicates(study: Path) -> None:
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
    assert (about["replicates"], about["splits"], about["train_images"], about["test_images"]) == (
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
        "2 replicates cannot reach significance by themselves: the smallest p that they can reach is 0.5; "
        "for 1 pair it takes 6 replicates." in notes
    )


def test_runs_are_paired_by_replicate_in_whatever_order_their_predictions_come(study: Path) -> None:
    before = (compared(study) / "pairs.csv").read_text()
    edit_scores(study, CHANGED, lambda table: table.sort_values("replicate", ascending=False, kind="stable"))
    path = study / "runs" / CHANGED / "run.json"
    edit_run(study, CHANGED, replicates=dict(reversed(json.loads(path.read_text())["replicates"].items())))
    assert (compared(study) / "pairs.csv").read_text() == before


def test_runs_that_were_scored_on_other_images_are_refused_in_one_line(study: Path) -> None:
    edit_scores(study, CHANGED, lambda table: table[table.replicate == 0])
    with pytest.raises(
        ValueError, match=r"^data/scores must hold predictions of the same replicates and images for every run"
    ):
        compared(study)


def test_runs_of_several_machines_are_all_told(study: Path) -> None:
    edit_run(study, CHANGED, precision="bfloat16")
    assert json.loads((compared(study) / "study.json").read_text())["precision"] == "float32, bfloat16"
