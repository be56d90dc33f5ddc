"""Claims about stages/training.py, checkpoints.py and grid.py: a fit depends on what it is given and nothing else."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages import checkpoints
from stages.backbones import ARCHITECTURES, build_backbone
from stages.checkpoints import checkpoint_folder, remove_checkpoints, restore_fit, save_fit, saved_best
from stages.freezing import apply_plan
from stages.grid import Feed, Job, checkpoint_path, make_feed, train_cell
from stages.inputs import live_inputs
from stages.params import Plan, Training
from stages.prepared import Prepared, Rows
from stages.training import Epoch, Fit, Lessons, best_epoch, epochs, is_finished, predict, start_fit

CPU = torch.device("cpu")
TRAINING = Training(
    epochs=3, patience=3, batch_size=16, weight_decay=0.01, precision="float32", flips="both", views=2,
    augmentation_seed=0,
)  # fmt: skip

every_backbone = pytest.mark.parametrize("name", ARCHITECTURES)


@pytest.fixture(params=[1, 2], ids=["one-thread", "two-threads"])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compute with so many threads: each number has kernels of its own."""
    usual = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(usual)


def training(**changes: object) -> Training:
    return TRAINING.model_copy(update=changes)


def points() -> Tensor:
    """Return 64 points of the plane, to be told apart by the sign of their first coordinate, with a gap between."""
    drawn = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    return drawn + drawn.sign() * torch.tensor([0.5, 0.0])


def lessons(labels: Tensor | None = None) -> Lessons:
    """Return the toy problem: 40 points to train on, 24 to validate on."""
    known = (points()[:, 0] > 0).long() if labels is None else labels
    return Lessons(lambda rows, _view: points()[torch.from_numpy(rows)], known, np.arange(40), np.arange(40, 64))


def doubted_lessons() -> Lessons:
    """Return the toy problem with each fourth validation label wrong: at some point, to be surer is to be worse."""
    labels = (points()[:, 0] > 0).long()
    labels[40::4] = 1 - labels[40::4]
    return lessons(labels)


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


def fit_to_end(fit: Fit, asked: Training = TRAINING, taught: Lessons | None = None) -> Fit:
    for _ in epochs(fit, taught or lessons(), asked, "float32"):
        pass
    return fit


def learn(suffix: nn.Sequential, seed: int = 0) -> Fit:
    return fit_to_end(start_fit(suffix, 0.01, 0.01, seed))


def timeless(fit: Fit) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in fit.history]


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def differing(left: dict[str, Tensor], right: dict[str, Tensor]) -> set[str]:
    """Return the names of the tensors that are not bit for bit the same in both."""
    assert left.keys() == right.keys()
    return {name for name, tensor in left.items() if not torch.equal(tensor, right[name])}


def assert_same(left: Fit, right: Fit) -> None:
    """Compare all that a fit is, but for the seconds that it took."""
    assert timeless(left) == timeless(right)
    assert differing(left.suffix.state_dict(), right.suffix.state_dict()) == set()
    assert differing(left.best, right.best) == set()
    states = (fit.optimizer.state_dict()["state"] for fit in (left, right))
    for ours, theirs in zip(*(state.values() for state in states), strict=True):
        assert differing(ours, theirs) == set()


def test_a_suffix_learns_the_toy_problem() -> None:
    fit = fit_to_end(start_fit(line(), 0.1, 0.0, 0), training(epochs=10, patience=10))
    assert fit.history[0].train_loss > fit.history[-1].train_loss
    assert fit.history[-1].train_accuracy == 1.0
    assert fit.history[-1].val_accuracy == 1.0


def test_a_fit_that_never_gets_better_stops_after_patience_epochs_and_keeps_the_first() -> None:
    fit = fit_to_end(start_fit(line(), 0.0, 0.0, 0), training(epochs=10, patience=4))
    assert [epoch.val_loss for epoch in fit.history] == [pytest.approx(np.log(2))] * 5
    assert best_epoch(fit.history).epoch == 1


def test_a_fit_that_always_gets_better_has_all_its_epochs() -> None:
    fit = fit_to_end(start_fit(line(), 0.01, 0.0, 0), training(epochs=6, patience=1))
    assert [epoch.epoch for epoch in fit.history] == [1, 2, 3, 4, 5, 6]


def test_a_fit_stops_patience_epochs_after_its_best_and_keeps_the_tensors_that_it_had_then() -> None:
    fit, states = start_fit(line(), 0.1, 0.0, 0), []
    for _ in epochs(fit, doubted_lessons(), training(epochs=30, patience=2), "float32"):
        states.append(copied(fit.suffix.state_dict()))
    best = best_epoch(fit.history).epoch
    assert 1 < best < len(states) == best + 2 < 30
    assert differing(fit.best, states[best - 1]) == set()
    assert differing(fit.best, states[-1]) == {"0.weight", "0.bias"}


def history_of(*losses: float) -> list[Epoch]:
    return [Epoch(number, 0.0, 0.0, loss, 0.0, 0.0) for number, loss in enumerate(losses, start=1)]


def test_the_best_epoch_is_the_earliest_of_lowest_validation_loss() -> None:
    assert best_epoch(history_of(3.0, 1.0, 2.0, 1.0)).epoch == 2


@pytest.mark.parametrize("losses", [(np.nan, 2.0, 1.0), (2.0, np.nan, 1.0), (2.0, 1.0, np.nan)])
def test_an_epoch_whose_loss_is_not_a_number_is_not_the_best(losses: tuple[float, ...]) -> None:
    assert best_epoch(history_of(*losses)).val_loss == 1.0


def test_a_fit_is_finished_when_its_epochs_or_its_patience_are_spent() -> None:
    fit, asked = start_fit(line(), 0.1, 0.0, 0), training(epochs=4, patience=2)
    finished = []
    for losses in [(), (3,), (3, 2), (3, 2, 2), (3, 2, 2, 2), (3, 2, 1, 0.5)]:
        fit.history = history_of(*losses)
        finished.append(is_finished(fit, asked))
    assert finished == [False, False, False, False, True, True]


def test_epoch_e_shows_every_training_row_once_in_view_e_minus_1_mod_views() -> None:
    shown: list[tuple[int | None, Rows]] = []

    def telling(rows: Rows, view: int | None) -> Tensor:
        shown.append((view, rows))
        return points()[torch.from_numpy(rows)]

    taught, views = replace(lessons(), inputs=telling), []
    for _ in epochs(start_fit(line(), 0.1, 0.0, 0), taught, training(epochs=5, patience=5, views=2), "float32"):
        views.append({view for view, _ in shown})
        assert sorted(np.concatenate([rows for view, rows in shown if view is not None])) == [*range(40)]
        assert sorted(np.concatenate([rows for view, rows in shown if view is None])) == [*range(40, 64)]
        shown.clear()
    assert views == [{0, None}, {1, None}, {0, None}, {1, None}, {0, None}]


def test_the_losses_and_accuracies_of_an_epoch_are_means_over_images() -> None:
    fit = start_fit(line(), 0.0, 0.0, 0)
    nn.init.constant_(fit.suffix.get_parameter("0.bias")[:1], 1.0)  # always names class 0, whose odds are e to 1
    fit_to_end(fit, training(epochs=1))
    labels, epoch = lessons().labels.double(), fit.history[0]
    assert epoch.train_accuracy == pytest.approx(1 - labels[:40].mean())
    assert epoch.val_accuracy == pytest.approx(1 - labels[40:].mean())
    assert epoch.train_loss == pytest.approx(np.log(1 + np.e) - (1 - labels[:40].mean()))
    assert epoch.val_loss == pytest.approx(np.log(1 + np.e) - (1 - labels[40:].mean()))


def test_predicted_logits_are_float32_and_in_the_order_of_the_rows() -> None:
    suffix = nn.Sequential(nn.Identity())
    rows = np.random.default_rng(0).permutation(600)
    logits = predict(suffix, lambda rows, _view: torch.from_numpy(rows)[:, None], rows, "float32", CPU)
    assert logits.dtype == torch.float32
    assert logits.flatten().tolist() == rows.tolist()


def test_predicting_uses_what_was_learned_and_changes_nothing() -> None:
    suffix = learn(restless()).suffix.train()
    before, rows = copied(suffix.state_dict()), np.arange(64)
    logits = predict(suffix, lessons().inputs, rows, "float32", CPU)
    assert differing(suffix.state_dict(), before) == set()
    assert torch.equal(logits, suffix.eval()(points()))  # without dropout, and with the statistics of training


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_seed_others() -> None:
    assert_same(learn(restless(), 5), learn(restless(), 5))
    assert differing(learn(restless(), 5).best, learn(restless(), 6).best)


def test_a_fit_does_not_depend_on_what_else_drew_from_torchs_generator() -> None:
    alone, disturbed = learn(restless()), start_fit(restless(), 0.01, 0.01, 0)
    for _ in epochs(disturbed, lessons(), TRAINING, "float32"):
        torch.rand(3)
    assert_same(alone, disturbed)


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_fit_that_is_interrupted_and_restored_ends_as_one_that_was_not(tmp_path: Path, done: int) -> None:
    interrupted, path = start_fit(restless(), 0.01, 0.01, 0), tmp_path / "fit.pt"
    going = epochs(interrupted, lessons(), TRAINING, "float32")
    for _ in range(done):
        next(going)
        save_fit(path, interrupted)
    restored = start_fit(restless(), 0.01, 0.01, 0)
    restore_fit(path, restored)
    assert restored.history == interrupted.history
    assert_same(fit_to_end(restored), learn(restless()))


def test_a_checkpoint_holds_the_tensors_of_the_best_epoch(tmp_path: Path) -> None:
    fit = fit_to_end(start_fit(line(), 0.1, 0.0, 0), training(epochs=30, patience=2), doubted_lessons())
    save_fit(tmp_path / "fit.pt", fit)
    assert differing(saved_best(tmp_path / "fit.pt"), fit.best) == set()
    assert differing(saved_best(tmp_path / "fit.pt"), fit.suffix.state_dict()) == {"0.weight", "0.bias"}


def test_a_checkpoint_that_could_not_be_written_whole_leaves_the_one_before(tmp_path: Path) -> None:
    fit, path = learn(line()), tmp_path / "fit.pt"
    save_fit(path, fit)
    before = path.read_bytes()
    fit.best = {"unwritable": lambda: None}
    with pytest.raises(AttributeError, match="pickle"):
        save_fit(path, fit)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["fit.pt"]


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the code, as which stages/checkpoints.py takes its own."""
    folder = tmp_path / "stages"
    shutil.copytree(Path(checkpoints.__file__).parent, folder)
    monkeypatch.setattr(checkpoints, "__file__", str(folder / "checkpoints.py"))
    return folder


def test_the_same_code_params_and_data_have_the_same_folder_wherever_the_code_lies(
    request: pytest.FixtureRequest,
) -> None:
    before = checkpoint_folder("data", "params")
    request.getfixturevalue("code")
    assert checkpoint_folder("data", "params") == before


def test_other_params_or_data_have_another_folder() -> None:
    asked = [("data", "params"), ("data", "params2"), ("data2", "params"), ("datap", "arams"), ("data", "params", "")]
    assert len({checkpoint_folder(*inputs) for inputs in asked}) == len(asked)


@pytest.mark.parametrize("module", ["training", "grid", "backbones", "augmentation"])
def test_other_code_has_another_folder(code: Path, module: str) -> None:
    before = checkpoint_folder("data", "params")
    source = (code / f"{module}.py").read_text()
    (code / f"{module}.py").write_text(source.replace("return", "return  # changed", 1))
    assert checkpoint_folder("data", "params") != before


def test_checkpoints_lie_in_dvcs_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", "/somewhere")
    assert checkpoint_folder("data").parent == Path("/somewhere/.dvc/tmp/frostline")


def test_removed_checkpoints_are_gone_and_may_be_removed_again(tmp_path: Path) -> None:
    save_fit(tmp_path / "run" / "fit.pt", learn(line()))
    remove_checkpoints(tmp_path / "run")
    remove_checkpoints(tmp_path / "run")
    assert [*tmp_path.iterdir()] == []


def pictures() -> NDArray[np.uint8]:
    """Return 48 pictures of noise, of which every second one is a little brighter."""
    noise = np.random.default_rng(0).integers(0, 200, (48, 32, 32, 3), dtype=np.uint8)
    return noise + (np.arange(48, dtype=np.uint8) % 2 * 40)[:, None, None, None]


def prepared() -> Prepared:
    """Return the pictures with two seeds' splits: 32 pictures to train on, 16 to validate on."""
    drawn = {0: ["train", "train", "validation"], 1: ["validation", "train", "train"]}
    rows = [
        {"image": image, "seed": seed, "split": splits[image // 16]}
        for seed, splits in drawn.items()
        for image in range(48)
    ]
    names = [str(image) for image in range(48)]
    return Prepared(pictures(), np.arange(48) % 2, names, ["dark", "bright"], pd.DataFrame(rows))


def job(name: str, scratch: Path, *learned: str) -> Job:
    plan = Plan(train=list(learned), weights="pretrained", learning_rates=[0.001, 0.01])
    return Job(prepared(), name, plan, TRAINING, [0, 1], "float32", CPU, scratch)


def train(job: Job, feed: Feed, learning_rate: float, seed: int) -> Fit:
    *_, fit = train_cell(job, feed, torch.from_numpy(job.data.labels), learning_rate, seed)
    return fit


@every_backbone
def test_a_cell_of_the_grid_ends_the_same_alone_or_after_others(name: str, tmp_path: Path) -> None:
    alone, crowded = job(name, tmp_path / "alone", "head"), job(name, tmp_path / "crowded", "head")
    expected, feed = train(alone, make_feed(alone), 0.01, 1), make_feed(crowded)
    fits = {cell: train(crowded, feed, *cell) for cell in crowded.cells}
    assert [*fits] == [(0.001, 0), (0.001, 1), (0.01, 0), (0.01, 1)]
    assert_same(fits[0.01, 1], expected)


@every_backbone
def test_a_cell_that_is_killed_goes_on_from_its_last_epoch_and_ends_as_if_it_had_not_been(
    name: str, tmp_path: Path
) -> None:
    whole, killed = job(name, tmp_path / "whole", "stage4"), job(name, tmp_path / "killed", "stage4")
    expected, labels = train(whole, make_feed(whole), 0.001, 0), torch.from_numpy(killed.data.labels)
    first_try = train_cell(killed, make_feed(killed), labels, 0.001, 0)
    assert [len(next(first_try).history) for _ in range(3)] == [0, 1, 2]
    first_try.close()
    lengths = [len(fit.history) for fit in train_cell(killed, make_feed(killed), labels, 0.001, 0)]
    assert lengths == [2, 3]
    assert_same(train(killed, make_feed(killed), 0.001, 0), expected)
    assert differing(saved_best(checkpoint_path(killed, 0.001, 0)), expected.best) == set()


@every_backbone
def test_a_cell_in_which_something_frozen_moves_is_refused_by_the_audit(name: str, tmp_path: Path) -> None:
    meddled = job(name, tmp_path, "head")
    feed = make_feed(meddled)
    cell = train_cell(meddled, feed, torch.from_numpy(meddled.data.labels), 0.001, 0)
    next(cell)
    key, weight = next(feed.prefix.named_parameters())
    weight.add_(1.0)
    with pytest.raises(RuntimeError, match=f"{key} moved, although the plan freezes it"):
        list(cell)


@every_backbone
def test_a_prefix_that_had_moved_before_the_cell_began_is_refused_by_the_audit(name: str, tmp_path: Path) -> None:
    meddled = job(name, tmp_path, "head")
    feed = make_feed(meddled)
    statistics = next(key for key, _ in feed.prefix.named_buffers() if key.endswith("running_mean"))
    feed.prefix.get_buffer(statistics).add_(1.0)
    with pytest.raises(RuntimeError, match=f"{statistics} moved, although the plan freezes it"):
        train(meddled, feed, 0.001, 0)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("learned", [("head",), ("stage4", "head"), ("stage3",)], ids=["head", "stage4", "stage3-only"])
@every_backbone
def test_training_on_cached_inputs_ends_as_training_the_whole_backbone_on_pictures(
    name: str, learned: tuple[str, ...], tmp_path: Path
) -> None:
    asked = job(name, tmp_path, *learned)
    cached = train(asked, make_feed(asked), 0.001, 0)

    torch.manual_seed(0)
    backbone = build_backbone(name, "pretrained", 2).to(memory_format=torch.channels_last)
    apply_plan(backbone, learned)
    data = asked.data
    live = live_inputs(data.images, name, TRAINING.flips, TRAINING.augmentation_seed, CPU)
    taught = Lessons(live, torch.from_numpy(data.labels), data.rows("train", [0]), data.rows("validation", [0]))
    whole = fit_to_end(start_fit(backbone, 0.001, TRAINING.weight_decay, 0), TRAINING, taught)

    assert [replace(epoch, seconds=0.0) for epoch in whole.history] == timeless(cached)
    ends = {name: tensor for name, tensor in backbone.state_dict().items() if name in cached.suffix.state_dict()}
    assert differing(ends, cached.suffix.state_dict()) == set()


@every_backbone
def test_the_feed_of_a_plan_that_freezes_a_prefix_is_its_outputs_and_else_the_pictures(
    name: str, tmp_path: Path
) -> None:
    frozen = make_feed(job(name, tmp_path, "head"))
    free = make_feed(job(name, tmp_path, "stem", "head"))
    vectors, batch = frozen.inputs(np.arange(32), 0), free.inputs(np.arange(32), 0)
    assert vectors.dim() == 2
    assert frozen.cache_bytes == (32 + 2 * 48) * vectors[0].nbytes  # both seeds' validation, and two views of all
    assert batch.shape == (32, 3, 32, 32)
    assert (free.cache_bytes, free.seconds) == (0, 0.0)
