"""Which learning rate a run keeps."""

from math import nan

import pytest

from stages.train import best_rate
from stages.training import Epoch


def history(*losses: float) -> list[Epoch]:
    return [Epoch(number, 1.0, 0.5, loss, 0.5, 1.0) for number, loss in enumerate(losses, start=1)]


def test_the_rate_with_the_lowest_mean_of_best_losses_is_kept() -> None:
    histories = {(0.1, 0): history(0.9, 0.2), (0.1, 1): history(0.8), (0.01, 0): history(0.4), (0.01, 1): history(0.5)}
    assert best_rate(histories) == 0.01


def test_a_rate_at_which_one_seed_diverged_is_not_kept() -> None:
    histories = {(0.1, 0): history(0.1), (0.1, 1): history(nan), (0.01, 0): history(0.4), (0.01, 1): history(0.5)}
    assert best_rate(histories) == 0.01


def test_rates_that_all_diverge_are_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"^learning_rates must hold one at which training does not diverge. Got 10, 1,"
    ):
        best_rate({(10.0, 0): history(nan), (1.0, 0): history(nan, nan)})
