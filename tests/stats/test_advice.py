"""Advice on toys whose answer can be seen, in the words that a person reads."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from frostline.stats.advice import Needed, Option, Study, choose, estimate_needed
from frostline.stats.advice_text import advise, apply_rule_of_thumb, classify_depth, describe_difference
from frostline.stats.intervals import Interval, Measured, Redrawn, compute_half_width
from frostline.stats.metrics import METRICS
from frostline.units import format_margin, format_points

COSTS = (1.0, 31.0, 62.0, 100.0)
OPTIONS = [
    Option("head", "unfreeze from head", "head", COSTS[0], "net"),
    Option("stage4", "unfreeze from stage4", "parts", COSTS[1], "net"),
    Option("stage3", "unfreeze from stage3", "parts", COSTS[2], "net"),
    Option("all", "unfreeze from stem", "all", COSTS[3], "net"),
]
SEEDS = 6


def measured(accuracies: Sequence[float], half: float) -> Measured:
    """Return accuracies of which every difference is known to within `half`."""
    spread = Redrawn(variance=(half / 2.5706) ** 2 / (1 / SEEDS + 0.2), overlap=0.2)
    figures = [{name: Interval(each, each - half, each + half, spread) for name in METRICS} for each in accuracies]
    pairs = [(i, j) for i in range(len(accuracies)) for j in range(i + 1, len(accuracies))]
    gaps = {(i, j): accuracies[i] - accuracies[j] for i, j in pairs}
    differences = {pair: Interval(gap, gap - half, gap + half, spread) for pair, gap in gaps.items()}
    return Measured(figures, differences, np.empty((0, 0)))


def study(validation: Sequence[float], test: Sequence[float], half: float = 0.004, **changes: Any) -> Study:
    made = Study(OPTIONS, measured(validation, half), measured(test, half), SEEDS, 0.01, "train_flops", 1_574, 2_624)
    return replace(made, **changes)


SETTLED = ((0.80, 0.898, 0.90, 0.901), (0.81, 0.899, 0.90, 0.901))


def test_the_cheapest_plan_that_is_surely_within_the_margin_is_advised_in_two_sentences() -> None:
    advice = advise(study(*SETTLED))
    assert (advice["run"], advice["status"], advice["cost_ratio"]) == (1, "shown", 0.31)
    assert advice["sentences"] == [
        "Unfreeze from stage4.",
        "It costs 0.31 of full fine-tuning's training FLOPs and is not worse than all by more than 1 point "
        "(difference -0.2, 95 % interval -0.6 to +0.2).",
    ]
    assert (advice["replicates_needed"], advice["images_needed"]) == (None, None)


def test_the_choice_is_validations_alone() -> None:
    swapped = study(SETTLED[0], (0.99, 0.2, 0.5, 0.1))
    assert choose(swapped) == choose(study(*SETTLED))
    assert not advise(swapped)["shown"]


def test_what_test_does_not_settle_is_not_called_shown() -> None:
    advice = advise(study(SETTLED[0], (0.81, 0.893, 0.90, 0.90)))
    assert (advice["run"], advice["status"], advice["shown"]) == (1, "unconfirmed", False)
    assert advice["sentences"][0] == (
        "On validation, to unfreeze from stage4 is not worse than any other plan by more than 1 point."
    )
    assert (
        "but test does not settle it (difference -0.7, 95 % interval -1.1 to -0.3 against stage3)"
        in advice["sentences"][1]
    )
    assert "about 7 more replicates or about 4,800 images instead of 2,624 would tell." in advice["sentences"][1]
    assert advice["replicates_needed"] == 13  # 2.18 x sqrt(1/13 + 0.2) is the first below 0.75 x 2.57 x sqrt(1/6 + 0.2)


def test_what_test_leaves_open_is_told_against_the_plan_that_leaves_it_open() -> None:
    """On test stage3 may be too far above stage4; all, the best on validation, is not."""
    advice = advise(study(SETTLED[0], (0.81, 0.899, 0.907, 0.901)))
    assert (advice["run"], advice["against"], advice["status"]) == (1, 2, "unconfirmed")
    assert "(difference -0.8, 95 % interval -1.2 to -0.4 against stage3)" in advice["sentences"][1]


def test_what_test_refutes_is_not_advised() -> None:
    advice = advise(study(SETTLED[0], (0.81, 0.80, 0.90, 0.901)))
    assert advice["sentences"] == [
        "Validation chose to unfreeze from stage4, but on test that is worse than all by more than 1 point.",
        "It costs 0.31 of full fine-tuning's training FLOPs (difference -10.1, 95 % interval -10.5 to -9.7); "
        "this study advises no plan.",
    ]


def test_one_replicate_shows_nothing() -> None:
    advice = advise(study(*SETTLED, replicates=1))
    assert (advice["run"], advice["status"]) == (1, "unconfirmed")
    assert advice["sentences"][1].endswith(
        "one replicate tells nothing of the luck of training, and more of them are needed."
    )


def test_each_backbones_cost_is_a_share_of_its_own_full_fine_tuning() -> None:
    options = [
        replace(each, backbone=name, named=f"{name} {each.named}") for name in ("one", "two") for each in OPTIONS
    ]
    options = [replace(each, cost=each.cost * (10 if each.backbone == "two" else 1)) for each in options]
    made = study(
        (0.8, 0.8, 0.8, 0.8, 0.8, 0.898, 0.9, 0.901), (0.8, 0.8, 0.8, 0.8, 0.8, 0.899, 0.9, 0.901), options=options
    )
    assert advise(made)["sentences"][1].startswith("It costs 0.31 of full fine-tuning of two's training FLOPs")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_full_fine_tuning_is_the_dearer_of_two_plans_that_train_everything(order: tuple[int, ...]) -> None:
    others = (replace(OPTIONS[3], named="all_one_view", cost=25.0), OPTIONS[2], OPTIONS[3])
    made = study((0.8, 0.9, 0.9, 0.9), (0.8, 0.9, 0.9, 0.9), options=[OPTIONS[0], *(others[place] for place in order)])
    assert advise(made)["sentences"][1].startswith("It costs 0.25 of full fine-tuning's training FLOPs")


def test_plans_that_cost_the_same_are_said_to() -> None:
    options = [replace(each, cost=7.0, learns="parts") for each in OPTIONS]
    said = advise(study(*SETTLED, options=options))["sentences"][1]
    assert said.startswith("It costs as much as any other plan and is not worse than")


def test_a_tiny_share_is_told_as_a_fraction() -> None:
    options = [replace(OPTIONS[0], cost=0.002), *OPTIONS[1:]]
    said = advise(study((0.9,) * 4, (0.9,) * 4, options=options))["sentences"][1]
    assert said.startswith("It costs 1/50,000 of full fine-tuning's training FLOPs")


def test_what_learns_is_known_from_its_parts() -> None:
    assert classify_depth(["head"], everything=False, deep_end=True, weights="pretrained") == "head"
    assert classify_depth(["stage4.2", "head"], everything=False, deep_end=True, weights="pretrained") == "parts"
    assert classify_depth(["stem", "head"], everything=False, deep_end=False, weights="pretrained") == "other"
    assert classify_depth(["stem", "head"], everything=True, deep_end=True, weights="pretrained") == "all"
    assert classify_depth(["stem", "head"], everything=True, deep_end=True, weights="none") == "scratch"


def test_a_bound_that_rounding_would_hide_is_told_with_more_digits() -> None:
    spread = Redrawn(1e-4, 0.2)
    assert (
        describe_difference(Interval(-0.005, -0.0104, -0.002, spread), 0.01)
        == "difference -0.50, 95 % interval -1.04 to -0.20"
    )


def test_when_the_data_cannot_tell_it_says_so_and_how_much_more_would_be_needed() -> None:
    advice = advise(study((0.80, 0.896, 0.90, 0.901), SETTLED[1], half=0.03))
    assert (advice["run"], advice["status"], advice["shown"]) == (3, "open", False)
    assert advice["sentences"][0] == (
        "The data cannot tell how deep to unfreeze to within 1 point; all is best on validation."
    )
    assert advice["sentences"][1].startswith(
        "The cheapest plan that may do is stage4, which costs 0.31 of full fine-tuning's training FLOPs "
        "(on validation, against all: difference -0.5, 95 % interval -3.5 to +2.5); about "
    )
    assert advice["images_needed"] > 30 * 2_624


def test_a_plan_that_is_worse_by_more_than_the_margin_is_not_held_for_one_that_may_do() -> None:
    open_ = study((0.80, 0.896, 0.90, 0.901), SETTLED[1], half=0.03)
    assert "head" not in advise(open_)["sentences"][1]


def test_a_lopsided_interval_needs_more_for_its_longer_arm() -> None:
    made, spread = study(*SETTLED), Redrawn(variance=1e-4, overlap=0.02)
    half = compute_half_width(spread, SEEDS)
    even = estimate_needed(made, Interval(-0.005, -0.005 - half, -0.005 + half, spread))
    longer = estimate_needed(made, Interval(-0.005, -0.005 - 1.3 * half, -0.005 + 0.7 * half, spread))
    assert even.images
    assert longer.images
    assert longer.images / even.images == pytest.approx(1.3**2, rel=0.05)


def test_plans_that_never_differ_are_told_apart_by_more_images_alone() -> None:
    needed = estimate_needed(study(*SETTLED), Interval(0.0, -0.0284, 0.0284, Redrawn(variance=0.0, overlap=0.4)))
    assert needed == Needed(None, 7_500)  # 2.84 times the 2,624 images, rounded up


def test_what_is_needed_would_do_and_less_would_not() -> None:
    made = study(*SETTLED)
    spread = Redrawn(variance=1e-4, overlap=0.02)
    half = compute_half_width(spread, SEEDS)
    open_ = Interval(-0.005, -0.005 - half, -0.005 + half, spread)
    needed = estimate_needed(made, open_)
    assert needed.replicates
    assert (
        compute_half_width(open_.spread, needed.replicates)
        <= 0.005
        < compute_half_width(open_.spread, needed.replicates - 1)
    )
    assert needed.images
    assert compute_half_width(open_.spread, SEEDS, needed.images / made.images) <= 0.005


def test_overlap_that_no_number_of_replicates_can_cure_is_told_as_images_alone() -> None:
    needed = estimate_needed(study(*SETTLED), Interval(-0.005, -0.05, 0.04, Redrawn(variance=0.001, overlap=0.4)))
    assert needed.replicates is None
    assert needed.images


def test_the_best_plan_is_compared_with_the_one_that_may_be_furthest_above_it() -> None:
    advice = advise(study((0.95, 0.898, 0.90, 0.901), (0.94, 0.899, 0.90, 0.901)))
    assert (advice["run"], advice["against"], advice["shown"]) == (0, 3, True)


def test_among_equals_the_cheaper_plan_is_best() -> None:
    assert choose(study((0.9,) * 4, (0.9,) * 4, half=0.05)).run == 0


def test_a_single_plan_is_told_as_such() -> None:
    alone = study((0.9,), (0.9,), options=OPTIONS[:1])
    advice = advise(alone)
    assert advice["sentences"][0] == "There is one plan, head."
    assert (advice["difference"], advice["shown"]) == (None, False)


def test_without_full_fine_tuning_costs_are_shares_of_the_dearest_plan() -> None:
    advice = advise(study((0.80, 0.898, 0.90), (0.81, 0.899, 0.90), options=OPTIONS[:3], cost="train_seconds"))
    assert advice["sentences"][1].startswith(
        "It costs 0.50 of stage3's training seconds and is not worse than stage3 by"
    )


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
    assert apply_rule_of_thumb(study(*SETTLED, train_images=images), 1)["sentence"] == sentence


def test_the_rule_of_thumb_is_left_open_where_the_study_is_or_has_no_such_plan() -> None:
    assert apply_rule_of_thumb(study(*SETTLED), None)["sentence"].endswith(
        "this study cannot tell whether that is right."
    )
    no_all = study(*SETTLED, options=OPTIONS[:3], train_images=20_000)
    assert apply_rule_of_thumb(no_all, 1)["sentence"].endswith("no plan of this study does that.")


def test_plans_that_saw_different_shares_of_the_images_neither_bear_the_rule_of_thumb_out_nor_refute_it() -> None:
    of_sizes = study(*SETTLED, several_sizes=True)
    assert apply_rule_of_thumb(of_sizes, 1)["sentence"].endswith(
        "train the last parts; the plans of this study are shown "
        "different shares of them, and each share is told by itself."
    )


def test_a_study_of_random_weights_asks_which_network_and_has_no_rule_of_thumb() -> None:
    networks = [Option(f"net{place}", "train", "scratch", cost, f"net{place}") for place, cost in enumerate(COSTS)]
    advice = advise(study((0.80, 0.896, 0.90, 0.901), SETTLED[1], half=0.03, options=networks))
    first = "The data cannot tell which of them to train to within 1 point; net3 is best on validation."
    assert advice["sentences"][0] == first
    assert advice["rule_of_thumb"]["sentence"].endswith("it is about pretrained weights, and this study has none.")


def test_points_are_written_with_their_sign() -> None:
    assert [format_points(each) for each in (0.012, -0.0025, 0.0004, -0.0004)] == ["+1.2", "-0.2", "0.0", "0.0"]
    assert (format_margin(0.01), format_margin(0.005)) == ("1 point", "0.5 points")
