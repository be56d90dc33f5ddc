"""The measurement of BatchNorm's trap moves what it says, and compares what it says."""

import numpy as np
import pytest
import torch
from torch import nn

from docs.drift import measure as drift
from docs.drift.training import (
    Lesson,
    Taught,
    build_fresh,
    compare_ways,
    compute_relative_change,
    read_statistics,
    score,
    set_statistics,
    teach,
)
from frostline.errors import InputError, join_names
from tests.project import STUDIES


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    """Dark and bright pictures of noise, which even a random backbone tells apart."""
    random, labels = np.random.default_rng(0), np.arange(48) % 2
    images = (random.integers(0, 100, (48, 32, 32, 3)) + 120 * labels[:, None, None, None]).astype(np.uint8)
    rows = {"train": np.arange(24), "validation": np.arange(24, 32), "test": np.arange(32, 48)}
    return Lesson(images, labels, rows, 2, fold=3, epochs=2, batch=8, learning_rate=0.01, weights="none")


@pytest.fixture(scope="module")
def taught(lesson: Lesson) -> dict[str, Taught]:
    return {way: teach(lesson, way) for way in ("held", "drifting")}


def test_held_nothing_frozen_moves_and_drifting_exactly_the_statistics_do(taught: dict[str, Taught]) -> None:
    assert taught["held"].moved == []
    buffers = [name for name, _ in taught["drifting"].model.named_buffers()]
    assert sorted(taught["drifting"].moved) == sorted(buffers)
    assert {name.rpartition(".")[2] for name in buffers} == {"running_mean", "running_var", "num_batches_tracked"}


def test_both_ways_begin_with_the_same_head_and_leave_the_same_frozen_weights(
    lesson: Lesson, taught: dict[str, Taught]
) -> None:
    begun, (held, drifting) = dict(build_fresh(lesson).named_parameters()), (each.model for each in taught.values())
    for name, parameter in drifting.named_parameters():
        assert (
            torch.equal(parameter, begun[name])
            == torch.equal(parameter, held.get_parameter(name))
            == (not name.startswith("head."))
        )


def test_a_run_of_both_ways_gives_the_same_again(lesson: Lesson, taught: dict[str, Taught]) -> None:
    row = compare_ways(lesson)
    assert row["curves"] == {way: each.curve for way, each in taught.items()}
    assert (row["held_moved_tensors"], row["drifting_moved_tensors"]) == (0, len(taught["drifting"].moved))
    assert row["held_head_loaded_statistics"] == score(taught["held"].model, lesson, "test")
    assert row["drifting_head_drifted_statistics"] == score(taught["drifting"].model, lesson, "test")
    assert row["relative_norm_of_means"] > 0 < row["relative_norm_of_variances"]


def test_statistics_are_put_under_a_head_without_touching_a_weight(lesson: Lesson) -> None:
    model = build_fresh(lesson)
    weights = {name: parameter.clone() for name, parameter in model.named_parameters()}
    others = {name: buffer + 1 for name, buffer in read_statistics(model).items()}
    set_statistics(model, others)
    assert all(torch.equal(buffer, others[name]) for name, buffer in model.named_buffers())
    assert all(torch.equal(parameter, weights[name]) for name, parameter in model.named_parameters())


def test_a_relative_norm_is_that_of_the_change_over_that_of_what_was_loaded() -> None:
    norm = nn.BatchNorm1d(2)
    before = read_statistics(norm) | {"running_mean": torch.tensor([3.0, 4.0])}
    after = before | {"running_mean": torch.tensor([3.0, 5.0]), "running_var": torch.tensor([9.0, 9.0])}
    assert compute_relative_change(before, after, "running_mean") == 0.2


def test_differences_are_those_of_all_images_each_of_which_one_fold_has_tested() -> None:
    """Of 40 images in two folds, all are named rightly by a, and all but every fourth by b."""
    rows = [
        {"tested": tested, "hits": {"a": np.ones(20, bool), "b": tested % 4 > 0}}
        for tested in (np.arange(20), np.arange(20, 40))
    ]
    found = drift.measure_difference(rows, np.arange(40), "a", "b")
    assert found["estimate"] == pytest.approx(0.25)
    assert 0 <= found["low"] < 0.25 < found["high"] < 1
    turned = drift.measure_difference(rows, np.arange(40), "b", "a")
    assert turned == pytest.approx({"estimate": -0.25, "low": -found["high"], "high": -found["low"]})


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--batch 1", "--batch must be at least 2. Got 1 instead."),
        ("--epochs 0", "--epochs must be at least 1. Got 0 instead."),
        ("--learning-rate 0", "--learning-rate must be more than 0. Got 0 instead."),
        ("--study bean", f"STUDY must name a file in studies: {join_names(STUDIES)}. Got 'bean' instead."),
    ],
)
def test_a_drift_that_cannot_be_measured_is_refused_in_one_line(arguments: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        drift.parse(arguments.split())
    assert str(caught.value) == line
