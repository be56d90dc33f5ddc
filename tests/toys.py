"""A study small enough to be trained within a test: 70 pictures of noise, two classes, two replicates, tiny models."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models
from torchvision.models import VisionTransformer

from frostline.backbones.folding import prepare_prefix
from frostline.backbones.freezing import apply_plan, cut_at_boundary
from frostline.backbones.inference import Images, LiveInputs
from frostline.backbones.registry import build_backbone
from frostline.data.augmentation import Augmenter
from frostline.data.images import Prepared, Rows
from frostline.files import hash_file, read_yaml, write_json, write_yaml
from frostline.networks.catalog import HALF, Architecture, Preprocessing
from frostline.networks.small_networks import build_cnn3
from frostline.params.schema import Augmentation, Plan, Training
from frostline.training.grid import Feed, train_cell
from frostline.training.job import Job
from frostline.training.loop import Batches, Epoch, Fit, start_fit, train_epochs
from frostline.training.results import Cell
from stages import train as train_stage
from tests.project import read_study, seal

CPU = torch.device("cpu")
AS_THEY_ARE = Augmentation(flips="none", crop="none", crop_padding=4, crop_scale=0.35, colour=0.0, policy="none")
FLIPPED = AS_THEY_ARE.model_copy(update={"flips": "both"})
TRAINING = Training(
    epochs=3, patience=3, batch_size=24, weight_decay=0.01, precision="float32", schedule="constant",
    plateau_factor=0.5, plateau_patience=3, warmup_epochs=0, label_smoothing=0.0, class_weights="none",
    augmentation=FLIPPED, views=2, workers="local", devices_per_fit=1,
    cache_bytes=2_000_000_000, keep_bytes=2_000_000_000, augmentation_seed=0,
)  # fmt: skip


def training(**changes: object) -> Training:
    return TRAINING.model_copy(update=changes)


def plan(*train: str, weights: str = "pretrained", **more: Any) -> Plan:
    """Return a plan in which these parts, blocks or selectors learn, or all from `from_` on."""
    asked = {"train": list(train)} if train else {"from": more.pop("from_")}
    return Plan(**asked, weights=weights, learning_rates=more.pop("learning_rates", [0.001, 0.01]))


def pictures(side: int = 32) -> NDArray[np.uint8]:
    """Return 70 pictures of noise, of which every second one is a little brighter."""
    noise = np.random.default_rng(0).integers(0, 200, (70, side, side, 3), dtype=np.uint8)
    return noise + (np.arange(70, dtype=np.uint8) % 2 * 40)[:, None, None, None]


def prepared(side: int = 32) -> Prepared:
    """Return the pictures with two replicates' splits: 50 to train on and 16 to validate on, 4 to test."""
    rows = []
    for replicate, order in {0: np.arange(70), 1: np.arange(70)[::-1]}.items():
        splits = ["train"] * 50 + ["validation"] * 16 + ["test"] * 4
        rows += [
            {"image": image, "replicate": replicate, "split": split} for image, split in zip(order, splits, strict=True)
        ]
    names = [str(image) for image in range(70)]
    return Prepared(pictures(side), np.arange(70) % 2, names, ["dark", "bright"], pd.DataFrame(rows))


def write_prepared(folder: Path) -> Path:
    """Write the pictures and splits as prepare does."""
    data = prepared()
    folder.mkdir()
    np.save(folder / "images.npy", data.images)
    np.save(folder / "labels.npy", data.labels)
    pd.DataFrame({"id": data.ids, "group": range(len(data.ids))}).to_csv(folder / "images.csv", index=False)
    data.splits.to_csv(folder / "splits.csv", index=False)
    digests = {name: hash_file(folder / name) for name in ("images.npy", "labels.npy")}
    (folder / "prepared.json").write_text(json.dumps({"classes": data.classes, "sha256": digests}))
    seal(folder)
    return folder


def job(
    name: str, asked: Plan, scratch: Path, taught: Training = TRAINING, side: int = 32, precision: str = "float32"
) -> Job:
    return Job(prepared(side), name, asked, taught, [0, 1], precision, CPU, scratch)


def cells(asked: Job, phase: int = 1) -> list[Cell]:
    """Return every cell of the phase, where all replicates try every rate."""
    return [(rates, replicate) for rates in asked.list_rates(phase) for replicate in asked.replicates]


def start(asked: Job, feed: Feed, learning_rate: float = 0.001, replicate: int = 0) -> Iterator[Fit]:
    return train_cell(asked, feed, torch.from_numpy(asked.data.labels), (learning_rate,), replicate)


def train(asked: Job, feed: Feed, learning_rate: float = 0.001, replicate: int = 0) -> Fit:
    *_, fit = start(asked, feed, learning_rate, replicate)
    return fit


def train_whole(asked: Job, learning_rate: float = 0.001, replicate: int = 0) -> Fit:
    """Train the backbone on pictures as who keeps nothing of its prefix would: the prefix runs in each batch anew."""
    torch.manual_seed(replicate)
    backbone = build_backbone(asked.backbone, asked.plan.weights, 2).to(memory_format=torch.channels_last)
    apply_plan(backbone, asked.plan)
    prefix, suffix = cut_at_boundary(backbone)
    prefix = prepare_prefix(prefix, asked.precision)
    data, taught = asked.data, asked.training
    augmented = Augmenter.of(data.ids, taught.augmentation, taught.augmentation_seed)
    live = LiveInputs(Images.hold(data.images, CPU), asked.backbone, augmented)

    @torch.no_grad()
    def run_prefix(batches: Sequence[Rows], view: int | None, /) -> Iterator[Tensor]:
        yield from (prefix(pixels) for pixels in live(batches, view))

    batches = Batches(
        run_prefix,
        torch.from_numpy(data.labels),
        data.list_rows("train", [replicate]),
        data.list_rows("validation", [replicate]),
    )
    fit = start_fit(suffix, learning_rate, taught.weight_decay, replicate)
    for _ in train_epochs(fit, batches, taught, asked.precision):
        pass
    return fit


def timeless(fit: Fit) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in fit.history]


def assert_near(whole: Fit, fit: Fit) -> None:
    """Compare a fit whose prefix runs in each batch with one whose prefix ran before, to within rounding.

    Products of few rows and of many may be rounded differently: those of AVX2 are. Biases of keys are left out: no
    output depends on them, so that Adam makes whole steps of what rounding leaves of their gradients.
    """
    for ours, theirs in zip(whole.history, fit.history, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-4)
        assert ours.val_loss == pytest.approx(theirs.val_loss, rel=1e-4)
        assert (ours.train_accuracy, ours.val_accuracy) == (theirs.train_accuracy, theirs.val_accuracy)
    ends = whole.suffix.state_dict()
    for name, tensor in fit.suffix.state_dict().items():
        if not name.endswith("in_proj_bias"):
            torch.testing.assert_close(ends[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


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


def small_vision_transformer(dropout: float = 0.0) -> Architecture:
    """Return torchvision's vision transformer with four layers, for 32 x 32 pixels in 16 patches."""

    def original(px: int) -> nn.Module:
        return VisionTransformer(
            image_size=px, patch_size=8, num_layers=4, num_heads=2, hidden_dim=32, mlp_dim=64, dropout=dropout
        )

    torch.manual_seed(0)
    tensors = original(32).state_dict()

    def pretrained(px: int) -> nn.Module:
        model = original(px)
        model.load_state_dict(tensors)
        return model

    return Architecture(original, pretrained, lambda: Preprocessing(32, "bilinear", *HALF))


def cnn3_weights(project: Path) -> str:
    """Return the path, from the project's folder, of a new file of weights for one of our own networks."""
    torch.manual_seed(0)
    path = Path("data/weights/cnn3.safetensors")
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    save_file(build_cnn3().state_dict(), project / path)
    return str(path)


def resnet18_weights(folder: Path) -> str:
    """Return the path of a file of weights for ResNet18, whose BatchNorm statistics are not trivial."""
    torch.manual_seed(0)
    tensors = models.resnet18().state_dict()
    for name, tensor in tensors.items():
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    save_file(tensors, folder / "resnet18.safetensors")
    return str(folder / "resnet18.safetensors")


PLANS: dict[str, dict[str, Any]] = {
    "part": {"from": "stage4"},
    "block": {"from": "stage4.3"},
    "surgical": {"train": ["stage3.1", "head"]},
    "norms": {"train": ["norms", "head"]},
    "biases": {"train": ["stage4.4", "biases", "head"]},
    "head": {"train": ["head"]},
    "all": {"from": "stem"},
    "edges": {"train": ["stem", "head"]},
    "norms_alone": {"train": ["norms"]},
    "scratch": {"from": "stem", "weights": "none"},
    "gradual": {
        "phases": [
            {"from": depth, "epochs": 1, "learning_rates": [0.003], "layer_decay": 1.0} for depth in ("head", "stage4")
        ]
    },
    "narrowing": {
        "phases": [
            {"from": depth, "epochs": 1, "learning_rates": [0.003], "layer_decay": 1.0} for depth in ("stage4", "head")
        ]
    },
}


def write_study(folder: Path) -> None:
    """Write a params.yaml of all these plans into the folder, and prepared pictures."""
    folder.mkdir(exist_ok=True)
    params = read_study("quick")
    params["plans"] = {
        name: {"weights": "pretrained", **what} | ({} if "phases" in what else {"learning_rates": [0.003]})
        for name, what in PLANS.items()
    }
    params["study"] = {"plans": [*PLANS], "repeats": 1, "tune": "all", "racing": False, "shifts": []}
    params["training"] |= {
        "epochs": 2,
        "batch_size": 24,
        "precision": "float32",
        "views": 2,
        "schedule": "constant",
        "keep_bytes": 0,
    }
    params["training"]["augmentation"]["flips"] = "both"
    write_yaml(folder / "params.yaml", params)
    write_prepared(folder / "prepared")
    (folder / "race").mkdir()
    write_json(folder / "race" / "race.json", {"racing": False, "stopped": None, "dropped": []})


def set_params(toy: Path, **changes: object) -> None:
    """Set these of the toy's params, whose sections are parted by two underscores."""
    params = read_yaml(toy / "params.yaml")
    for name, value in changes.items():
        section, _, key = name.rpartition("__")
        of = params
        for part in section.split("__"):
            of = of[part]
        of[key] = value
    write_yaml(toy / "params.yaml", params)


def train_toy(
    toy: Path, plan: str, race: Path | None = None, backbone: str = "efficientnet_lite0", **training: object
) -> Path:
    """Train the plan on the toy, or take it from the race; return the run's folder."""
    params = read_yaml(toy / "params.yaml")
    params["training"] |= training
    write_yaml(toy / "params.yaml", params)
    for folder in (toy / "prepared", race or toy / "race"):
        seal(folder)
    train_stage.main(
        params=toy / "params.yaml",
        prepared=toy / "prepared",
        race=race or toy / "race",
        backbone=backbone,
        plan=plan,
        out=toy / "runs" / plan,
    )
    return toy / "runs" / plan


def list_checkpoints(toy: Path) -> list[Path]:
    return [path for path in left_in_scratch(toy) if path.suffix == ".pt"]


def left_in_scratch(toy: Path) -> list[Path]:
    return [path for path in (toy / ".dvc" / "tmp").rglob("*") if path.is_file()]
