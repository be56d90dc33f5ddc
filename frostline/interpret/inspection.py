"""Inspection of a run: which images tell most, and what the network makes of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from frostline.backbones.adapters import build_for_plan, merge_adapters
from frostline.backbones.precision import compute_deterministically
from frostline.backbones.registry import scale_pixels
from frostline.backbones.runs import Run, load_backbone, read_run
from frostline.data.images import Prepared
from frostline.interpret.gradcam import Evidence, PartMaps, compute_activation_maps, compute_grad_cam
from frostline.interpret.weight_changes import Filters, Moved, find_first_filters, measure_movements
from frostline.params.schema import Plan


@dataclass(frozen=True)
class Case:
    """An image (uint8, H x W x 3) by its name, with the probability of each class, and its true class where known."""

    name: str
    pixels: NDArray[np.uint8]
    probabilities: list[float]
    actual: int | None

    @property
    def predicted(self) -> int:
        """The class of the highest probability."""
        return int(np.argmax(self.probabilities))

    @property
    def confidence(self) -> float:
        """The probability of the predicted class."""
        return float(self.probabilities[self.predicted])

    def rank_classes(self, count: int) -> list[int]:
        """Return the classes of the highest probabilities, at most so many, the highest first."""
        return [int(index) for index in np.argsort(-np.array(self.probabilities), kind="stable")[:count]]


def choose_cases(
    data: Prepared, predictions: pd.DataFrame, replicate: int, count: int
) -> tuple[list[Case], list[Case]]:
    """Return a replicate's worst mistakes and its confident hits on test, the surest first, at most so many of each.

    A worst mistake is a test image with a high probability of a wrong class. Of equally sure ones the first comes
    first.
    """
    its = predictions[predictions.replicate == replicate]
    probabilities = its[[f"probability_{name}" for name in data.classes]].to_numpy(np.float64)
    right = probabilities.argmax(1) == its.label.to_numpy()
    surest = np.argsort(-probabilities.max(1), kind="stable")

    def list_cases(places: Iterable[int]) -> list[Case]:
        rows = its.image.to_numpy()
        found = [(int(rows[place]), probabilities[place]) for place in places]
        return [
            Case(data.ids[row], np.array(data.images[row]), [*shares], int(data.labels[row])) for row, shares in found
        ]

    wrong, hits = surest[~right[surest]], surest[right[surest]]
    return list_cases(wrong[:count]), list_cases(hits[:count])


CHANNELS = 4
"""So many channels of each part are shown."""
MOST_FILTERS = 64


@dataclass(frozen=True)
class Opened:
    """One replicate of a run: its backbone as loaded and as trained, both in eval mode on the processor."""

    run: Run
    replicate: int
    loaded: nn.Sequential
    trained: nn.Sequential

    def scale_images(self, cases: Sequence[Case]) -> Tensor:
        """Return the cases' images as the backbone takes them."""
        return scale_pixels(self.run.backbone, torch.from_numpy(np.stack([case.pixels for case in cases])))


@dataclass(frozen=True)
class Inside:
    """What one replicate of a run looks for, finds and goes by.

    `groups` holds cases by what they have in common, `evidence` is of all of them in that order; the maps are of the
    case `mapped`. What a network without places cannot show is None or empty.
    """

    run: Run
    replicate: int
    filters: Filters | None
    mapped: Case
    maps: list[PartMaps]
    groups: dict[str, list[Case]]
    evidence: Evidence | None
    moved: list[Moved]

    @property
    def cases(self) -> list[Case]:
        """All cases, in the order of their groups."""
        return [case for cases in self.groups.values() for case in cases]

    @property
    def began(self) -> str:
        """What the weights before training are called."""
        return {"pretrained": "pretrained", "none": "random"}.get(self.run.definition["weights"], "as loaded")


def open_run(folder: Path) -> Opened:
    """Return the run of the folder as training with its first replicate began and left it.

    Training began with the same random numbers, so that a new head, or a network from scratch, comes out the same.
    """
    compute_deterministically(torch.device("cpu"))
    run = read_run(folder)
    replicate = int(next(iter(run.replicates)))
    trained = load_backbone(folder, replicate)
    torch.manual_seed(replicate)
    plan = Plan(**run.definition)
    loaded = merge_adapters(build_for_plan(run.backbone, plan.weights, len(run.classes), run.image_px, plan).eval())
    return Opened(run, replicate, loaded, trained)


def look_inside(opened: Opened, groups: dict[str, list[Case]], mapped: Case) -> Inside:
    """Return what is seen inside the run: maps of one case, and evidence for what all cases are taken for."""
    loaded, trained = opened.loaded, opened.trained
    cases = [case for those in groups.values() for case in those]
    return Inside(
        run=opened.run,
        replicate=opened.replicate,
        filters=find_first_filters(loaded, trained, MOST_FILTERS),
        mapped=mapped,
        maps=compute_activation_maps(loaded, trained, opened.scale_images([mapped]), CHANNELS),
        groups=groups,
        evidence=compute_grad_cam(
            trained, opened.scale_images(cases), torch.tensor([case.predicted for case in cases])
        ),
        moved=measure_movements(loaded, trained),
    )
