"""A fit depends on what it is given and nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils import compute_class_weight
from torch import Tensor, nn

from frostline.backbones.inference import predict, split_batches
from frostline.data.images import Rows
from frostline.training.grid import make_feed
from frostline.training.loop import Epoch, find_best_epoch, is_finished, start_fit, train_epochs, weigh_classes
from tests import toys
from tests.toys import CPU, TRAINING, assert_same, differing, plan, train, training
from tests.training.fits import batches, doubted_batches, fit_to_end, learn, line, points, points_in, restless


def test_a_suffix_learns_the_toy_problem() -> None:
    fit = fit_to_end(start_fit(line(), 0.1, 0.0, 0), training(epochs=10, patience=10))
    assert fit.history[0].train_loss > fit.history[-1].train_loss
    assert fit.history[-1].train_accuracy == 1.0
    assert fit.history[-1].val_accuracy == 1.0


def test_a_fit_that_never_gets_better_stops_after_patience_epochs_and_keeps_the_first() -> None:
    fit = fit_to_end(start_fit(line(), 0.0, 0.0, 0), training(epochs=10, patience=4))
    assert [epoch.val_loss for epoch in fit.history] == [pytest.approx(np.log(2))] * 5
    assert find_best_epoch(fit.history).epoch == 1


def test_a_fit_that_always_gets_better_has_all_its_epochs() -> None:
    fit = fit_to_end(start_fit(line(), 0.01, 0.0, 0), training(epochs=6, patience=1))
    assert [epoch.epoch for epoch in fit.history] == [1, 2, 3, 4, 5, 6]


def test_a_fit_stops_patience_epochs_after_its_best_and_keeps_the_tensors_that_it_had_then() -> None:
    fit, states = start_fit(line(), 0.1, 0.0, 0), []
    for _ in train_epochs(fit, doubted_batches(), training(epochs=30, patience=2), "float32"):
        states.append(toys.copied(fit.suffix.state_dict()))
    best = find_best_epoch(fit.history).epoch
    assert 1 < best < len(states) == best + 2 < 30
    assert differing(fit.best, states[best - 1]) == set()
    assert differing(fit.best, states[-1]) == {"0.weight", "0.bias"}


def history_of(*losses: float) -> list[Epoch]:
    return [Epoch(number, 1, {}, 0.0, 0.0, loss, 0.0, 0.0) for number, loss in enumerate(losses, start=1)]


def test_the_best_epoch_is_the_earliest_of_lowest_validation_loss() -> None:
    assert find_best_epoch(history_of(3.0, 1.0, 2.0, 1.0)).epoch == 2


@pytest.mark.parametrize("losses", [(np.nan, 2.0, 1.0), (2.0, np.nan, 1.0), (2.0, 1.0, np.nan)])
def test_an_epoch_whose_loss_is_not_a_number_is_not_the_best(losses: tuple[float, ...]) -> None:
    assert find_best_epoch(history_of(*losses)).val_loss == 1.0


def test_a_fit_is_finished_when_its_epochs_or_its_patience_are_spent() -> None:
    fit, asked = start_fit(line(), 0.1, 0.0, 0), training(epochs=4, patience=2)
    finished = []
    for losses in [(), (3,), (3, 2), (3, 2, 2), (3, 2, 2, 2), (3, 2, 1, 0.5)]:
        fit.history = history_of(*losses)
        finished.append(is_finished(fit, asked))
    assert finished == [False, False, False, False, True, True]


def test_epoch_e_shows_every_training_row_once_in_view_e_minus_1_mod_views() -> None:
    shown: list[tuple[int | None, Rows]] = []

    def telling(batches: Sequence[Rows], view: int | None) -> Iterator[Tensor]:
        shown.extend((view, rows) for rows in batches)
        return points_in(batches, view)

    taught, views = replace(batches(), inputs=telling), []
    for _ in train_epochs(start_fit(line(), 0.1, 0.0, 0), taught, training(epochs=5, patience=5, views=2), "float32"):
        views.append({view for view, _ in shown})
        assert sorted(np.concatenate([rows for view, rows in shown if view is not None])) == [*range(40)]
        assert sorted(np.concatenate([rows for view, rows in shown if view is None])) == [*range(40, 64)]
        shown.clear()
    assert views == [{0, None}, {1, None}, {0, None}, {1, None}, {0, None}]


def test_the_losses_and_accuracies_of_an_epoch_are_means_over_images() -> None:
    fit = start_fit(line(), 0.0, 0.0, 0)
    nn.init.constant_(fit.suffix.get_parameter("0.bias")[:1], 1.0)  # always names class 0, whose odds are e to 1
    fit_to_end(fit, training(epochs=1))
    labels, epoch = batches().labels.double(), fit.history[0]
    assert epoch.train_accuracy == pytest.approx(1 - labels[:40].mean())
    assert epoch.val_accuracy == pytest.approx(1 - labels[40:].mean())
    assert epoch.train_loss == pytest.approx(np.log(1 + np.e) - (1 - labels[:40].mean()))
    assert epoch.val_loss == pytest.approx(np.log(1 + np.e) - (1 - labels[40:].mean()))


def test_predicted_logits_are_float32_and_in_the_order_of_the_rows() -> None:
    suffix = nn.Sequential(nn.Identity())
    rows = np.random.default_rng(0).permutation(600)

    def numbers(batches: Sequence[Rows], _view: int | None) -> Iterator[Tensor]:
        return (torch.from_numpy(batch)[:, None] for batch in batches)

    logits = predict(suffix, numbers, split_batches(rows, 64), "float32", CPU)
    assert logits.dtype == torch.float32
    assert logits.flatten().tolist() == rows.tolist()


def test_predicting_uses_what_was_learned_and_changes_nothing() -> None:
    suffix = learn(restless()).suffix.train()
    before = toys.copied(suffix.state_dict())
    logits = predict(suffix, points_in, [np.arange(64)], "float32", CPU)
    assert differing(suffix.state_dict(), before) == set()
    assert torch.equal(logits, suffix.eval()(points()))  # without dropout, and with the statistics of training


def test_the_same_replicate_gives_the_same_weights_bit_for_bit_and_another_replicate_others() -> None:
    assert_same(learn(restless(), 5), learn(restless(), 5))
    assert differing(learn(restless(), 5).best, learn(restless(), 6).best)


def test_a_fit_does_not_depend_on_what_else_drew_from_torchs_generator() -> None:
    alone, disturbed = learn(restless()), start_fit(restless(), 0.01, 0.01, 0)
    for _ in train_epochs(disturbed, batches(), TRAINING, "float32"):
        torch.rand(3)
    assert_same(alone, disturbed)


@pytest.mark.parametrize(
    ("activation", "kept"),
    [(nn.ReLU(inplace=True), True), (nn.ReLU6(inplace=True), False), (nn.SiLU(inplace=True), False)],
)
def test_activations_compute_in_place_where_their_gradient_needs_no_input(activation: nn.Module, *, kept: bool) -> None:
    expected = learn(nn.Sequential(nn.Linear(2, 2), type(activation)(), nn.Linear(2, 2)))
    suffix = nn.Sequential(nn.Linear(2, 2), activation, nn.Linear(2, 2))
    suffix.load_state_dict(expected.suffix.state_dict())
    fit = start_fit(suffix, 0.01, 0.01, 0)
    assert fit.suffix[1].inplace is kept
    assert torch.equal(fit.suffix(points()), expected.suffix(points()))


def test_balanced_weights_are_scikit_learn_s_and_let_each_class_count_alike() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    weights = weigh_classes(labels, 3)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx(expected.tolist())
    assert (weights * torch.bincount(labels)).tolist() == pytest.approx([100 / 3] * 3)


def test_a_class_without_a_training_image_has_a_finite_weight() -> None:
    assert torch.isfinite(weigh_classes(torch.tensor([0, 0, 1]), 3)).all()


def test_balanced_classes_weigh_the_losses_of_training_and_validation(tmp_path: Path) -> None:
    """Where one class is nine in ten, a network that has learned nothing yet is told so by the other's images alike."""
    fits = {}
    for how in ("none", "balanced"):
        job = toys.job(
            "cnn3", plan(from_="stem", weights="none"), tmp_path / how, training(epochs=1, class_weights=how)
        )
        rare = np.where(np.arange(70) % 10 == 0, 1, 0)
        job = replace(job, data=replace(job.data, labels=rare))
        fits[how] = train(job, make_feed(job))
    for loss in ("train_loss", "val_loss"):
        assert getattr(fits["none"].history[0], loss) != getattr(fits["balanced"].history[0], loss)
    logits = fits["balanced"].suffix.state_dict()
    assert any(not torch.equal(tensor, logits[name]) for name, tensor in fits["none"].suffix.state_dict().items())
