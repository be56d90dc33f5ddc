"""What model.json tells: the network, its input, its plan, its training, what was measured, and the images."""

from dataclasses import asdict
from typing import Any

import pandas as pd

from frostline.backbones.runs import Run
from frostline.hardware import name_processor
from frostline.model.card import find_library, tell_weights_licence
from frostline.model.fitting import Fitted
from frostline.networks.catalog import find_architecture
from frostline.params.schema import Plan
from frostline.training.job import Job

MEASURED = ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1", "majority_accuracy")


def describe_run(run: Run, fitted: Fitted, job: Job) -> dict[str, Any]:
    """Return what model.json tells of the network, its input, its plan and its training."""
    definition = {name: value for name, value in run.definition.items() if name != "views"}
    architecture, plan = find_architecture(run.backbone), Plan(**run.definition)
    images = architecture.preprocessing()
    scaling = {"mean": list(images.mean), "deviation": list(images.deviation)}
    return {
        "made": True,
        "backbone": run.backbone,
        "classes": run.classes,
        "input": {"image_px": job.image_px, "crop": "central square", "interpolation": "bicubic", **scaling},
        "library": asdict(find_library(run.backbone, len(run.classes), job.image_px, is_whole=plan.head_after is None)),
        "plan": {
            "name": run.plan,
            "definition": definition,
            "learned": run.learned,
            "learning_rate": run.learning_rate,
            "trainable_parameters": run.trainable_parameters,
            "parameters": run.parameters,
        },
        "trained": {
            "images": fitted.images,
            "validation_images": 0,
            "epochs": fitted.course.epochs,
            "precision": fitted.precision,
            "seconds": round(fitted.seconds, 1),
            "audit": "passed",
            "audited_tensors": fitted.audited,
            "processor": name_processor(job.device),
            "threads": job.threads,
            "versions": run.versions,
        },
        "weights": {
            "pretrained": run.definition["weights"],
            "frozen_sha256": run.backbone_sha256,
            "licence": tell_weights_licence(run.backbone, run.definition["weights"]),
        },
    }


def describe_measured(figures: "pd.Series[Any]", prepared: dict[str, Any]) -> dict[str, Any]:
    """Return what the study measured of the plan; it is of the plan, not of the model that is trained on all."""
    splits = "official splits" if prepared["splits"] == "official" else f"{prepared['folds']} folds"
    return {"of": "the plan", "splits": splits, "replicates": int(figures.replicates)} | {
        name: round(float(figures[name]), 6) for name in MEASURED
    }


def describe_data(source: dict[str, Any], prepared: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of the images."""
    told = {name: source[name] for name in ("origin", "revision", "licence", "labels")}
    counted = {name: prepared[name] for name in ("images_per_class", "groups", "groups_by")}
    return {**told, **counted, "sha256": source["sha256"]["images.parquet"]}
