"""Script b: plain PyTorch. What is frozen gets no gradient and stays in eval mode, and computes anew each epoch.

On a GPU it computes in bfloat16 and channels_last, as who knows GPUs would have it.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.loaders import Loader, make_training_loader, make_validation_loader
from benchmarks.machine import DEVICE, IS_GPU, place
from benchmarks.published import build_model, list_frozen_modules, list_learning
from benchmarks.task import WEIGHT_DECAY, Outcome, Task


def train(task: Task) -> Outcome:
    """Train as the task says."""
    began = time.perf_counter()
    torch.manual_seed(task.seed)
    model = place(build_model(task))
    frozen = list_frozen_modules(model, task.backbone, task.plan)
    for module in frozen:
        module.requires_grad_(False)
    optimizer = torch.optim.AdamW(list_learning(model), lr=task.learning_rate, weight_decay=WEIGHT_DECAY)
    training, validation = make_training_loader(task), make_validation_loader(task)
    seconds, accuracies = [], []
    for _ in range(task.epochs):
        epoch_began = time.perf_counter()
        train_one_epoch(model, frozen, optimizer, list_batches(training, task.steps))
        accuracies.append(score(model, list_batches(validation, task.steps)))
        seconds.append(time.perf_counter() - epoch_began)
    return Outcome(time.perf_counter() - began - sum(seconds), 0.0, seconds, accuracies)


def list_batches(loader: Loader, steps: int) -> Iterator[Any]:
    """Return the loader's batches, the first `steps` of them unless that is 0."""
    return islice(loader, steps or None)


def move(shown: Iterator[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches on the device."""
    for pixels, labels in shown:
        if IS_GPU:
            pixels = pixels.to(DEVICE, non_blocking=True, memory_format=torch.channels_last)
        yield pixels, labels.to(DEVICE, non_blocking=True)


def compute() -> AbstractContextManager[object]:
    """Return the context in which the model computes."""
    return torch.autocast("cuda", torch.bfloat16) if IS_GPU else nullcontext()


def train_one_epoch(
    model: nn.Module, frozen: list[nn.Module], optimizer: torch.optim.Optimizer, shown: Iterator[Any]
) -> None:
    """Show the model every training image once."""
    model.train()
    for module in frozen:
        module.eval()
    for pixels, labels in move(shown):
        with compute():
            loss = cross_entropy(model(pixels), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()  # a script that shows its loss waits for it


@torch.no_grad()
def score(model: nn.Module, shown: Iterator[Any]) -> float:
    """Return the accuracy on the validation images."""
    model.eval()
    hits = total = 0
    for pixels, labels in move(shown):
        with compute():
            hits += int((model(pixels).argmax(1) == labels).sum())
        total += len(labels)
    return hits / total
