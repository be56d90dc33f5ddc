"""A study of two plans, ready to be compared."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from frostline.stats.metrics import score_predictions
from stages import compare
from tests.project import dump_yaml, load_yaml, seal

HITS = {"head": {0: 6, 1: 7}, "stage4": {0: 9, 1: 7}}
"""How many of ten test images each plan names rightly, by replicate."""


CHANGED = "efficientnet_lite0-stage4"


def definition(plan: str, views: int = 4) -> dict[str, Any]:
    """Return what run.json tells of a plan; no two plans are alike."""
    parts = {"head": ["norms", "head"]}.get(plan, ["stage4.2", "head", "norms"])
    return {"train": parts, "weights": "pretrained", "learning_rates": [0.01], "views": views}


def write_cell(root: Path, plan: str, trainable: int, flops: int) -> None:
    run, scores = root / "runs" / f"efficientnet_lite0-{plan}", root / "scores" / f"efficientnet_lite0-{plan}"
    run.mkdir(parents=True)
    scores.mkdir(parents=True)
    shares = {replicate: hits / 10 for replicate, hits in HITS[plan].items()}
    replicates = {
        str(replicate): {"train_images": 20, "best_epoch": 1, "val_loss": 0.5, "val_accuracy": value}
        for replicate, value in shares.items()
    }
    about = {"backbone": "efficientnet_lite0", "plan": plan, "backbone_sha256": f"of {plan}"}
    counted = {"trainable_parameters": trainable, "parameters": 1000, "learned": ["stage4.2", "head", "norms"]}
    counted["definition"] = definition(plan)
    chosen = {
        "learning_rate": 0.01,
        "classes": ["a", "b"],
        "replicates": replicates,
        "audit": "passed",
        "audited_tensors": 7,
    }
    machine = {
        "precision": "float32",
        "device": "cpu",
        "processor": "a processor",
        "threads": 2,
        "versions": {"torch": "2"},
    }
    (run / "run.json").write_text(json.dumps({**about, **counted, **chosen, **machine}))
    (run / "race.json").write_text(json.dumps({"racing": False, "stopped": None, "dropped": []}))
    spent = {
        "train_seconds": 12.34,
        "replicate_seconds": 60.0,
        "train_flops": flops,
        "peak_memory_bytes": 1_000 + flops,
    }
    (run / "costs.json").write_text(json.dumps({**spent, "cache": "scratch", "cache_bytes": 800}))
    (scores / "costs.json").write_text(json.dumps({"inference_images_per_second": 250.0}))
    epochs = [(rate, replicate, epoch) for rate in (0.01, 0.1) for replicate in shares for epoch in (1, 2)]
    history = pd.DataFrame(epochs, columns=["learning_rate", "replicate", "epoch"])
    history.insert(0, "plan", plan)
    history.assign(train_loss=1.0, val_loss=0.5, seconds=3.0).to_csv(run / "history.csv", index=False)
    tests = [predictions(replicate, HITS[plan][replicate]) for replicate in shares]
    pd.concat(tests).to_parquet(scores / "predictions.parquet", index=False)
    moved = [test.assign(shift=4, direction=way) for test in tests for way in ("left", "up")]
    pd.concat(moved).to_parquet(scores / "shifted.parquet", index=False)
    metrics = {str(table.replicate[0]): score_predictions(table, ["a", "b"]) for table in tests}
    (scores / "metrics.json").write_text(json.dumps(metrics))


def predictions(replicate: int, hits: int) -> pd.DataFrame:
    """Ten images of class a, of which the first `hits` are taken for a and the others for b."""
    of_a = np.where(np.arange(10) < hits, 0.8, 0.3)
    columns = {"replicate": replicate, "image": np.arange(10), "label": 0, "probability_a": of_a}
    return pd.DataFrame(columns | {"probability_b": 1 - of_a})


def write_prepared(folder: Path) -> None:
    """Ten images each to test and to validate, the same for both replicates, and twenty to train on."""
    folder.mkdir()
    pd.DataFrame({"id": range(40), "group": range(40)}).to_csv(folder / "images.csv", index=False)
    split = ["test"] * 10 + ["validation"] * 10 + ["train"] * 20
    splits = [pd.DataFrame({"replicate": replicate, "image": range(40), "split": split}) for replicate in (0, 1)]
    pd.concat(splits).to_csv(folder / "splits.csv", index=False)
    counts = {"train": 20, "validation": 10, "test": 10}
    about = {
        "images": 40, "image_px": 32, "classes": ["a", "b"], "splits": "official", "folds": 1,
        "images_per_split": {"0": counts, "1": counts}, "sha256": {"images.npy": "1"},
    }  # fmt: skip
    (folder / "prepared.json").write_text(json.dumps(about))


def compared(study: Path) -> Path:
    out, params = study / "reports", study / "params.yaml"
    for name in ("prepared", "runs", "scores"):
        seal(study / name)
    compare.main(params=params, prepared=study / "prepared", runs=study / "runs", scores=study / "scores", out=out)
    return out


def edit_run(study: Path, name: str, **changes: Any) -> None:
    path = study / "runs" / name / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_scores(study: Path, name: str, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = study / "scores" / name / "predictions.parquet"
    edit(pd.read_parquet(path)).to_parquet(path, index=False)


def set_param(study: Path, name: str, value: object) -> None:
    """Set one of the params by which advice is given."""
    params = load_yaml((study / "params.yaml").read_text())
    params["advice"][name] = value
    (study / "params.yaml").write_text(dump_yaml(params))
