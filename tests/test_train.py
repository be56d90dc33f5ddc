"""Claims about stages/train.py, evaluate.py and runs.py: what a run keeps, refuses, and gives back."""

import json
from collections.abc import Iterator
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from stages import evaluate, grid
from stages import train as train_stage
from stages.audit import AuditError
from stages.freezing import count_parameters, cut_at_boundary
from stages.inputs import in_batches, live_inputs
from stages.runs import load_backbone, read_run
from stages.train import best_rate
from stages.training import Epoch, Fit, predict, start_fit
from tests import toys
from tests.project import ROOT


def history(*losses: float) -> list[Epoch]:
    return [Epoch(number, 1.0, 0.5, loss, 0.5, 1.0) for number, loss in enumerate(losses, start=1)]


def test_the_rate_with_the_lowest_mean_of_best_losses_is_kept() -> None:
    histories = {(0.1, 0): history(0.9, 0.2), (0.1, 1): history(0.8), (0.01, 0): history(0.4), (0.01, 1): history(0.5)}
    assert best_rate(histories) == 0.01


def test_a_rate_at_which_one_seed_diverged_is_not_kept() -> None:
    histories = {(0.1, 0): history(0.1), (0.1, 1): history(nan), (0.01, 0): history(0.4), (0.01, 1): history(0.5)}
    assert best_rate(histories) == 0.01


def test_rates_that_all_diverge_are_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"^learning_rates must hold one at which training does not diverge. Got 10, 1,"
    ):
        best_rate({(10.0, 0): history(nan), (1.0, 0): history(nan, nan)})


# --- Whole runs of a toy ----------------------------------------------------------------------------------------

PLANS: dict[str, dict[str, Any]] = {
    "part": {"from": "stage4"},
    "block": {"from": "stage4.3"},
    "surgical": {"train": ["stage3.1", "head"]},
    "norms": {"train": ["norms", "head"]},
    "biases": {"train": ["stage4.4", "biases", "head"]},
    "head": {"train": ["head"]},
    "all": {"from": "stem"},
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder with a params.yaml of all these plans, and prepared pictures."""
    params = yaml.safe_load((ROOT / "studies" / "digits.yaml").read_text())
    params["plans"] = {
        name: {**what, "weights": "pretrained", "learning_rates": [0.003]} for name, what in PLANS.items()
    }
    params["study"] = {"seeds": [0, 1], "plans": [*PLANS]}
    params["training"] |= {"epochs": 2, "batch_size": 24, "precision": "float32", "views": 2, "flips": "both"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    toys.write_prepared(tmp_path / "prepared")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    yield tmp_path
    torch.use_deterministic_algorithms(False)


def train_toy(toy: Path, plan: str, **training: object) -> Path:
    """Train the plan on the toy; return the run's folder."""
    params = yaml.safe_load((toy / "params.yaml").read_text())
    params["training"] |= training
    (toy / "params.yaml").write_text(yaml.safe_dump(params))
    train_stage.main(
        params=toy / "params.yaml",
        prepared=toy / "prepared",
        backbone="efficientnet_lite0",
        plan=plan,
        out=toy / "runs" / plan,
    )
    return toy / "runs" / plan


def left_in_scratch(toy: Path) -> list[Path]:
    return [path for path in (toy / ".dvc" / "tmp").rglob("*") if path.is_file()]


@pytest.mark.parametrize("plan", PLANS)
def test_a_run_gives_back_the_backbone_as_its_plan_froze_and_trained_it(plan: str, toy: Path) -> None:
    folder = train_toy(toy, plan)
    run, data = read_run(folder), toys.prepared()
    assert {name: run.definition[name] for name in PLANS[plan]} == PLANS[plan]
    for seed in (0, 1):
        prefix, suffix = load_backbone(folder, seed)
        assert not any(module.training for module in (*prefix.modules(), *suffix.modules()))
        whole = nn.Sequential(prefix, suffix)
        assert count_parameters(whole) == (run.trainable_parameters, run.parameters)
        kept = load_file(folder / f"seed-{seed}.safetensors")
        assert toys.differing(suffix.state_dict(), kept) == set()
        whole.to(memory_format=torch.channels_last)
        live = live_inputs(data.images, "efficientnet_lite0", "none", 0, toys.CPU)
        rows = data.rows("validation", [seed])
        logits = predict(whole, live, in_batches(rows, 64), "float32", toys.CPU)
        labels = torch.from_numpy(data.labels[rows])
        told = run.seeds[str(seed)]
        assert nn.functional.cross_entropy(logits, labels).item() == pytest.approx(told["val_loss"], rel=1e-5)
        assert (logits.argmax(1) == labels).float().mean().item() == pytest.approx(told["val_accuracy"])


@pytest.mark.parametrize("plan", ["block", "norms"])
def test_a_run_of_any_plan_can_be_evaluated(plan: str, toy: Path) -> None:
    folder = train_toy(toy, plan)
    evaluate.main(prepared=toy / "prepared", run=folder, out=toy / "scores")
    predictions = pd.read_parquet(toy / "scores" / "predictions.parquet")
    assert predictions.groupby("seed").image.agg(list).to_dict() == {0: [66, 67, 68, 69], 1: [0, 1, 2, 3]}
    data = toys.prepared()
    live = live_inputs(data.images, "efficientnet_lite0", "none", 0, toys.CPU)
    whole = nn.Sequential(*load_backbone(folder, 1)).to(memory_format=torch.channels_last)
    expected = predict(whole, live, [np.arange(4)], "float32", toys.CPU).softmax(1)
    found = predictions[predictions.seed == 1][["probability_dark", "probability_bright"]].to_numpy()
    assert found == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize("plan", ["block", "surgical", "biases"])
def test_a_run_that_passes_the_audit_says_so_and_how_many_tensors_it_looked_at(plan: str, toy: Path) -> None:
    folder = train_toy(toy, plan)
    run = read_run(folder)
    whole = nn.Sequential(*load_backbone(folder, 0))
    learned = {name for name, parameter in whole.named_parameters() if parameter.requires_grad}
    awake = {
        f"{name}.{statistic}"
        for name, module in whole.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.weight.requires_grad
        for statistic in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert run.audit == "passed"
    assert run.audited_tensors == len(whole.state_dict()) - len(learned | awake)


@pytest.mark.parametrize(
    ("plan", "cache_bytes", "place"),
    [("head", 10**9, "memory"), ("head", 1_000, "scratch"), ("head", 0, "off"), ("all", 10**9, "no prefix")],
)
def test_a_run_records_where_its_prefix_was_kept_and_the_bytes_that_it_took(
    plan: str, cache_bytes: int, place: str, toy: Path
) -> None:
    costs = json.loads((train_toy(toy, plan, cache_bytes=cache_bytes) / "costs.json").read_text())
    kept = (32 + 2 * 70) * 1280 * 4  # both seeds' validation, and two views of all, in float32 of the last 1,280 maps
    assert (costs["cache"], costs["cache_bytes"]) == (place, kept if place in ("memory", "scratch") else 0)


def test_a_run_is_the_same_wherever_its_prefix_was_kept(toy: Path) -> None:
    weights, histories = [], []
    for cache_bytes in (10**9, 1_000, 0):
        folder = train_toy(toy, "head", cache_bytes=cache_bytes)
        weights.append((folder / "seed-1.safetensors").read_bytes() + (folder / "run.json").read_bytes())
        histories.append(pd.read_csv(folder / "history.csv").drop(columns="seconds"))
    assert weights[0] == weights[1] == weights[2]
    assert histories[0].equals(histories[1])
    assert histories[0].equals(histories[2])


@pytest.mark.parametrize("cache_bytes", [10**9, 1_000, 0])
def test_a_run_that_ends_well_leaves_nothing_in_scratch(cache_bytes: int, toy: Path) -> None:
    train_toy(toy, "head", cache_bytes=cache_bytes)
    assert left_in_scratch(toy) == []


def careless(suffix: nn.Sequential, learning_rate: float, weight_decay: float, seed: int) -> Fit:
    """Start a fit whose optimizer is given what is frozen as well."""
    fit = start_fit(suffix, learning_rate, weight_decay, seed)
    fit.optimizer.add_param_group({"params": [p for p in suffix.parameters() if not p.requires_grad]})
    return fit


def sleepless(backbone: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
    """Cut the backbone, and wake a norm of its prefix."""
    prefix, suffix = cut_at_boundary(backbone)
    prefix.get_submodule("stem.1").training = True
    return prefix, suffix


@pytest.mark.parametrize(
    ("name", "mistaken", "found"),
    [
        ("start_fit", careless, r"stage3\.2\.\S+ is in the optimizer, although it is frozen"),
        ("cut_at_boundary", sleepless, r"depends on its batch mates: stem\.1 is where it begins"),
    ],
)
def test_a_run_whose_audit_fails_fails_and_leaves_no_results(
    name: str, mistaken: object, found: str, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, name, mistaken)
    with pytest.raises(AuditError, match=found):
        train_toy(toy, "surgical", cache_bytes=1_000)
    assert not (toy / "runs" / "surgical").exists()
    assert all(path.suffix == ".pt" for path in left_in_scratch(toy))  # checkpoints, and none of the cache


def test_a_plan_that_names_a_block_that_the_backbone_lacks_is_refused_by_name(toy: Path) -> None:
    params = yaml.safe_load((toy / "params.yaml").read_text())
    params["plans"]["block"]["from"] = "stage4.99"
    (toy / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(ValueError, match=r"^plans\.block on efficientnet_lite0 must name .*Got 'stage4\.99' instead"):
        train_toy(toy, "block")
