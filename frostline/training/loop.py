"""Training: one suffix, one learning rate, one replicate, one phase, epoch by epoch, and its board in TensorBoard."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from frostline.backbones.inference import Inputs, predict, split_batches
from frostline.backbones.precision import autocast
from frostline.data.images import Rows
from frostline.distributed.team import ALONE, Team
from frostline.networks.segments import Features
from frostline.params.schema import Training
from frostline.training.optimizer import get_rates, make_optimizer, schedule_heights, set_rate


@dataclass(frozen=True)
class Epoch:
    """One epoch's losses (mean cross-entropy, in nats; smoothed in training) and accuracies (0 to 1).

    With `class_weights: balanced` each image counts in the losses as its class does.

    `learning_rates` has that of each part that learned, as a mean over the epoch's steps. Epochs are counted from 1
    through all phases, as phases are.
    """

    epoch: int
    phase: int
    learning_rates: dict[str, float]
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


@dataclass
class Fit:
    """A suffix on its way: what it has learned so far, and the best that it was.

    `learning_rate` is the head's at its full height. `audited` is how many frozen tensors, its prefix's included, the
    audit found as they were when it had ended. `batch_losses` are those of the epoch just trained, and are not kept.
    `team` are the processes that train it.
    """

    suffix: nn.Sequential
    optimizer: torch.optim.Optimizer
    learning_rate: float
    replicate: int
    phase: int
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    audited: int | None = None
    batch_losses: list[float] = field(default_factory=list)
    team: Team = ALONE

    @property
    def of_phase(self) -> list[Epoch]:
        """The epochs of the phase that it is in."""
        return [epoch for epoch in self.history if epoch.phase == self.phase]


@dataclass(frozen=True)
class Batches:
    """What a fit learns from: inputs by row and view, labels by row, and the rows of its replicate's split.

    `class_weights` is what an image of each class counts in a loss; None is one for all.
    """

    inputs: Inputs
    labels: Tensor
    train: Rows
    validation: Rows
    class_weights: Tensor | None = None


def find_best_epoch(history: list[Epoch]) -> Epoch:
    """Return the epoch of lowest validation loss, the earliest of them."""
    return min(history, key=lambda epoch: (isnan(epoch.val_loss), epoch.val_loss))


def start_fit(
    suffix: nn.Sequential,
    learning_rate: float,
    weight_decay: float,
    replicate: int,
    layer_decay: float = 1.0,
    phase: int = 1,
) -> Fit:
    """Return a fit that has learned nothing. Only what is not frozen reaches the optimizer (AdamW)."""
    _compute_out_of_place(suffix)
    return Fit(
        suffix, make_optimizer(suffix, learning_rate, weight_decay, layer_decay), learning_rate, replicate, phase
    )


def _compute_out_of_place(suffix: nn.Module) -> None:
    """Let activations leave their input as it is, but for ReLU, whose gradient follows from its output.

    The others' follows from their input, which autograd would clone before they overwrite it: 2 to 5 % of a step of
    EfficientNet-Lite0.
    """
    for module in suffix.modules():
        if getattr(module, "inplace", False) and not isinstance(module, nn.ReLU):
            module.inplace = False  # type: ignore[assignment]


def is_finished(fit: Fit, training: Training) -> bool:
    """Return whether the fit's phase has had its epochs, or `patience` of them without a lower validation loss."""
    history = fit.of_phase
    if not history:
        return False
    idle = history[-1].epoch - find_best_epoch(history).epoch
    return len(history) >= training.epochs or idle >= training.patience


def train_epochs(fit: Fit, data: Batches, training: Training, precision: str) -> Iterator[Epoch]:
    """Train epoch by epoch until finished, yielding each; the fit may be one that was interrupted between two.

    `training.epochs` are those of the fit's phase.
    Each epoch is a pure function of the fit's state, its replicate and the epoch's number.
    """
    while not is_finished(fit, training):
        number = len(fit.history) + 1
        began = time.perf_counter()
        taught = train_one_epoch(fit, data, training, precision, number)
        fit.batch_losses = taught.batch_losses
        val_loss, val_accuracy = score(fit, data, training, precision)
        seconds = time.perf_counter() - began
        fit.history.append(
            Epoch(number, fit.phase, taught.rates, taught.loss, taught.accuracy, val_loss, val_accuracy, seconds)
        )
        if find_best_epoch(fit.history).epoch == number:
            fit.best = {name: tensor.detach().clone() for name, tensor in fit.suffix.state_dict().items()}
        yield fit.history[-1]


@dataclass(frozen=True)
class Taught:
    """What became of the training images in one epoch, and the mean rate at which each part learned from them."""

    batch_losses: list[float]
    loss: float
    accuracy: float
    rates: dict[str, float]


def train_one_epoch(fit: Fit, data: Batches, training: Training, precision: str, number: int) -> Taught:
    """Show the suffix every training image once, in view `number` mod `views`."""
    view = (number - 1) % training.views
    order = np.random.default_rng([fit.replicate, number]).permutation(data.train)
    team = fit.team
    torch.manual_seed((fit.replicate * 1_000_003 + number) * team.size + team.rank)  # for dropout, where there is any
    fit.suffix.train()
    losses, hits = [], []
    batches = split_batches(order, training.batch_size)
    shares = schedule_heights(training, [epoch.val_loss for epoch in fit.of_phase], len(batches))
    mine = [team.take_share(rows) for rows in batches]
    with team.train_together(fit.suffix) as suffix:
        for rows, its, batch, share in zip(batches, mine, data.inputs(mine, view), shares, strict=True):
            labels = data.labels[torch.from_numpy(its)]
            counts = count_share(data, rows, its, team)
            set_rate(fit.optimizer, fit.learning_rate * share)
            loss, logits = take_step(
                fit, batch, labels, precision, training.label_smoothing, data.class_weights, suffix, counts
            )
            # Read once an epoch: to read them here would let a GPU wait for the processor after every batch.
            losses.append(loss * len(rows))
            hits.append((logits.argmax(1) == labels).sum())
    set_rate(fit.optimizer, fit.learning_rate * fmean(shares))
    sizes = torch.tensor([len(rows) for rows in batches])
    of_batches = team.add_up(torch.stack(losses)) / team.size
    return Taught(
        batch_losses=(of_batches.cpu() / sizes).tolist(),
        loss=float(of_batches.double().sum()) / len(order),
        accuracy=int(team.add_up(torch.stack(hits)).sum()) / len(order),
        rates=get_rates(fit.optimizer),
    )


def count_share(data: Batches, rows: Rows, mine: Rows, team: Team) -> float | Tensor:
    """Return by what a loss over the rows that are `mine` counts, so that its mean over the team is that of all."""
    if team.size == 1:
        return 1.0
    if data.class_weights is None:
        return team.size * len(mine) / len(rows)
    of_mine, of_all = (data.class_weights[data.labels[torch.from_numpy(each)]].sum() for each in (mine, rows))
    return team.size * of_mine / of_all


def take_step(
    fit: Fit,
    batch: Features,
    labels: Tensor,
    precision: str,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    suffix: nn.Module | None = None,
    counts: float | Tensor = 1.0,
) -> tuple[Tensor, Tensor]:
    """Let the fit learn from one batch; return the loss, and the float32 logits by which it was made.

    `suffix` is the fit's as its team trains it, and the loss `counts` so much.
    """
    with autocast(precision, labels.device):
        logits = (fit.suffix if suffix is None else suffix)(batch).float()
        loss = functional.cross_entropy(logits, labels, class_weights, label_smoothing=label_smoothing) * counts
    fit.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    fit.optimizer.step()
    return loss.detach(), logits.detach()


def score(fit: Fit, data: Batches, training: Training, precision: str) -> tuple[float, float]:
    """Return the mean loss on the validation images as they are, and the share of them that is named rightly.

    Validation keeps no activations, so that its batches may be larger than training's.
    """
    batches = split_batches(fit.team.take_even_share(data.validation), 2 * training.batch_size)
    mine = predict(fit.suffix, data.inputs, batches, precision, data.labels.device)
    logits = fit.team.gather(mine, len(data.validation))
    labels = data.labels[torch.from_numpy(data.validation)]
    right = int((logits.argmax(1) == labels).sum())
    return float(functional.cross_entropy(logits, labels, data.class_weights)), right / len(labels)


def weigh_classes(labels: Tensor, classes: int) -> Tensor:
    """Return float32 weights by which each class counts as much as any other: labels / (classes x labels of it)."""
    counts = torch.bincount(labels, minlength=classes)
    return (len(labels) / (classes * counts.clamp(min=1))).float()


@contextmanager
def open_board(
    folder: Path | None, history: Sequence[Epoch], every: int = 0
) -> Iterator[Callable[[Epoch, Sequence[float]], None]]:
    """Yield what writes an epoch's scalars into the folder, where those of `history` stand already; without, nothing.

    Of the losses of its batches every so many are written too, if `every` is not 0. The folder is made anew: a fit that
    was killed may have written an epoch that it then trains again.
    """
    if folder is None:
        yield lambda _epoch, _losses: None
        return
    from torch.utils.tensorboard import SummaryWriter  # takes a second, which only those pay who asked for it

    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(folder) as writer:

        def log(epoch: Epoch, losses: Sequence[float]) -> None:
            for name, value in list_scalars(epoch).items():
                writer.add_scalar(name, value, epoch.epoch)
            for step, loss in enumerate(losses, (epoch.epoch - 1) * len(losses) + 1):
                if every and step % every == 0:
                    writer.add_scalar("loss/step", loss, step)
            writer.flush()

        for epoch in history:
            log(epoch, [])
        yield log


def list_scalars(epoch: Epoch) -> dict[str, float]:
    """Return the epoch's losses (nats), accuracies (0 to 1) and learning rates by name."""
    rates = {f"learning_rate/{part}": rate for part, rate in epoch.learning_rates.items()}
    return {
        "loss/train": epoch.train_loss,
        "loss/validation": epoch.val_loss,
        "accuracy/train": epoch.train_accuracy,
        "accuracy/validation": epoch.val_accuracy,
        **rates,
    }
