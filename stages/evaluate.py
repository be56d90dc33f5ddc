"""Score a run on the test images of each of its seeds. No other stage reads the test split.

Reads: the prepared images and splits (test only), and the run.
Writes: `predictions.parquet` (a row per seed and test image: a probability for each class) and `metrics.json` (per
seed), into one folder.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from stages.command import command
from stages.folding import as_run
from stages.inputs import in_batches, live_inputs, prefix_batch, prefixed_inputs
from stages.metrics import score_predictions
from stages.outputs import whole_folder, write_json
from stages.precision import compute_deterministically, usable_device
from stages.prepared import Prepared, read_prepared
from stages.runs import Run, load_backbone, read_run
from stages.training import predict


def main(*, prepared: Path, run: Path, out: Path) -> None:
    """Score the run in the folder `run` into the folder `out`."""
    data, trained = read_prepared(prepared), read_run(run)
    compute_deterministically(usable_device())
    tables = {seed: predict_test(data, trained, run, int(seed)) for seed in trained.seeds}
    with whole_folder(out) as folder:
        pd.concat(tables.values()).to_parquet(folder / "predictions.parquet", index=False)
        scores = {seed: score_predictions(table, trained.classes) for seed, table in tables.items()}
        write_json(folder / "metrics.json", scores)
    accuracies = ", ".join(f"{score['accuracy']:.3f}" for score in scores.values())
    print(f"{trained.backbone}-{trained.plan}: test accuracy by seed {accuracies}")


def predict_test(data: Prepared, trained: Run, run: Path, seed: int) -> pd.DataFrame:
    """Return a row for each test image of the seed: seed, image, id, label, and probability_<class> of each class."""
    device, rows = usable_device(), data.rows("test", [seed])
    prefix, suffix = (part.to(device).to(memory_format=torch.channels_last) for part in load_backbone(run, seed))
    image_px = data.images.shape[1]
    inputs = live_inputs(data.images, trained.backbone, "none", 0, device)
    if len(prefix):
        inputs = prefixed_inputs(as_run(prefix, trained.precision), inputs, image_px, trained.precision, device)
    logits = predict(suffix, inputs, in_batches(rows, prefix_batch(image_px)), trained.precision, device)
    probabilities = logits.double().softmax(1).cpu().numpy()
    return prediction_table(data, seed, rows, probabilities)


def prediction_table(
    data: Prepared, seed: int, rows: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> pd.DataFrame:
    """Return the probabilities (rows x classes) with what they are about."""
    about = {"seed": seed, "image": rows, "id": [data.ids[row] for row in rows], "label": data.labels[rows]}
    columns = {f"probability_{name}": probabilities[:, index] for index, name in enumerate(data.classes)}
    return pd.DataFrame(about | columns)


if __name__ == "__main__":
    command(main)
