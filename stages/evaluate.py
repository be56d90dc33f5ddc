"""Predict and score what each replicate of a run tests. Nothing is chosen here.

Reads: the prepared images and splits (test), the run, and in params.yaml by how many pixels test images are shifted
too.
Writes: `predictions.parquet` (a row per replicate and image: a probability for each class), `shifted.parquet` (the same
of test images that were shifted, a row per shift and direction), `metrics.json` (per replicate) and `costs.json` (what
predicting cost), into one folder.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from frostline.backbones.inference import (
    SMALLEST_PREFIX_BATCH,
    Images,
    LiveInputs,
    PrefixedInputs,
    Transform,
    compute_beside,
    prepare_prefix,
    split_batches,
)
from frostline.backbones.precision import compute_deterministically
from frostline.backbones.runs import Run, load_backbone, read_run
from frostline.data.augmentation import DIRECTIONS, Shifter
from frostline.data.images import Prepared, read_prepared
from frostline.errors import run_command
from frostline.files import open_whole_folder, write_json
from frostline.hardware import choose_device, keep_freed_memory
from frostline.params import load_params
from frostline.stats.metrics import score_predictions


def main(*, params: Path, prepared: Path, run: Path, out: Path) -> None:
    """Score the run in the folder `run` into the folder `out`."""
    data, trained, shifts = read_prepared(prepared), read_run(run), load_params(params).study.shifts
    keep_freed_memory()
    compute_deterministically(choose_device())
    predicted = {
        replicate: predict_replicate(data, trained, load_backbone(run, int(replicate)), int(replicate), shifts)
        for replicate in trained.replicates
    }
    with open_whole_folder(out) as folder:
        pd.concat(its.test for its in predicted.values()).to_parquet(folder / "predictions.parquet", index=False)
        pd.concat(its.shifted for its in predicted.values()).to_parquet(folder / "shifted.parquet", index=False)
        scores = {replicate: score_predictions(its.test, trained.classes) for replicate, its in predicted.items()}
        write_json(folder / "metrics.json", scores)
        write_json(folder / "costs.json", measure_costs([*predicted.values()]))
    accuracies = ", ".join(f"{score['accuracy']:.3f}" for score in scores.values())
    print(f"{trained.backbone}-{trained.plan}: test accuracy by replicate {accuracies}")


@dataclass(frozen=True)
class Predicted:
    """A replicate's predictions of its test images, and the seconds that they took; `shifted` are of moved ones."""

    test: pd.DataFrame
    seconds: float
    shifted: pd.DataFrame


def predict_replicate(
    data: Prepared, trained: Run, backbone: nn.Sequential, replicate: int, shifts: list[int]
) -> Predicted:
    """Return what the backbone, trained in the replicate, makes of the images that the replicate tests.

    One batch goes first and is thrown away, so that it, and not what is timed, starts the kernels.
    """
    device = choose_device()
    whole = prepare_prefix(backbone.to(device).to(memory_format=torch.channels_last), trained.precision)
    rows = data.list_rows("test", [replicate])

    def predict(rows: NDArray[np.int64], transform: Transform | None = None) -> pd.DataFrame:
        live = LiveInputs(Images.hold(data.images, device), trained.backbone, transform)
        logits = PrefixedInputs(whole, live, data.images.shape[1], trained.precision, device)
        batches = split_batches(rows, SMALLEST_PREFIX_BATCH)
        probabilities = torch.cat([*compute_beside(logits, batches, None, device)]).double().softmax(1)
        return make_prediction_table(data, replicate, rows, probabilities.cpu().numpy())

    predict(rows[:SMALLEST_PREFIX_BATCH])
    began = time.perf_counter()
    test, seconds = predict(rows), time.perf_counter() - began
    shifted = [
        predict(rows, Shifter(direction, by)).assign(shift=by, direction=direction)
        for by in shifts
        for direction in DIRECTIONS
    ]
    none = test.head(0).assign(shift=0, direction="")
    return Predicted(test, seconds, pd.concat([none, *shifted]))


def make_prediction_table(
    data: Prepared, replicate: int, rows: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> pd.DataFrame:
    """Return the probabilities (rows x classes) with what they are about: replicate, image, id and label."""
    named = {"id": [data.ids[row] for row in rows], "label": data.labels[rows]}
    about = {"replicate": replicate, "image": rows, **named}
    columns = {f"probability_{name}": probabilities[:, index] for index, name in enumerate(data.classes)}
    return pd.DataFrame(about | columns)


def measure_costs(predicted: list[Predicted]) -> dict[str, float]:
    """Return the test images that were predicted in a second, from prepared pixels to probabilities."""
    images = sum(len(its.test) for its in predicted)
    return {"inference_images_per_second": images / sum(its.seconds for its in predicted)}


if __name__ == "__main__":
    run_command(main)
