"""A fit depends on what it is given and nothing else."""

import gc
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from frostline.backbones.audit import AuditError, digest_frozen
from frostline.backbones.cuts import ARCHITECTURES
from frostline.backbones.inference import Images, LiveInputs, predict, split_batches
from frostline.constants import PARTS
from frostline.data.images import Rows
from frostline.params import Training
from frostline.training import checkpoints
from frostline.training.checkpoints import locate_checkpoints, read_best, remove_checkpoints, restore_fit, save_fit
from frostline.training.grid import (
    Feed,
    audit_prefix,
    build_parts,
    list_wanted_rows,
    load_prefix,
    locate_checkpoint,
    make_feed,
    measure_step,
    would_pay,
)
from frostline.training.loop import Batches, Epoch, Fit, find_best_epoch, is_finished, start_fit, train_epochs
from frostline.training.prefix_cache import Cache
from tests import toys
from tests.project import ROOT
from tests.toys import CPU, TRAINING, assert_same, differing, plan, start, train, training


def points() -> Tensor:
    """Return 64 points of the plane, to be told apart by the sign of their first coordinate, with a gap between."""
    drawn = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    return drawn + drawn.sign() * torch.tensor([0.5, 0.0])


def points_in(batches: Sequence[Rows], _view: int | None) -> Iterator[Tensor]:
    for rows in batches:
        yield points()[torch.from_numpy(rows)]


def batches(labels: Tensor | None = None) -> Batches:
    """Return the toy problem: 40 points to train on, 24 to validate on."""
    known = (points()[:, 0] > 0).long() if labels is None else labels
    return Batches(points_in, known, np.arange(40), np.arange(40, 64))


def doubted_batches() -> Batches:
    """Return the toy problem with each fourth validation label wrong: at some point, to be surer is to be worse."""
    labels = (points()[:, 0] > 0).long()
    labels[40::4] = 1 - labels[40::4]
    return batches(labels)


def line() -> nn.Sequential:
    """Return the smallest suffix that can learn the toy problem. It begins undecided."""
    suffix = nn.Sequential(nn.Linear(2, 2))
    for parameter in suffix.parameters():
        nn.init.zeros_(parameter)
    return suffix


def restless() -> nn.Sequential:
    """Return a suffix with all that a checkpoint could forget: BatchNorm's statistics and dropout's dice."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2))


def fit_to_end(fit: Fit, asked: Training = TRAINING, taught: Batches | None = None) -> Fit:
    for _ in train_epochs(fit, taught or batches(), asked, "float32"):
        pass
    return fit


def learn(suffix: nn.Sequential, seed: int = 0) -> Fit:
    return fit_to_end(start_fit(suffix, 0.01, 0.01, seed))


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


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_seed_others() -> None:
    assert_same(learn(restless(), 5), learn(restless(), 5))
    assert differing(learn(restless(), 5).best, learn(restless(), 6).best)


def test_a_fit_does_not_depend_on_what_else_drew_from_torchs_generator() -> None:
    alone, disturbed = learn(restless()), start_fit(restless(), 0.01, 0.01, 0)
    for _ in train_epochs(disturbed, batches(), TRAINING, "float32"):
        torch.rand(3)
    assert_same(alone, disturbed)


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_fit_that_is_interrupted_and_restored_ends_as_one_that_was_not(tmp_path: Path, done: int) -> None:
    interrupted, path = start_fit(restless(), 0.01, 0.01, 0), tmp_path / "fit.pt"
    going = train_epochs(interrupted, batches(), TRAINING, "float32")
    for _ in range(done):
        next(going)
        save_fit(path, interrupted)
    restored = start_fit(restless(), 0.01, 0.01, 0)
    restore_fit(path, restored)
    assert restored.history == interrupted.history
    assert_same(fit_to_end(restored), learn(restless()))


def test_a_checkpoint_holds_the_tensors_of_the_best_epoch(tmp_path: Path) -> None:
    fit = fit_to_end(start_fit(line(), 0.1, 0.0, 0), training(epochs=30, patience=2), doubted_batches())
    save_fit(tmp_path / "fit.pt", fit)
    assert differing(read_best(tmp_path / "fit.pt"), fit.best) == set()
    assert differing(read_best(tmp_path / "fit.pt"), fit.suffix.state_dict()) == {"0.weight", "0.bias"}


def test_a_checkpoint_that_could_not_be_written_whole_leaves_the_one_before(tmp_path: Path) -> None:
    fit, path = learn(line()), tmp_path / "fit.pt"
    save_fit(path, fit)
    before = path.read_bytes()
    fit.best = {"unwritable": lambda: None}
    with pytest.raises(AttributeError, match="pickle"):
        save_fit(path, fit)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["fit.pt"]


FOLDERS = [path.parent for path in sorted((ROOT / "frostline").rglob("__init__.py"))] + [ROOT / "stages"]
"""The package, each of its rooms, and the verbs."""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the code, as which frostline/training/checkpoints.py takes its own."""
    for folder in checkpoints.CODE:
        shutil.copytree(folder, tmp_path / folder.name)
    monkeypatch.setattr(checkpoints, "CODE", [tmp_path / folder.name for folder in checkpoints.CODE])
    return tmp_path


def test_the_same_code_params_and_data_have_the_same_folder_wherever_the_code_lies(
    request: pytest.FixtureRequest,
) -> None:
    before = locate_checkpoints("data", "params")
    request.getfixturevalue("code")
    assert locate_checkpoints("data", "params") == before


def test_other_params_or_data_have_another_folder() -> None:
    asked = [("data", "params"), ("data", "params2"), ("data2", "params"), ("datap", "arams"), ("data", "params", "")]
    assert len({locate_checkpoints(*inputs) for inputs in asked}) == len(asked)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_file_that_changed_in_any_room_leaves_older_checkpoints_where_no_run_finds_them(
    code: Path, folder: Path
) -> None:
    before = locate_checkpoints("data", "params")
    for source in sorted(folder.glob("*.py")):
        edited = code / source.relative_to(ROOT)
        edited.write_text(edited.read_text() + "# edited\n")
        after = locate_checkpoints("data", "params")
        assert after != before
        before = after


def test_checkpoints_lie_in_dvcs_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", "/somewhere")
    assert locate_checkpoints("data").parent == Path("/somewhere/.dvc/tmp/frostline")


def test_removed_checkpoints_are_gone_and_may_be_removed_again(tmp_path: Path) -> None:
    save_fit(tmp_path / "run" / "fit.pt", learn(line()))
    remove_checkpoints(tmp_path / "run")
    remove_checkpoints(tmp_path / "run")
    assert [*tmp_path.iterdir()] == []


# --- The grid ---------------------------------------------------------------------------------------------------

several_backbones = pytest.mark.parametrize("name", ["efficientnet_lite0", "vit"])
PLACES = {"memory": 2_000_000_000, "scratch": 1, "off": 0}


@pytest.fixture(autouse=True)
def _vision_transformer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make "vit" known: a small one, as no published one sees 32 pixels."""
    monkeypatch.setitem(ARCHITECTURES, "vit", toys.small_vision_transformer())


@several_backbones
def test_a_cell_of_the_grid_ends_the_same_alone_or_after_others(name: str, tmp_path: Path) -> None:
    alone, crowded = (toys.job(name, plan("head"), tmp_path / folder) for folder in ("alone", "crowded"))
    expected, feed = train(alone, make_feed(alone), 0.01, 1), make_feed(crowded)
    fits = {(rate, seed): train(crowded, feed, rate, seed) for (rate,), seed in crowded.list_cells(1)}
    assert [*fits] == [(0.001, 0), (0.001, 1), (0.01, 0), (0.01, 1)]
    assert_same(fits[0.01, 1], expected)


@pytest.mark.parametrize("place", PLACES)
@several_backbones
def test_a_cell_that_is_killed_goes_on_from_its_last_epoch_and_ends_as_if_it_had_not_been(
    name: str, place: str, tmp_path: Path
) -> None:
    whole, killed = (
        toys.job(name, plan(from_="stage4"), tmp_path / folder, training(cache_bytes=PLACES[place]))
        for folder in ("whole", "killed")
    )
    expected = train(whole, make_feed(whole))
    first_try = start(killed, make_feed(killed))
    assert [len(next(first_try).history) for _ in range(3)] == [0, 1, 2]
    first_try.close()
    assert [len(fit.history) for fit in start(killed, make_feed(killed))] == [2, 3]
    again = train(killed, make_feed(killed))
    assert_same(again, expected)
    assert again.audited == expected.audited
    assert differing(read_best(locate_checkpoint(killed, (0.001,), 0)), expected.best) == set()


@pytest.mark.parametrize("place", [*PLACES, "no prefix"])
def test_epoch_e_is_fed_view_e_minus_1_mod_views_whatever_the_plan_and_wherever_its_prefix_is_kept(
    place: str, tmp_path: Path
) -> None:
    asked = training(epochs=5, patience=5, views=3, cache_bytes=PLACES.get(place, 0))
    job = toys.job("efficientnet_lite0", plan("stem") if place == "no prefix" else plan("head"), tmp_path, asked)
    feed, shown = make_feed(job), []
    assert feed.cache.place == place

    def telling(batches: Sequence[Rows], view: int | None) -> Iterator[Tensor]:
        shown.append(view)
        return feed.cache.inputs(batches, view)

    train(job, replace(feed, cache=Cache(telling, place, 0)))
    assert shown == [0, None, 1, None, 2, None, 0, None, 1, None]


@several_backbones
def test_the_feed_of_a_plan_that_freezes_a_prefix_is_its_outputs_and_else_the_pictures(
    name: str, tmp_path: Path
) -> None:
    frozen = make_feed(toys.job(name, plan("head"), tmp_path))
    free = make_feed(toys.job(name, plan("stem", "head"), tmp_path))
    (vectors,), (batch,) = (feed.cache.inputs([np.arange(32)], 0) for feed in (frozen, free))
    assert vectors.dim() == 2
    assert frozen.cache.bytes == (32 + 2 * 70) * vectors[0].nbytes  # both seeds' validation, and two views of all
    assert frozen.seconds > 0
    assert batch.shape == (32, 3, 32, 32)
    assert (free.cache.place, free.cache.bytes, free.seconds) == ("no prefix", 0, 0.0)


@pytest.mark.parametrize(("views", "epochs_asked", "pays"), [(1, 1, False), (4, 1, False), (1, 2, True), (2, 2, True)])
def test_a_prefix_is_kept_only_if_its_outputs_are_asked_for_more_often_than_computed(
    views: int, epochs_asked: int, pays: bool, tmp_path: Path
) -> None:
    asked = toys.job("vit", plan("head", learning_rates=[0.01]), tmp_path, training(views=views, epochs=epochs_asked))
    asked = replace(asked, seeds=[0])  # one cell: training sees each view once, validation sees one in every epoch
    assert would_pay(asked, list_wanted_rows(asked)) == pays
    assert make_feed(asked).cache.place == ("memory" if pays else "off")


# --- The audit of a cell ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "vit"])
def test_a_cell_that_passes_the_audit_has_looked_at_every_tensor_that_is_frozen(name: str, tmp_path: Path) -> None:
    weights = toys.resnet18_weights(tmp_path) if name == "resnet18" else "pretrained"
    job = toys.job(name, plan("stage4", weights=weights), tmp_path, training(epochs=1))
    fit = train(job, make_feed(job))
    whole = nn.Sequential(*build_parts(job, 0)).state_dict()
    learned = {key for key in whole if "stage4" in key}
    assert fit.audited == len(whole) - len(learned)


Meddling = Callable[[Feed, Fit], None]
"""Something done to a cell, before its first epoch or after its last, that ought not to be."""


def prefix_weight(feed: Feed) -> nn.Parameter:
    return next(feed.prefix.parameters())


def frozen_head(fit: Fit) -> nn.Linear:
    return fit.suffix.get_submodule("head.0")


def move_a_prefix_weight(feed: Feed, _fit: Fit) -> None:
    prefix_weight(feed).add_(1.0)


def move_a_statistic(feed: Feed, _fit: Fit) -> None:
    next(tensor for key, tensor in feed.prefix.named_buffers() if key.endswith("running_mean")).add_(1.0)


def wake_the_prefix(feed: Feed, _fit: Fit) -> None:
    for module in feed.prefix.modules():
        module.training = True


def thaw_the_prefix(feed: Feed, _fit: Fit) -> None:
    prefix_weight(feed).requires_grad_(True)


def leave_a_gradient(feed: Feed, _fit: Fit) -> None:
    prefix_weight(feed).grad = torch.zeros_like(prefix_weight(feed))


def reshape_a_prefix_weight(feed: Feed, _fit: Fit) -> None:
    prefix_weight(feed).data = prefix_weight(feed).data[None]


def take_a_statistic_away(feed: Feed, _fit: Fit) -> None:
    norm = next(module for module in feed.prefix.modules() if isinstance(module, nn.BatchNorm2d))
    del norm.running_var


def optimize_the_frozen_head(_feed: Feed, fit: Fit) -> None:
    fit.optimizer.add_param_group({"params": [frozen_head(fit).weight], "part": "head", "share": 1.0})


def decay_the_frozen_head(_feed: Feed, fit: Fit) -> None:
    """Leave it in the optimizer with a gradient of zeros, as who freezes in mid-run does: it decays all the same."""
    weight = frozen_head(fit).weight
    fit.optimizer.add_param_group({"params": [weight], "weight_decay": 0.1, "part": "head", "share": 1.0})
    fit.optimizer.register_step_pre_hook(lambda *_: setattr(weight, "grad", torch.zeros_like(weight)))


def thaw_the_frozen_head(_feed: Feed, fit: Fit) -> None:
    frozen_head(fit).bias.requires_grad_(True)


def freeze_what_learns(_feed: Feed, fit: Fit) -> None:
    next(p for p in fit.suffix.parameters() if p.requires_grad).requires_grad_(False)


IN_THE_PREFIX = r"stem\.0\.weight"
MEDDLING: list[tuple[Meddling, str]] = [
    (move_a_prefix_weight, rf"{IN_THE_PREFIX} moved, although it is frozen"),
    (move_a_statistic, r"stem\.1\.running_mean moved, although it is frozen"),
    (thaw_the_prefix, rf"{IN_THE_PREFIX} learns, although it is frozen"),
    (leave_a_gradient, rf"{IN_THE_PREFIX} has a gradient, although it is frozen"),
    (optimize_the_frozen_head, r"head\.0\.weight is in the optimizer, although it is frozen"),
    (decay_the_frozen_head, r"head\.0\.weight moved, although it is frozen"),
    (thaw_the_frozen_head, r"head\.0\.bias has a gradient, although it is frozen"),
    (freeze_what_learns, r"stage4\.\S+ neither learns nor was frozen when training began"),
]


@pytest.mark.parametrize(("meddle", "found"), MEDDLING)
def test_a_cell_in_which_something_frozen_is_meddled_with_is_refused_by_the_audit(
    meddle: Meddling, found: str, tmp_path: Path
) -> None:
    job = toys.job("efficientnet_lite0", plan("stage4"), tmp_path, training(epochs=2))
    feed = make_feed(job)
    cell = start(job, feed)
    fit = next(cell)
    meddle(feed, fit)
    with pytest.raises(AuditError, match=f"^the audit found that {found}$"):
        list(cell)
    assert fit.audited is None


@pytest.mark.parametrize(
    ("meddle", "found"),
    [
        (reshape_a_prefix_weight, rf"{IN_THE_PREFIX} moved"),
        (take_a_statistic_away, r"stem\.1\.running_var is gone"),
    ],
)
def test_a_frozen_tensor_that_another_has_replaced_by_the_end_or_none_is_refused_by_the_audit(
    meddle: Meddling, found: str, tmp_path: Path
) -> None:
    job = toys.job("efficientnet_lite0", plan("stage4"), tmp_path, training(epochs=1))
    feed = make_feed(job)
    cell = start(job, feed)
    for fit in cell:
        if fit.history:
            meddle(feed, fit)
            break
    with pytest.raises(AuditError, match=f"^the audit found that {found}, although it is frozen$"):
        list(cell)


def test_a_prefix_that_wakes_while_it_runs_live_moves_its_statistics_and_is_refused_by_the_audit(
    tmp_path: Path,
) -> None:
    job = toys.job("efficientnet_lite0", plan("stage4"), tmp_path, training(epochs=1, cache_bytes=0))
    feed = make_feed(job)
    cell = start(job, feed)
    wake_the_prefix(feed, next(cell))
    with pytest.raises(AuditError, match=r"stem\.1\.running_mean moved, although it is frozen"):
        list(cell)


@pytest.mark.parametrize(
    ("meddle", "found"),
    [
        (move_a_prefix_weight, rf"{IN_THE_PREFIX} moved"),
        (thaw_the_prefix, rf"{IN_THE_PREFIX} learns"),
        (leave_a_gradient, rf"{IN_THE_PREFIX} has a gradient"),
        (reshape_a_prefix_weight, rf"{IN_THE_PREFIX} moved"),
    ],
)
def test_a_folded_prefix_that_is_meddled_with_is_refused_by_the_audit(
    meddle: Meddling, found: str, tmp_path: Path
) -> None:
    job = toys.job("efficientnet_lite0", plan("stage4"), tmp_path, training(epochs=1), precision="bfloat16")
    feed = make_feed(job)
    cell = start(job, feed)
    meddle(feed, next(cell))
    with pytest.raises(AuditError, match=f"^the audit found that {found}, although it is frozen$"):
        list(cell)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("frozen", ["conv1.weight", "layer4.1.bn2.running_var", "layer1.0.conv2.weight"])
def test_a_cell_whose_frozen_weights_are_loaded_otherwise_than_the_feeds_is_refused_before_any_epoch(
    frozen: str, precision: str, tmp_path: Path
) -> None:
    """In the prefix or in the suffix: here stage2 learns, and stage4 is frozen behind it."""
    asked = plan("stage2", "head", weights=toys.resnet18_weights(tmp_path))
    job = toys.job("resnet18", asked, tmp_path, training(epochs=1), precision=precision)
    feed = make_feed(job)
    tensors = load_file(asked.weights)
    tensors[frozen].view(-1)[0] += 1.0
    save_file(tensors, asked.weights)
    with pytest.raises(AuditError, match=r"^the audit found that \S+ is not what it was when it was loaded first$"):
        next(start(job, feed))


def test_of_what_was_loaded_for_a_folded_prefix_nothing_is_kept_but_what_runs(tmp_path: Path) -> None:
    weights = toys.resnet18_weights(tmp_path)
    job = toys.job("resnet18", plan("head", weights=weights), tmp_path, precision="bfloat16")
    gc.collect()
    gc.disable()  # memory must not wait for Python to look for cycles
    try:
        others = [each for each in gc.get_objects() if type(each) is nn.Parameter]
        prefix, _ = load_prefix(job, 1)
        known = {id(each) for each in others}
        parameters = [each for each in gc.get_objects() if type(each) is nn.Parameter and id(each) not in known]
        kept = sum(each.nbytes for each in parameters)
    finally:
        gc.enable()
    assert kept == sum(parameter.nbytes for parameter in prefix.parameters())


def test_a_prefix_that_had_moved_before_the_cell_began_is_refused_by_the_audit(tmp_path: Path) -> None:
    job = toys.job("efficientnet_lite0", plan("head"), tmp_path, training(epochs=1))
    feed = make_feed(job)
    prefix_weight(feed).add_(1.0)
    with pytest.raises(AuditError, match=f"{IN_THE_PREFIX} moved, although it is frozen"):
        train(job, feed)


@pytest.mark.parametrize(("name", "awake"), [("efficientnet_lite0", nn.BatchNorm2d), ("vit_dropout", nn.Dropout)])
def test_a_prefix_that_looks_at_batch_mates_is_refused_before_any_training(
    name: str, awake: type[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "vit_dropout", toys.small_vision_transformer(dropout=0.5))
    job = toys.job(name, plan("head"), tmp_path)
    prefix, _ = build_parts(job, 0)
    live = LiveInputs(Images.hold(job.data.images, CPU), name)
    audit_prefix(job, prefix, live)
    module_name, module = next((key, each) for key, each in prefix.named_modules() if isinstance(each, awake))
    before = digest_frozen(prefix)
    module.training = True
    found = (
        f"what the prefix makes of an image depends on its batch mates: {re.escape(module_name)} is where it begins$"
    )
    with pytest.raises(AuditError, match=found):
        audit_prefix(job, prefix, live)
    assert (digest_frozen(prefix) == before) == (awake is nn.Dropout)


# --- What a step costs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [*PLACES, "no prefix"])
def test_a_step_is_measured_alike_wherever_its_prefix_is_kept_and_leaves_the_fits_as_they_would_be(
    place: str, tmp_path: Path
) -> None:
    asked = plan("stem", "head") if place == "no prefix" else plan("stage4.3", "head")
    job = toys.job("efficientnet_lite0", asked, tmp_path, training(epochs=2, cache_bytes=PLACES.get(place, 0)))
    feed = make_feed(job)
    assert feed.cache.place == place
    expected = train(job, feed)
    measured = measure_step(job, feed)
    locate_checkpoint(job, (0.001,), 0).unlink()
    assert_same(train(job, feed), expected)
    learned = [each for each in expected.suffix.parameters() if each.requires_grad]
    assert measured[1] == sum(2 * each.nbytes + 4 for each in learned)
    live = replace(job, training=training(epochs=2, cache_bytes=0))
    assert measure_step(live, make_feed(live)) == measured


def test_the_deeper_a_plan_freezes_the_less_a_step_saves_and_bfloat16_saves_about_half(tmp_path: Path) -> None:
    def saved(first: str, precision: str) -> int:
        job = toys.job("efficientnet_lite0", plan(from_=first), tmp_path, precision=precision)
        return measure_step(job, make_feed(job))[0]

    depths = [saved(first, "float32") for first in PARTS]
    assert depths == sorted(depths, reverse=True)
    assert len(set(depths)) == len(PARTS)
    assert 0.45 < saved("stage3", "bfloat16") / depths[3] < 0.55
