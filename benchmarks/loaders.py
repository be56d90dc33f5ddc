"""Images as tutorials load them: files decoded, resized and scaled anew in every epoch, by two workers.

A GPU has as many workers as there are cores, up to 16, which go on from epoch to epoch, and pinned memory.
"""

import os
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from benchmarks.machine import IS_GPU
from benchmarks.published import get_published
from benchmarks.task import Task

WORKERS = min(16, os.cpu_count() or 1) if IS_GPU else 2
HOW: dict[str, Any] = {"num_workers": WORKERS, "pin_memory": IS_GPU, "persistent_workers": IS_GPU}

Loader = DataLoader[Any]
"""Yields pixels (float32, N x 3 x H x W) and labels (int64, N)."""


def make_training_loader(task: Task) -> Loader:
    """Return the training images, in an order drawn anew for each epoch from the task's seed."""
    order = torch.Generator().manual_seed(task.seed)
    return DataLoader(_open_folder(task, "train"), task.batch_size, shuffle=True, generator=order, **HOW)


def make_validation_loader(task: Task) -> Loader:
    """Return the validation images in the order of their names."""
    return DataLoader(_open_folder(task, "validation"), task.batch_size, **HOW)


def _open_folder(task: Task, split: str) -> ImageFolder:
    scaling = get_published(task.backbone)
    resize = Resize((task.image_px, task.image_px))
    return ImageFolder(
        str(task.images / split), Compose([resize, ToTensor(), Normalize(scaling.mean, scaling.deviation)])
    )
