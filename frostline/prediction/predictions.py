"""Predictions: a replicate's predictions of its test images, as they are and shifted."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from frostline.backbones.folding import prepare_prefix
from frostline.backbones.inference import (
    SMALLEST_PREFIX_BATCH,
    Images,
    LiveInputs,
    PrefixedInputs,
    Transform,
    compute_beside,
    split_batches,
)
from frostline.data.augmentation import DIRECTIONS, Shifter
from frostline.data.images import Prepared
from frostline.hardware import choose_device


@dataclass(frozen=True)
class Predicted:
    """A replicate's predictions of its test images, and the seconds that they took; `shifted` are of moved ones."""

    test: pd.DataFrame
    seconds: float
    shifted: pd.DataFrame


def predict_replicate(
    data: Prepared,
    backbone: nn.Sequential,
    replicate: int,
    name: str,
    precision: str,
    shifts: Sequence[int] = (),
) -> Predicted:
    """Return what the backbone of that name, trained in the replicate, makes of the images that the replicate tests.

    One batch goes first and is thrown away, so that it, and not what is timed, starts the kernels.
    """
    device = choose_device()
    image_px = int(data.images.shape[1])
    whole = prepare_prefix(backbone.to(device).to(memory_format=torch.channels_last), precision, image_px)
    rows = data.list_rows("test", [replicate])

    def predict(rows: NDArray[np.int64], transform: Transform | None = None) -> pd.DataFrame:
        live = LiveInputs(Images.hold(data.images, device), name, transform)
        logits = PrefixedInputs(whole, live, image_px, precision, device)
        batches = split_batches(rows, SMALLEST_PREFIX_BATCH)
        outputs: Any = [*compute_beside(logits, batches, None, device)]
        probabilities = torch.cat(outputs).double().softmax(1)
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
