"""Scores and calibration, on tables whose scores can be worked out by hand."""

from math import log

import pandas as pd
import pytest

from frostline.stats.metrics import count_confusion, score_predictions

CLASSES = ["ant", "bee", "cat"]


def table(*rows: tuple[str, tuple[float, float, float]]) -> pd.DataFrame:
    """Return predictions from (true class, probability of each class)."""
    columns = {f"probability_{name}": [row[1][index] for row in rows] for index, name in enumerate(CLASSES)}
    return pd.DataFrame({"label": [CLASSES.index(row[0]) for row in rows], **columns})


SIX = table(
    ("ant", (0.50, 0.25, 0.25)),  # taken for an ant
    ("ant", (0.50, 0.50, 0.00)),  # as likely a bee: the first of equals is named, an ant
    ("ant", (0.25, 0.50, 0.25)),  # taken for a bee
    ("bee", (0.00, 1.00, 0.00)),  # taken for a bee
    ("bee", (0.25, 0.50, 0.25)),  # taken for a bee
    ("cat", (0.75, 0.00, 0.25)),  # taken for an ant
)


def test_accuracy_is_the_share_of_images_that_are_named_rightly() -> None:
    assert score_predictions(SIX, CLASSES)["images"] == 6
    assert score_predictions(SIX, CLASSES)["accuracy"] == pytest.approx(4 / 6)


def test_recall_is_the_share_of_each_classs_images_that_are_named_rightly() -> None:
    assert score_predictions(SIX, CLASSES)["recall"] == pytest.approx({"ant": 2 / 3, "bee": 2 / 2, "cat": 0 / 1})


def test_balanced_accuracy_is_the_mean_of_the_recalls() -> None:
    assert score_predictions(SIX, CLASSES)["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_macro_f1_is_the_mean_of_the_classes_f1() -> None:
    ant = 2 * 2 / (2 * 2 + 1 + 1)  # two hits, the cat named ant, the ant named bee
    bee = 2 * 2 / (2 * 2 + 1 + 0)  # two hits, the ant named bee
    assert score_predictions(SIX, CLASSES)["macro_f1"] == pytest.approx((ant + bee + 0) / 3)


def test_the_negative_log_likelihood_is_in_nats_per_image() -> None:
    halvings = 1 + 1 + 2 + 0 + 1 + 2  # the true classes got 1/2, 1/2, 1/4, 1, 1/2 and 1/4
    assert score_predictions(SIX, CLASSES)["negative_log_likelihood"] == pytest.approx(halvings * log(2) / 6)


def test_top_5_accuracy_is_the_share_of_images_whose_class_is_among_the_five_likeliest() -> None:
    classes = [f"c{index}" for index in range(7)]
    falling = [0.3, 0.25, 0.2, 0.1, 0.08, 0.05, 0.02]
    columns = {f"probability_{name}": [share] * 3 for name, share in zip(classes, falling, strict=True)}
    table = pd.DataFrame({"label": [0, 4, 5], **columns})
    assert score_predictions(table, classes)["top_5_accuracy"] == pytest.approx(2 / 3)


def test_top_5_accuracy_is_not_told_of_so_few_classes_that_it_must_be_1() -> None:
    assert "top_5_accuracy" not in score_predictions(SIX, CLASSES)


def test_majority_accuracy_is_what_always_naming_the_commonest_class_would_get() -> None:
    assert score_predictions(SIX, CLASSES)["majority_accuracy"] == pytest.approx(3 / 6)


def test_the_confusion_has_a_row_for_each_true_class_and_a_column_for_each_named_one() -> None:
    assert count_confusion(SIX, CLASSES).tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


WITHOUT_CATS = table(
    ("ant", (0.50, 0.25, 0.25)),
    ("ant", (0.50, 0.25, 0.25)),
    ("bee", (0.25, 0.50, 0.25)),
    ("bee", (0.25, 0.50, 0.25)),
)


def test_a_faultless_table_scores_1_though_a_class_is_absent_from_it() -> None:
    scores = score_predictions(WITHOUT_CATS, CLASSES)
    assert [scores[name] for name in ("accuracy", "balanced_accuracy", "macro_f1")] == [1.0, 1.0, 1.0]


def test_the_likelihood_and_the_confusion_know_a_class_that_is_absent() -> None:
    assert score_predictions(WITHOUT_CATS, CLASSES)["negative_log_likelihood"] == pytest.approx(log(2))
    assert count_confusion(WITHOUT_CATS, CLASSES).tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 0]]


def test_no_recall_is_claimed_for_a_class_that_is_absent() -> None:
    assert score_predictions(WITHOUT_CATS, CLASSES)["recall"] == {"ant": 1.0, "bee": 1.0, "cat": None}


@pytest.mark.filterwarnings("error")
def test_naming_a_class_that_is_absent_is_a_miss_and_no_cause_for_a_warning() -> None:
    one_seen_as_cat = table(
        ("ant", (0.50, 0.25, 0.25)),
        ("ant", (0.25, 0.25, 0.50)),  # taken for a cat, of which there are none
        ("bee", (0.25, 0.50, 0.25)),
        ("bee", (0.25, 0.50, 0.25)),
    )
    scores = score_predictions(one_seen_as_cat, CLASSES)
    assert scores["accuracy"] == pytest.approx(3 / 4)
    assert scores["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 2) / 2)
    assert count_confusion(one_seen_as_cat, CLASSES).tolist() == [[1, 0, 1], [0, 2, 0], [0, 0, 0]]
