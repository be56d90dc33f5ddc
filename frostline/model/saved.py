"""The saved model: what its folder holds, how it is read and run. This needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from frostline.errors import InputError
from frostline.files import check_sums, read_json

WEIGHTS, ABOUT, ONNX, INT8, CERTAIN = (
    "model.safetensors",
    "model.json",
    "model.onnx",
    "model-int8.onnx",
    "calibration.csv",
)
"""The files of the folder, beside the card, README.md, and the sums of all."""
FIX = "Get the folder anew, with `dvc get`, `dvc pull` or `dvc repro`."


Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
PIXELS, LOGITS, PROBABILITIES = "pixels", "logits", "probabilities"
"""What the model takes, uint8 N x H x W x 3 (red, green, blue), and what it gives, float32 N x classes."""
IMAGES_AT_ONCE = 16


@dataclass(frozen=True)
class Saved:
    """The folder of a model, and what its model.json tells."""

    folder: Path
    about: dict[str, Any]

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of the logits."""
        return list(self.about["classes"])

    @property
    def image_px(self) -> int:
        """The side of the square that images are cropped and resized to."""
        return int(self.about["input"]["image_px"])


def read_model(folder: Path) -> Saved:
    """Return the model in the folder, or raise an `InputError` where there is none or a byte of it has changed."""
    if not (folder / ABOUT).is_file():
        raise InputError.of(
            str(folder), "be the folder of a model", f"one without {ABOUT}", "A study leaves it in data/model."
        )
    check_sums(folder, fix=FIX)
    about = read_json(folder / ABOUT)
    if not about["made"]:
        raise InputError.of(str(folder), "hold a model", "none", "params.yaml says finish: false.")
    return Saved(folder, about)


def open_session(model: bytes | Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """Return what runs the model, on so many threads; 0 is all of them. A GPU is used where onnxruntime has one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    known = onnxruntime.get_available_providers()
    wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in known]
    return onnxruntime.InferenceSession(str(model) if isinstance(model, Path) else model, options, providers=wanted)


def run_session(
    session: onnxruntime.InferenceSession, images: Pixels, rows: Sequence[int] | NDArray[np.int64]
) -> Floats:
    """Return the logits of these rows of the images."""
    batches = np.array_split(np.asarray(rows), max(1, -(-len(rows) // IMAGES_AT_ONCE)))
    logits = [
        session.run([LOGITS], {PIXELS: np.ascontiguousarray(images[batch])})[0] for batch in batches if len(batch)
    ]
    return np.concatenate(logits)
