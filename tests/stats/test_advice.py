"""Advice on toys whose answer can be seen, in the words that a person reads."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from frostline.answer.outcomes import Outcomes, average_scores
from frostline.stats.advice import Option, Study, decide_study
from frostline.stats.advice_text import advise, apply_rule_of_thumb, classify_depth, find_reference
from frostline.units import format_duration, format_margin, format_points, format_unsigned_points

COSTS = (1.0, 31.0, 62.0, 100.0)
OPTIONS = [
    Option("head", "unfreeze from head", "head", COSTS[0], "net"),
    Option("stage4", "unfreeze from stage4", "parts", COSTS[1], "net"),
    Option("stage3", "unfreeze from stage3", "parts", COSTS[2], "net"),
    Option("all", "unfreeze from stem", "all", COSTS[3], "net"),
]
SETTLED = (0.80, 0.898, 0.90, 0.901)
FOLDS = 5


def named_rightly(accuracies: Sequence[float], images: int, seed: int = 0) -> Outcomes:
    """Return what plans of these accuracies score on images of which the hard ones are hard for all."""
    rng = np.random.default_rng(seed)
    hard, luck = rng.random(images), rng.random((len(accuracies), 1, images))
    right = 0.9 * hard + 0.1 * luck < np.array(accuracies)[:, None, None]
    return average_scores(right.astype(float), np.arange(images), (np.arange(images) % FOLDS)[None])


def study(accuracies: Sequence[float] = SETTLED, images: int = 20_000, **changes: Any) -> Study:
    made = Study(
        options=OPTIONS[: len(accuracies)],
        outcomes=named_rightly(accuracies, images),
        by_chance=named_rightly([0.5], images),
        metric="accuracy",
        margin=0.01,
        cost="train_flops",
        repeat_seconds=220.0,
        train_images=1_574,
    )
    return replace(made, **changes)


def test_the_cheapest_plan_that_gives_up_little_is_advised_in_two_sentences() -> None:
    advice = advise(study())
    assert (advice["plan"], advice["advice"], advice["cost_ratio"]) == (1, "sure", 0.31)
    assert advice["sentences"][0] == "Unfreeze from stage4."
    assert advice["sentences"][1].startswith(
        "More than 99 % sure that it is within 1 point of the best, at 0.31 of full fine-tuning's training "
        "computation; on average it gives up 0."
    )
    assert len(advice["sentences"]) == 2
    assert advice["more_repeats"] is advice["more_seconds"] is None


def test_figures_of_the_advice_are_in_points_and_those_of_each_plan_stand_beside() -> None:
    made = study(images=2_000)
    advice, decision = advise(made), decide_study(made).decision
    assert advice["margin"] == 1.0
    assert advice["expected_shortfall"] == pytest.approx(100 * decision.expected_shortfall)
    assert advice["resolution"] == pytest.approx(100 * decision.resolution)
    assert advice["probabilities"][advice["plan"]] == advice["probability"]
    assert len(advice["expected_shortfalls"]) == 4


def test_where_repeats_do_not_help_it_says_what_these_images_can_settle() -> None:
    """Every fold is as the others, so that there is little luck of training that repeats could make smaller."""
    advice = advise(study((0.80, 0.88, 0.90, 0.905), images=300))
    assert advice["advice"] in ("likely", "leaning")
    assert advice["more_repeats"] is advice["more_seconds"] is None
    now, finest = (format_unsigned_points(advice[name]) for name in ("resolution", "finest_margin"))
    assert 1.0 < advice["finest_margin"] < advice["resolution"]
    assert advice["sentences"][2:] == [
        f"To be surer takes more images: these make it sure to within {now} points now, and to {finest} points at best "
        "with more repeats."
    ]


def test_no_finer_margin_is_promised_than_the_one_that_was_asked_for_and_is_not_reached() -> None:
    """At a margin below it another plan would be advised, and of that one more repeats could be sure."""
    made = study(images=600)
    advice = advise(made)
    assert advice["finest_margin"] < 100 * made.margin < advice["resolution"]
    now = format_unsigned_points(advice["resolution"])
    assert advice["sentences"][2:] == [f"To be surer takes more images: these make it sure to within {now} points now."]


def test_what_repeats_would_settle_is_told_with_their_number_and_their_time() -> None:
    """Plans that differ by the luck of training alone: each fold draws how good it comes out."""
    rng, images = np.random.default_rng(0), 5_000
    folds = np.arange(images) % FOLDS
    luck = np.array([[0.82] * FOLDS, [0.90, 0.93, 0.87, 0.91, 0.89], [0.91, 0.88, 0.93, 0.9, 0.9]])
    right = rng.random(images) < luck[:, folds]
    outcomes = average_scores(right[:, None].astype(float), np.arange(images), folds[None])
    advice = advise(study(SETTLED[:3], outcomes=outcomes, by_chance=named_rightly([0.5], images), margin=0.02))
    assert advice["more_repeats"] >= 1
    assert advice["more_seconds"] == 220.0 * advice["more_repeats"]
    more = advice["more_repeats"]
    noun = "repeat" if more == 1 else "repeats"
    assert advice["sentences"][2] == (
        f"To be sure, let it train {more} more {noun} (study.repeats: {1 + more}, about "
        f"{format_duration(220.0 * more)})."
    )


def test_a_plan_that_may_be_no_better_than_naming_the_commonest_class_is_warned_of() -> None:
    bad = advise(study((0.5, 0.501), images=500, by_chance=named_rightly([0.5], 500)))
    assert bad["sentences"][-1].startswith("Beware: it is not clearly better than always naming the commonest class")
    assert bad["above_chance"]["low"] <= 0
    good = advise(study())
    assert not any("Beware" in sentence for sentence in good["sentences"])


def test_a_single_plan_is_told_as_such() -> None:
    advice = advise(study((0.9,)))
    assert advice["sentences"] == [
        "There is one plan, head.",
        "With nothing beside it there is nothing to advise.",
    ]
    assert advice["advice"] == "one plan"


def test_without_full_fine_tuning_costs_are_shares_of_the_dearest_plan() -> None:
    advice = advise(study((0.80, 0.898, 0.90), cost="train_seconds"))
    assert ", at 0.50 of stage3's training time; " in advice["sentences"][1]
    assert advice["reference"] == 2


def test_plans_are_compared_with_the_dearest_that_is_full_fine_tuning() -> None:
    scratch = Option("scratch", "train from random weights", "scratch", 500.0, "net")
    assert find_reference(study(options=[*OPTIONS[:3], scratch, OPTIONS[3]])) == 4


def test_a_margin_in_nats_is_told_as_such() -> None:
    sentence = advise(study(metric="nll"))["sentences"][1]
    assert "within 1 hundredth of a nat of the best" in sentence


def rule(of: Study) -> str:
    return str(apply_rule_of_thumb(of, decide_study(of))["sentence"])


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (999, "The rule of thumb for 999 training images: train only the head; this study says otherwise (stage4)."),
        (1_000, "The rule of thumb for 1,000 training images: train the last parts; this study agrees."),
        (
            10_001,
            "The rule of thumb for 10,001 training images: train everything, at a low rate; "
            "this study says otherwise (stage4).",
        ),
    ],
)  # fmt: skip
def test_the_rule_of_thumb_is_held_against_the_advice(images: int, sentence: str) -> None:
    assert rule(study(train_images=images)) == sentence


def test_the_rule_of_thumb_is_left_to_itself_where_no_plan_does_what_it_says() -> None:
    assert rule(study(SETTLED[:3], train_images=20_000)).endswith("no plan of this study does that.")


def test_advice_that_is_not_sure_leans_against_the_rule_of_thumb() -> None:
    assert (
        rule(study((0.80, 0.88, 0.90, 0.905), images=300, train_images=300))
        .partition("; ")[2]
        .startswith("this study leans another way (")
    )


def test_plans_that_saw_different_shares_of_the_images_neither_bear_the_rule_of_thumb_out_nor_refute_it() -> None:
    assert rule(study(several_sizes=True)).endswith(
        "train the last parts; the plans of this study are shown "
        "different shares of them, and each share is told by itself."
    )


def test_a_study_of_random_weights_has_no_rule_of_thumb() -> None:
    networks = [
        Option(f"net{place}", f"train from random weights on net{place}", "scratch", cost, f"net{place}")
        for place, cost in enumerate(COSTS)
    ]
    advice = advise(study(options=networks))
    assert advice["sentences"][0] == "Train from random weights on net1."
    assert advice["rule_of_thumb"]["sentence"].endswith("it is about pretrained weights, and this study has none.")


@pytest.mark.parametrize(
    ("learned", "everything", "deep_end", "weights", "kind"),
    [
        (["head"], False, True, "pretrained", "head"),
        (["stage4", "head"], False, True, "pretrained", "parts"),
        (["norms", "head"], False, False, "pretrained", "other"),
        (["stem", "head"], True, True, "pretrained", "all"),
        (["stem", "head"], True, True, "none", "scratch"),
    ],
)
def test_a_plan_is_to_the_rule_of_thumb_what_it_lets_learn(
    learned: list[str], everything: bool, deep_end: bool, weights: str, kind: str
) -> None:
    assert classify_depth(learned, everything=everything, deep_end=deep_end, weights=weights) == kind


def test_points_and_durations_are_told_as_people_say_them() -> None:
    assert [format_points(each) for each in (0.012, -0.0025, 0.0004, -0.0004)] == ["+1.2", "-0.2", "0.0", "0.0"]
    assert (format_margin(0.01), format_margin(0.005)) == ("1 point", "0.5 points")
    assert [format_unsigned_points(each) for each in (1.0, 2.64, 0.254, 0.0)] == ["1", "2.6", "0.25", "0"]
    assert [format_duration(each) for each in (0.2, 40, 89, 100, 660, 5_399, 11_000)] == [
        "1 second", "40 seconds", "89 seconds", "2 minutes", "11 minutes", "90 minutes", "3 hours",
    ]  # fmt: skip
