"""Predict and score what each replicate of a run tests. Nothing is chosen here.

Reads: the prepared images and splits (test), the run, and in params.yaml by how many pixels test images are shifted
too.
Writes: `predictions.parquet` (a row per replicate and image: a probability for each class), `shifted.parquet` (the same
of test images that were shifted, a row per shift and direction), `metrics.json` (per replicate) and `costs.json` (what
predicting cost), into one folder.
"""

from pathlib import Path

import pandas as pd

from frostline.backbones.precision import compute_deterministically
from frostline.backbones.runs import load_backbone, read_run
from frostline.data.images import read_prepared
from frostline.errors import run_command
from frostline.files import check_sums, open_whole_folder, write_json
from frostline.hardware import choose_device, keep_freed_memory
from frostline.params.loading import load_params
from frostline.prediction.predictions import Predicted, predict_replicate
from frostline.stats.metrics import score_predictions


def main(*, params: Path, prepared: Path, run: Path, out: Path) -> None:
    """Score the run in the folder `run` into the folder `out`."""
    check_sums(run)
    data, trained, shifts = read_prepared(prepared), read_run(run), load_params(params).study.shifts
    keep_freed_memory()
    compute_deterministically(choose_device())
    about = trained.backbone, trained.precision, shifts
    predicted = {
        replicate: predict_replicate(data, load_backbone(run, int(replicate)), int(replicate), *about)
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


def measure_costs(predicted: list[Predicted]) -> dict[str, float]:
    """Return the test images that were predicted in a second, from prepared pixels to probabilities."""
    images = sum(len(its.test) for its in predicted)
    return {"inference_images_per_second": images / sum(its.seconds for its in predicted)}


if __name__ == "__main__":
    run_command(main)
