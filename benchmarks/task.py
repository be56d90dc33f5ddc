"""What every script is asked to do, and what it answers: the terms on which the scripts are compared."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

WEIGHT_DECAY = 0.01
"""torch's own default for AdamW, so that no script needs to say it."""

MANY = 30
"""Epochs to which a training is extrapolated: those of the study of bean leaves that this project continues."""

MEASURED = 2
"""Epochs of a training whose speed is measured."""


@dataclass(frozen=True)
class Task:
    """One training from a fresh start. `plan` names the first part that learns; all after it learn too.

    `folder` holds the working set as `images.arrange` left it. `steps` ends every epoch after so many batches, for
    those who only want to see how much memory one takes; 0 shows all images. This project trains so many `fits` side by
    side, as a study has many, and tells the seconds of one; the other scripts train one in all threads.
    """

    folder: str
    backbone: str
    weights: str
    plan: str
    classes: int
    image_px: int
    batch_size: int
    epochs: int = 1
    learning_rate: float = 1e-4
    seed: int = 0
    steps: int = 0
    fits: int = 1

    @property
    def images(self) -> Path:
        """The folder of split folders of class folders."""
        return Path(self.folder) / "images"

    @property
    def prepared(self) -> Path:
        """The same images as this project prepares them."""
        return Path(self.folder) / "prepared"

    def write_json(self) -> str:
        """Return the task as text that `from_json` understands."""
        return json.dumps(asdict(self))

    @classmethod
    def read_json(cls, text: str) -> "Task":
        """Return the task that `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Outcome:
    """What a training cost and came to.

    `start_seconds` is all that is no epoch: building, freezing, auditing, and `prefix_seconds` within it; for this
    project also the start of processes, and a checkpoint after each epoch that was measured. Of each epoch, its
    validation included: the seconds, and the accuracy on the validation images.
    """

    start_seconds: float
    prefix_seconds: float
    epoch_seconds: list[float]
    accuracies: list[float]


Script = Callable[[Task], Outcome]
"""Trains as the task says."""
