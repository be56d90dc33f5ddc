"""Calibration: probabilities are worth what they say, on images that had no part in making them so."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.model.calibration import (
    Doubt,
    calibrate,
    describe_calibration,
    find_doubt,
    find_temperature,
    find_threshold,
    split_groups,
    warm,
)

CLASSES = ["a", "b", "c"]


def draw(images: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities that say too much or too little by a temperature, and labels drawn from the true ones."""
    rng = np.random.default_rng(seed)
    true = warm(rng.dirichlet(np.ones(3), images), 1.0)
    labels = np.array([rng.choice(3, p=row) for row in true])
    return warm(true, 1 / temperature), labels


def table(probabilities: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    columns = {f"probability_{name}": probabilities[:, place] for place, name in enumerate(CLASSES)}
    rows = np.arange(len(labels))
    return pd.DataFrame({"id": [f"{row}.png" for row in rows], "image": rows, "label": labels} | columns)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_by_which_probabilities_are_off_is_found(temperature: float) -> None:
    probabilities, labels = draw(4000, temperature)
    assert find_temperature(probabilities, labels) == pytest.approx(temperature, rel=0.1)


def test_a_temperature_changes_no_class_and_1_changes_nothing() -> None:
    probabilities, _ = draw(200, 2.0)
    assert np.allclose(warm(probabilities, 1.0), probabilities)
    assert (warm(probabilities, 3.0).argmax(1) == probabilities.argmax(1)).all()


def test_calibrating_lowers_the_loss_and_the_calibration_error_of_images_that_had_no_part_in_it() -> None:
    probabilities, labels = draw(3000, 3.0)
    found, _ = calibrate(table(probabilities, labels), np.arange(3000) // 10, CLASSES)
    assert found.nll_after < found.nll_before
    assert found.calibration_error_after < found.calibration_error_before / 3
    assert found.images == 3000


def test_no_group_judges_itself() -> None:
    groups = np.random.default_rng(0).integers(0, 12, 200)
    judged = np.zeros(200, int)
    for others, these in split_groups(groups):
        assert not set(groups[others]) & set(groups[these])
        judged[these] += 1
    assert (judged == 1).all()


def test_what_is_certain_is_told_image_by_image() -> None:
    probabilities, labels = draw(500, 1.0)
    _, rows = calibrate(table(probabilities, labels), np.arange(500), CLASSES)
    assert rows.id.tolist() == [f"{row}.png" for row in range(500)]
    assert rows.right.tolist() == (probabilities.argmax(1) == labels).astype(int).tolist()


@given(
    st.lists(st.tuples(st.floats(0.3, 1), st.booleans()), min_size=1, max_size=60), st.sampled_from([0.5, 0.8, 0.95])
)
def test_from_the_threshold_on_as_many_are_right_as_the_level_asks_and_no_lower_one_shows_it(
    seen: list[tuple[float, bool]], level: float
) -> None:
    probability, right = np.array([p for p, _ in seen]), np.array([float(hit) for _, hit in seen])
    threshold = find_threshold(probability, right, level)
    reached = {
        value: right[probability >= value].mean() >= level - 1e-9 for value in np.unique(probability)
    }  # what each probability shows
    assert threshold == (min((value for value, shows in reached.items() if shows), default=None))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_of_those_that_are_not_doubtful_about_as_many_are_right_as_asked(seed: int) -> None:
    probabilities, labels = draw(3000, 1.0, seed)
    _, rows = calibrate(table(probabilities, labels), np.arange(3000), CLASSES)
    doubt = find_doubt(rows, np.arange(3000), 0.8)
    assert doubt.right is not None
    assert doubt.right == pytest.approx(0.8, abs=0.04)
    assert 0 < doubt.doubtful < 1


def test_where_no_probability_shows_the_level_every_image_is_doubtful() -> None:
    rows = pd.DataFrame({"probability": np.linspace(0.5, 1, 40), "right": [0, 1] * 20})
    rows.loc[rows.index[-1], "right"] = 0
    assert find_doubt(rows, np.arange(40), 0.95) == Doubt(0.95, None, 1.0, None)


def test_what_is_told_is_plain_numbers() -> None:
    probabilities, labels = draw(300, 2.0)
    found, rows = calibrate(table(probabilities, labels), np.arange(300), CLASSES)
    told = describe_calibration(found, find_doubt(rows, np.arange(300)))
    assert set(told) == {"calibration", "doubtful"}
    assert all(value is None or isinstance(value, float | int) for of in told.values() for value in of.values())
