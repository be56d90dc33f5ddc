"""Script a: what one would write with Lightning, freezing as its `BackboneFinetuning` does, without ever unfreezing.

Progress bar, logger and checkpoints, which Lightning has by default, are off: they would count against it. On a GPU it
computes in bfloat16 and channels_last.
"""

import logging
import time
import warnings
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import BaseFinetuning, Callback
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.loaders import make_training_loader, make_validation_loader
from benchmarks.machine import IS_GPU, place
from benchmarks.published import build_model, list_frozen_modules, list_learning
from benchmarks.task import WEIGHT_DECAY, Outcome, Task


class Classifier(lightning.LightningModule):
    """The model, and how it is trained and validated."""

    def __init__(self, model: nn.Module, learning_rate: float) -> None:
        """Take the model as it is, on its way to be frozen."""
        super().__init__()
        self.model = model
        self.learning_rate = learning_rate

    def forward(self, pixels: Tensor) -> Any:
        """Return logits."""
        return self.model(pixels)

    def training_step(self, batch: Any, batch_index: int) -> Tensor:  # noqa: ARG002 - Lightning passes it
        """Return the loss."""
        pixels, labels = batch
        loss = cross_entropy(self(pixels), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_index: int) -> None:  # noqa: ARG002 - Lightning passes it
        """Log loss and accuracy, as means over the validation images."""
        pixels, labels = batch
        logits = self(pixels)
        self.log("val_loss", cross_entropy(logits, labels))
        self.log("val_accuracy", (logits.argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over what learns: Lightning calls this when the callback has frozen the rest."""
        return torch.optim.AdamW(list_learning(self), lr=self.learning_rate, weight_decay=WEIGHT_DECAY)


class Freezing(BaseFinetuning):
    """Freezes what lies before the plan's first part, for good.

    `BaseFinetuning.freeze` leaves BatchNorm learning unless it is told not to, and `BackboneFinetuning` never tells it.
    """

    def __init__(self, task: Task, *, batch_norm_learns: bool) -> None:
        """Keep what to freeze, and how, until there is a model."""
        super().__init__()
        self.task = task
        self.batch_norm_learns = batch_norm_learns

    def freeze_before_training(self, pl_module: Any) -> None:
        """Freeze; Lightning calls this before it asks for the optimizer."""
        modules = list_frozen_modules(pl_module.model, self.task.backbone, self.task.plan)
        self.freeze(modules, train_bn=self.batch_norm_learns)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        """Unfreeze nothing."""


class Clock(Callback):
    """Keeps each epoch's seconds, its validation included, and its accuracy."""

    def __init__(self) -> None:
        """Start without epochs."""
        self.began = 0.0
        self.seconds: list[float] = []
        self.accuracies: list[float] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning passes it
        """Start: the loaders' workers are not there yet."""
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning passes it
        """Stop: Lightning validates before it ends the epoch."""
        self.seconds.append(time.perf_counter() - self.began)
        self.accuracies.append(float(trainer.callback_metrics["val_accuracy"]))


def train(task: Task, *, batch_norm_learns: bool = False) -> Outcome:
    """Train as the task says."""
    quieten()
    began = time.perf_counter()
    lightning.seed_everything(task.seed, verbose=False)
    classifier, clock = Classifier(place(build_model(task)), task.learning_rate), Clock()
    trainer = lightning.Trainer(
        accelerator="gpu" if IS_GPU else "cpu",
        devices=1,
        precision="bf16-mixed" if IS_GPU else "32-true",
        max_epochs=task.epochs,
        callbacks=[Freezing(task, batch_norm_learns=batch_norm_learns), clock],
        limit_train_batches=task.steps or None,
        limit_val_batches=task.steps or None,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(classifier, make_training_loader(task), make_validation_loader(task))
    return Outcome(time.perf_counter() - began - sum(clock.seconds), 0.0, clock.seconds, clock.accuracies)


def quieten() -> None:
    """Let Lightning advise nobody on the number of workers."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
