"""How fast each part learns, and when."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from frostline.constants import PARTS
from frostline.training.loop import start_fit, take_step, train_epochs
from frostline.training.optimizer import get_rates, make_optimizer, schedule_heights
from tests.toys import training
from tests.training.test_loop import batches, doubted_batches, line

LOSSES = st.lists(st.floats(0.01, 10), max_size=9)
STEPS = st.integers(1, 20)


@given(losses=LOSSES, steps=STEPS)
def test_a_constant_rate_stands_at_its_height(losses: list[float], steps: int) -> None:
    assert schedule_heights(training(epochs=10), losses, steps) == [1.0] * steps


def test_a_cosine_falls_along_half_a_wave() -> None:
    asked = training(epochs=4, schedule="cosine")
    first_steps = [schedule_heights(asked, [1.0] * epoch, 5)[0] for epoch in range(4)]
    assert first_steps == pytest.approx([1.0, math.cos(math.pi / 8) ** 2, 0.5, math.sin(math.pi / 8) ** 2])


@given(losses=st.lists(st.floats(0.01, 10), max_size=3), steps=STEPS)
def test_a_cosine_leaves_every_step_something_and_none_more_than_the_one_before(
    losses: list[float], steps: int
) -> None:
    found = schedule_heights(training(epochs=4, schedule="cosine"), losses, steps)
    assert all(0 < height <= 1 for height in found)
    assert found == sorted(found, reverse=True)


@given(losses=LOSSES, steps=STEPS, schedule=st.sampled_from(["constant", "cosine", "plateau"]))
def test_in_the_warm_up_the_rate_rises_evenly_to_its_height(losses: list[float], steps: int, schedule: str) -> None:
    asked = training(epochs=12, schedule=schedule, warmup_epochs=10)
    expected = [(len(losses) + (step + 1) / steps) / 10 for step in range(steps)]
    assert schedule_heights(asked, losses, steps) == pytest.approx(expected)
    assert schedule_heights(asked, [1.0] * 9, steps)[-1] == 1.0


def test_a_cosine_falls_over_what_the_warm_up_leaves() -> None:
    asked = training(epochs=3, schedule="cosine", warmup_epochs=1)
    assert [schedule_heights(asked, [1.0] * epoch, 4)[0] for epoch in range(3)] == pytest.approx([0.25, 1.0, 0.5])


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([], 1.0),
        ([1.0, 0.9, 0.8, 0.7], 1.0),
        ([1.0, 1.1, 1.1], 1.0),
        ([1.0, 1.1, 1.1, 1.1], 0.5),
        ([1.0, 1.1, 1.1, 1.1, 0.9, 1.0], 0.5),
        ([1.0, *[1.1] * 6], 0.25),
    ],
)
def test_on_a_plateau_the_rate_falls_after_more_than_patience_epochs_without_a_lower_loss(
    losses: list[float], expected: float
) -> None:
    assert schedule_heights(training(epochs=20, schedule="plateau", plateau_patience=2), losses, 3) == [expected] * 3


def test_an_epoch_records_the_mean_rate_of_its_steps() -> None:
    fit = start_fit(line(), 0.1, 0.0, 0)
    asked = training(epochs=3, batch_size=10, schedule="cosine", warmup_epochs=1)
    list(train_epochs(fit, batches(), asked, "float32"))
    assert fit.history[0].learning_rates["0"] == pytest.approx(0.1 * (1 + 2 + 3 + 4) / 16)
    means = [sum(schedule_heights(asked, [1.0] * epoch, 4)) / 4 for epoch in range(3)]
    assert [epoch.learning_rates["0"] for epoch in fit.history] == pytest.approx([0.1 * mean for mean in means])


def test_the_first_step_of_a_warm_up_is_as_small_as_the_schedule_says() -> None:
    """AdamW's first step moves every weight by its rate, whatever the gradient."""
    moved = []
    for warmup_epochs in (0, 2):
        fit = start_fit(line(), 0.1, 0.0, 0)
        next(train_epochs(fit, batches(), training(epochs=3, batch_size=40, warmup_epochs=warmup_epochs), "float32"))
        moved.append(float(fit.suffix[0].weight.detach().abs().max()))
    assert moved == [pytest.approx(0.1, rel=1e-4), pytest.approx(0.05, rel=1e-4)]


def test_a_fit_whose_loss_stays_high_is_trained_at_ever_lower_rates() -> None:
    fit = start_fit(line(), 1.0, 0.0, 0)
    asked = training(epochs=12, patience=12, schedule="plateau", plateau_patience=1)
    list(train_epochs(fit, doubted_batches(), asked, "float32"))
    rates = [epoch.learning_rates["0"] for epoch in fit.history]
    assert rates == sorted(rates, reverse=True)
    assert 1.0 == rates[0] > rates[-1]
    assert set(rates) <= {0.5**falls for falls in range(12)}


def parted() -> nn.Sequential:
    parts = nn.Sequential()
    for part in PARTS:
        parts.add_module(part, nn.Sequential(nn.Linear(2, 2)))
    return parts


def test_with_layer_decay_each_part_learns_more_slowly_than_the_one_after_it() -> None:
    rates = get_rates(make_optimizer(parted(), 0.08, 0.0, 0.5))
    assert rates == {
        "stem": 0.0025, "stage1": 0.005, "stage2": 0.01, "stage3": 0.02, "stage4": 0.04, "head": 0.08,
    }  # fmt: skip


def test_a_frozen_part_has_no_rate() -> None:
    parts = parted()
    parts.get_submodule("stage2").requires_grad_(requires_grad=False)
    assert "stage2" not in get_rates(make_optimizer(parts, 0.1, 0.0, 1.0))


def test_smoothed_labels_ask_for_a_little_of_every_class() -> None:
    suffix = nn.Sequential(nn.Linear(1, 4, bias=False))
    nn.init.constant_(suffix[0].weight, 0.0)
    suffix[0].weight.data[2] = 3.0
    labels, batch = torch.tensor([2, 2]), torch.ones(2, 1)
    losses = [float(take_step(start_fit(suffix, 0.0, 0.0, 0), batch, labels, "float32", e)[0]) for e in (0.0, 0.1)]
    right, wrong = -math.log(math.exp(3) / (math.exp(3) + 3)), -math.log(1 / (math.exp(3) + 3))
    assert losses == pytest.approx([right, 0.925 * right + 0.075 * wrong])
