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
    set_param,
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


def test_the_headline_has_the_advised_plan_and_how_sure_that_is(study: Path) -> None:
    reports = compared(study)
    plans = pd.read_csv(reports / "plans.csv").set_index("plan")
    headline = json.loads((reports / "metrics.json").read_text())
    (advised,) = plans.index[plans.advised]
    assert headline["advised_plan"] == advised
    for column in ("accuracy", "trainable_parameters", "probability", "expected_shortfall"):
        assert headline[column] == pytest.approx(plans[column][advised], abs=1e-3)
    assert headline["advice"] == ("likely" if headline["probability"] >= 0.8 else "leaning")
    assert headline["resolution"] > 1.0
    assert 0.5 < headline["accuracy_after_choice"] < 0.9
    assert (headline["repeats"], headline["replicates"], headline["train_seconds"]) == (2, 2, 12.3)


@pytest.mark.parametrize(("margin", "advised"), [(1.0, "stage4"), (99.0, "head")])
def test_the_cheapest_plan_that_gives_up_little_is_advised(margin: float, advised: str, study: Path) -> None:
    set_param(study, "margin", margin)
    advice = json.loads((compared(study) / "advice.json").read_text())
    assert (advice["plan"], advice["reference_plan"]) == (advised, "stage4")
    assert advice["sentences"][0].startswith("Unfreeze ")


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "nll"])
def test_advice_goes_by_the_metric_that_is_asked_for(metric: str, study: Path) -> None:
    """Both plans are as accurate here, and stage4 is the surer of what it says."""
    for name, of_a in (("efficientnet_lite0-head", 0.6), (CHANGED, 0.9)):
        edit_scores(study, name, lambda table, of_a=of_a: table.assign(probability_a=of_a, probability_b=1 - of_a))
    set_param(study, "metric", metric)
    reports = compared(study)
    advice = json.loads((reports / "advice.json").read_text())
    assert (advice["plan"], advice["metric"]) == ("stage4" if metric == "nll" else "head", metric)
    headline = json.loads((reports / "metrics.json").read_text())
    assert headline[f"{metric}_after_choice"] == pytest.approx(-np.log(0.9) if metric == "nll" else 1.0, rel=1e-4)


def test_what_more_repeats_would_take_comes_from_the_seconds_that_were_measured(study: Path) -> None:
    """A repeat is one replicate here, of two plans that take 60 s each."""
    set_param(study, "margin", 20.0)
    advice = json.loads((compared(study) / "advice.json").read_text())
    assert (advice["more_repeats"], advice["more_seconds"]) == (1, 120.0)
    assert advice["sentences"][2] == "To be sure, let it train 1 more repeat (study.repeats: 3, about 2 minutes)."
    set_param(study, "margin", 1.0)
    advice = json.loads((compared(study) / "advice.json").read_text())
    assert (advice["more_repeats"], advice["more_seconds"]) == (None, None)
    assert advice["sentences"][2].startswith("To be surer takes more images: these make it sure to within 31.7 points")


def test_a_plan_that_is_no_better_than_naming_the_commonest_class_is_warned_of(study: Path) -> None:
    """All test images are of class a, so that to name it always is right always."""
    sentences = json.loads((compared(study) / "advice.json").read_text())["sentences"]
    assert sentences[-1].startswith("Beware: it is not clearly better than always naming the commonest class (by ")


def test_advice_and_what_was_run_are_told_in_sentences_and_figures(study: Path) -> None:
    reports = compared(study)
    advice, about = (json.loads((reports / name).read_text()) for name in ("advice.json", "study.json"))
    assert advice["cost"] == "train_flops"
    assert advice["rule_of_thumb"]["train_images"] == 20
    assert (about["replicates"], about["splits"], about["folds"], about["repeats"]) == ([0, 1], "official", 1, 2)
    assert (about["train_images"], about["validation_images"], about["test_images"]) == (20, 10, 10)
    assert about["backbone_sha256"] == {"efficientnet_lite0-head": "of head", CHANGED: "of stage4"}
    assert about["precision"] == "float32"
    notes = " ".join(about["notes"])
    assert "The source's own 10 test images were tested by 2 networks" in notes
    assert "the luck of training, which is what differs between repeats beyond that" in notes


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
