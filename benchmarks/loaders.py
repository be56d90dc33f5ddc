"""Images as tutorials load them: files decoded, resized and scaled anew in every epoch, by two workers."""

from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from benchmarks.published import get_published
from benchmarks.task import Task

WORKERS = 2

Loader = DataLoader[Any]
"""Yields pixels (float32, N x 3 x H x W) and labels (int64, N)."""


def make_training_loader(task: Task) -> Loader:
    """Return the training images, in an order drawn anew for each epoch from the task's seed."""
    order = torch.Generator().manual_seed(task.seed)
    return DataLoader(_open_folder(task, "train"), task.batch_size, shuffle=True, num_workers=WORKERS, generator=order)


def make_validation_loader(task: Task) -> Loader:
    """Return the validation images in the order of their names."""
    return DataLoader(_open_folder(task, "validation"), task.batch_size, num_workers=WORKERS)


def _open_folder(task: Task, split: str) -> ImageFolder:
    scaling = get_published(task.backbone)
    resize = Resize((task.image_px, task.image_px))
    return ImageFolder(
        str(task.images / split), Compose([resize, ToTensor(), Normalize(scaling.mean, scaling.deviation)])
    )
