"""A head taught on a frozen backbone in two ways: its BatchNorm statistics are held, or they drift.

Frozen here means `requires_grad` False. `held` is how stages/freezing leaves what is frozen: in eval mode. `drifting`
is what a loop comes to that calls `model.train()` and thinks no more of it: each batch is normalised by its own mean
and variance, and moves the running ones, which need no gradient for that. (Dropout would be live
as well, of which EfficientNet-Lite0 has none here.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.task import WEIGHT_DECAY
from frostline.backbones.audit import digest_frozen
from frostline.backbones.freezing import apply_plan
from frostline.backbones.inference import split_batches
from frostline.backbones.registry import build_backbone, scale_pixels
from frostline.data.images import Rows
from frostline.params.schema import Depth

BACKBONE = "efficientnet_lite0"
WAYS = ("held", "drifting")
HEAD = Depth(train=["head"])
SCORED_AT_ONCE = 128
"""Images: in eval mode an image's logits do not depend on those beside it."""

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Lesson:
    """What both ways are taught: uint8 images (N x H x W x 3), their labels, one fold's splits, and how."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: Mapping[str, Rows]
    classes: int
    fold: int
    epochs: int
    batch: int
    learning_rate: float
    weights: str = "pretrained"


@dataclass(frozen=True)
class Taught:
    """A head, the backbone beneath it, and the accuracy on validation after each epoch.

    `moved` names the frozen tensors that are no more what was loaded, of `frozen` in all.
    """

    model: nn.Sequential
    curve: list[float]
    frozen: int
    moved: list[str]


def compare_ways(lesson: Lesson) -> dict[str, Any]:
    """Return what both ways come to in this fold: what moved, and test accuracies of each head on either statistics.

    Heads are crossed with statistics, as the frozen weights beneath them are the same. `hits` says which of the test
    images, `tested`, each names rightly.
    """
    loaded = read_statistics(build_fresh(lesson))
    taught = {way: teach(lesson, way) for way in WAYS}
    drifted = read_statistics(taught["drifting"].model)
    hits = {
        f"{way}_head_{name}_statistics": find_hits(set_statistics(taught[way].model, statistics), lesson, "test")
        for way in WAYS
        for name, statistics in (("loaded", loaded), ("drifted", drifted))
    }
    return {
        "fold": lesson.fold,
        "train_images": len(lesson.rows["train"]),
        "test_images": len(lesson.rows["test"]),
        "frozen_tensors": taught["drifting"].frozen,
        **{f"{way}_moved_tensors": len(taught[way].moved) for way in WAYS},
        "relative_norm_of_means": compute_relative_change(loaded, drifted, "running_mean"),
        "relative_norm_of_variances": compute_relative_change(loaded, drifted, "running_var"),
        **{name: float(found.mean()) for name, found in hits.items()},
        "tested": lesson.rows["test"],
        "hits": hits,
        "curves": {way: taught[way].curve for way in WAYS},
    }


def build_fresh(lesson: Lesson) -> nn.Sequential:
    """Return the backbone with the fold's new head, which alone has `requires_grad`."""
    torch.manual_seed(lesson.fold)
    model = build_backbone(BACKBONE, lesson.weights, lesson.classes)
    model.requires_grad_(requires_grad=False)
    model.get_submodule("head").requires_grad_(requires_grad=True)
    return model


def teach(lesson: Lesson, way: str) -> Taught:
    """Return what the head has learned in one of WAYS, all epochs of it: none is chosen."""
    model = build_fresh(lesson)
    before = digest_frozen(model)
    if way == "held":
        apply_plan(model, HEAD)
    optimizer = torch.optim.AdamW(
        model.get_submodule("head").parameters(), lr=lesson.learning_rate, weight_decay=WEIGHT_DECAY
    )
    curve = []
    for epoch in range(lesson.epochs):
        model.train()
        train_one_epoch(model, optimizer, lesson, epoch)
        curve.append(score(model, lesson, "validation"))
    after = digest_frozen(model.train())
    return Taught(model, curve, len(before), [name for name in before if after[name] != before[name]])


def train_one_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, lesson: Lesson, epoch: int) -> None:
    """Show the model every training image once, in the order that fold and epoch say."""
    order = np.random.default_rng([lesson.fold, epoch]).permutation(lesson.rows["train"])
    for rows in split_batches(order, lesson.batch):
        loss = cross_entropy(model(scale_images(lesson, rows)), torch.from_numpy(lesson.labels[rows]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def find_hits(model: nn.Module, lesson: Lesson, split: str) -> NDArray[np.bool_]:
    """Return which images of the split are named rightly, in eval mode."""
    model.eval()
    rows = lesson.rows[split]
    told = torch.cat([model(scale_images(lesson, batch)).argmax(1) for batch in split_batches(rows, SCORED_AT_ONCE)])
    hits: NDArray[np.bool_] = told.numpy() == lesson.labels[rows]
    return hits


def score(model: nn.Module, lesson: Lesson, split: str) -> float:
    """Return the accuracy on the split, in eval mode."""
    return float(find_hits(model, lesson, split).mean())


def scale_images(lesson: Lesson, rows: Rows) -> Tensor:
    """Return the rows' images as the backbone takes them."""
    return scale_pixels(BACKBONE, torch.from_numpy(lesson.images[rows]))


def read_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the model's buffers, by name: BatchNorm's running means and variances, and its counters."""
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def set_statistics(model: nn.Module, statistics: Tensors) -> nn.Module:
    """Return the model, its statistics set to the given ones."""
    model.load_state_dict(statistics, strict=False)
    return model


def compute_relative_change(before: Tensors, after: Tensors, kind: str) -> float:
    """Return the norm of what changed of all statistics of that kind over the norm of what was loaded."""
    names = [name for name in before if name.endswith(kind)]
    loaded, found = (torch.cat([its[name].double() for name in names]) for its in (before, after))
    return float((found - loaded).norm() / loaded.norm())
