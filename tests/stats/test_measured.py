"""What all plans scored, on predictions whose scores can be worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.errors import InputError
from frostline.stats.measured import Tested, gather_tests, list_telling_metrics, measure, name_by_chance, turn
from frostline.stats.metrics import score_predictions
from frostline.stats.significance import correct_by_holm

CLASSES = ["a", "b"]
GROUPS = np.repeat(np.arange(60), 2)


def predictions(accuracy: float, repeats: int = 2, folds: int = 3, seed: int = 0) -> pd.DataFrame:
    """Return what a plan of this accuracy names 120 images, each tested once in a repeat, in any order."""
    rng, tables = np.random.default_rng(seed), []
    for repeat in range(repeats):
        labels, fold = np.arange(120) % 2, rng.permutation(np.arange(120) % folds)
        right = rng.random(120) < accuracy
        of_a = np.where((labels == 0) == right, 0.8, 0.3)
        columns = {"replicate": repeat * folds + fold, "image": np.arange(120), "label": labels}
        tables.append(pd.DataFrame(columns | {"probability_a": of_a, "probability_b": 1 - of_a}))
    return pd.concat(tables).sample(frac=1, random_state=seed)


def gathered(*accuracies: float, folds: int = 3) -> tuple[list[pd.DataFrame], Tested]:
    tables = []
    for place, accuracy in enumerate(accuracies):
        table = predictions(accuracy, folds=folds).sort_values(["replicate", "image"])
        tables.append(table if place == 0 else table.assign(replicate=tables[0].replicate, image=tables[0].image))
    return tables, gather_tests(tables, CLASSES, GROUPS, folds)


def test_each_metric_is_that_of_all_images_of_a_repeat_together() -> None:
    tables, tested = gathered(0.7, 0.9)
    measured = measure(tested, CLASSES)
    for plan, table in enumerate(tables):
        by_repeat = [score_predictions(its, CLASSES) for _, its in table.groupby(table.replicate // 3)]
        for name in list_telling_metrics(CLASSES):
            wanted = np.mean([scores[name] for scores in by_repeat])
            found = measured.get(plan, name)
            assert found.estimate == pytest.approx(wanted)
            assert found.low <= found.estimate <= found.high


def test_intervals_stay_within_what_a_metric_can_be() -> None:
    _, tested = gathered(1.0, 0.0)
    measured = measure(tested, CLASSES)
    assert measured.get(0).high == 1.0
    assert measured.get(1).low == 0.0
    assert measured.get_difference(0, 1).high == 1.0


def test_a_difference_is_the_other_way_round_from_the_other_side() -> None:
    measured = measure(gathered(0.7, 0.9)[1], CLASSES)
    there, back = measured.get_difference(0, 1), measured.get_difference(1, 0)
    assert (there.estimate, there.low) == pytest.approx((-back.estimate, -back.high))
    assert measured.compute_p(0, 1) == pytest.approx(measured.compute_p(1, 0))


def test_images_of_a_group_are_counted_as_one_piece_of_luck() -> None:
    (_, tested), alone = gathered(0.7, 0.9), np.arange(120)
    assert int(tested.groups.max()) + 1 == 60
    tables, _ = gathered(0.7, 0.9)
    assert int(gather_tests(tables, CLASSES, alone, 3).groups.max()) + 1 == 120


@pytest.mark.parametrize("column", ["replicate", "image"])
def test_plans_of_other_images_or_replicates_are_refused(column: str) -> None:
    tables, _ = gathered(0.7, 0.9)
    tables[1] = tables[1].assign(**{column: tables[1][column].to_numpy()[::-1] + 1})
    with pytest.raises(InputError, match=r"^data/scores must hold predictions of the same replicates and images for"):
        gather_tests(tables, CLASSES, GROUPS, 3)


def test_who_knows_only_how_common_each_class_is_names_the_commonest() -> None:
    table = predictions(0.9).assign(label=0)
    table.loc[table.image < 20, "label"] = 1
    scores = score_predictions(name_by_chance(table, CLASSES), CLASSES)
    assert scores["accuracy"] == scores["majority_accuracy"] == pytest.approx(100 / 120)
    share = 20 / 120
    assert scores["negative_log_likelihood"] == pytest.approx(-share * np.log(share) - (1 - share) * np.log(1 - share))


def test_outcomes_of_which_less_is_better_are_turned_around() -> None:
    outcomes = gathered(0.7, 0.9)[1].get_outcomes("negative_log_likelihood")
    turned = turn(outcomes, -1)
    assert (turned.pooled == -outcomes.pooled).all()
    draws = np.ones((1, outcomes.groups))
    assert turned.pool(draws) == pytest.approx(-outcomes.pool(draws))
    assert turned.pooled[0].mean() < turned.pooled[1].mean()


def test_holm_multiplies_the_smallest_p_by_all_and_the_largest_by_one() -> None:
    assert correct_by_holm([0.01, 0.04, 0.02]) == pytest.approx([0.03, 0.04, 0.04])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_corrected_p_values_are_no_smaller_keep_their_order_and_stay_probabilities(p_values: list[float]) -> None:
    corrected = correct_by_holm(p_values)
    assert all(p <= c <= 1 for p, c in zip(p_values, corrected, strict=True))
    by_size = [corrected[place] for place in np.argsort(p_values, kind="stable")]
    assert by_size == sorted(by_size)


def test_plans_that_a_race_stopped_count_in_their_place_and_in_every_metric() -> None:
    tables, whole = gathered(0.7, 0.9, 0.8, 0.6)
    tables = [table[table.replicate < 3] for table in tables]  # a repeat of three folds
    whole = gather_tests(tables, CLASSES, GROUPS, 3)
    cut = [tables[0], tables[1][tables[1].replicate < 2], tables[2], tables[3][tables[3].replicate < 2]]
    tested = gather_tests(cut, CLASSES, GROUPS, 3, stopped=(1, 3))
    for name in list_telling_metrics(CLASSES):
        found, full = measure(tested, CLASSES).estimates[name], measure(whole, CLASSES).estimates[name]
        np.testing.assert_allclose(found.means[[0, 2]], full.means[[0, 2]])
        np.testing.assert_allclose(found.means[[1, 3]], full.means[[1, 3]], atol=0.2)
        assert np.isfinite(found.covariance).all()
    assert np.argmax(measure(tested, CLASSES).estimates["accuracy"].means) == 1


def test_plans_with_fewer_replicates_are_refused_unless_a_race_stopped_them() -> None:
    tables, _ = gathered(0.7, 0.9)
    with pytest.raises(InputError, match=r"^data/scores must hold predictions of the same replicates"):
        gather_tests([tables[0], tables[1][tables[1].replicate < 2]], CLASSES, GROUPS, 3)
