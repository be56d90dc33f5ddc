"""A toy study that ends in a model: a run of one plan, what it predicted, and the comparison's figures of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from frostline.files import read_json, read_yaml, write_csv, write_json, write_sums, write_yaml
from frostline.model.about import MEASURED
from frostline.stats.metrics import score_predictions
from stages import evaluate, finish
from tests import toys
from tests.project import seal

CLASSES = ["dark", "bright"]


def write_facts(toy: Path) -> None:
    """Write what fetch and prepare tell of the toy's images beside the pictures."""
    prepared = toy / "prepared"
    about = read_json(prepared / "prepared.json")
    counts = {"images_per_class": {"dark": 35, "bright": 35}, "groups": 70, "groups_by": "none"}
    write_json(prepared / "prepared.json", about | counts | {"splits": "folds", "folds": 2})
    source = {
        "origin": "folder toys", "revision": "of today", "licence": "CC0-1.0", "labels": "how bright it is",
        "sha256": {"images.parquet": "0" * 64},
    }  # fmt: skip
    (toy / "raw").mkdir(exist_ok=True)
    write_json(toy / "raw" / "source.json", source)
    for folder in ("prepared", "raw"):
        seal(toy / folder)


def train_and_score(toy: Path, plan: str, backbone: str = "efficientnet_lite0") -> str:
    """Train the plan and score it, as dvc would have it done; return the run's name."""
    name = f"{backbone}-{plan}"
    target = toy / "runs" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    toys.train_toy(toy, plan, backbone=backbone).rename(target)
    evaluate.main(params=toy / "params.yaml", prepared=toy / "prepared", run=target, out=toy / "scores" / name)
    return name


def write_reports(toy: Path, names: list[tuple[str, str]]) -> None:
    """Write the comparison's figures of these runs, the first of which is advised."""
    rows = []
    for backbone, plan in names:
        predictions = pd.read_parquet(toy / "scores" / f"{backbone}-{plan}" / "predictions.parquet")
        scores = score_predictions(predictions, CLASSES)
        known: dict[str, Any] = {name: scores.get(name, 0.25) for name in MEASURED}
        rows.append({"backbone": backbone, "plan": plan, "replicates": 2, **known})
    (toy / "reports").mkdir(exist_ok=True)
    write_csv(toy / "reports" / "plans.csv", pd.DataFrame(rows))
    write_json(toy / "reports" / "advice.json", {"backbone": names[0][0], "plan": names[0][1]})
    write_sums(toy / "reports", ["advice.json", "plans.csv"])


def ask_for(toy: Path, finish: object) -> None:
    params = read_yaml(toy / "params.yaml")
    write_yaml(toy / "params.yaml", params | {"finish": finish})


def finish_toy(toy: Path, out: str = "model") -> Path:
    """Run the stage; return the folder of the model."""
    finish.main(
        params=toy / "params.yaml",
        prepared=toy / "prepared",
        source=toy / "raw" / "source.json",
        runs=toy / "runs",
        scores=toy / "scores",
        reports=toy / "reports",
        out=toy / out,
    )
    return toy / out


def make_model(toy: Path, plan: str, backbone: str = "efficientnet_lite0") -> Path:
    """Return the folder of the model that the toy study of one plan leaves."""
    write_facts(toy)
    train_and_score(toy, plan, backbone)
    write_reports(toy, [(backbone, plan)])
    return finish_toy(toy)


def noise(images: int, side: int = 32) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.random.default_rng(5).integers(0, 256, (images, side, side, 3), dtype=np.uint8)
