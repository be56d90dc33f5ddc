"""What is seen inside a trained run: filters, maps, evidence and movement, before and after training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stages.backbones import build_backbone, scale_pixels
from stages.cases import Case
from stages.filters import Filters, first_filters
from stages.gradcam import Evidence, grad_cam
from stages.maps import PartMaps, activation_maps
from stages.movement import Moved, moved_by_part
from stages.precision import compute_deterministically
from stages.runs import Run, load_backbone, read_run

CHANNELS = 4
"""So many channels of each part are shown."""
MOST_FILTERS = 64


@dataclass(frozen=True)
class Opened:
    """One seed of a run: its backbone as it was loaded and as it was trained, both in eval mode on the processor."""

    run: Run
    seed: int
    loaded: nn.Sequential
    trained: nn.Sequential

    def scaled(self, cases: Sequence[Case]) -> Tensor:
        """Return the cases' images as the backbone takes them."""
        return scale_pixels(self.run.backbone, torch.from_numpy(np.stack([case.pixels for case in cases])))


@dataclass(frozen=True)
class Inside:
    """What one seed of a run looks for, finds and goes by.

    `groups` holds cases by what they have in common, `evidence` is of all of them in that order; the maps are of the
    case `mapped`. What a network without places cannot show is None or empty.
    """

    run: Run
    seed: int
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
    """Return the run of the folder as training with its first seed began and left it.

    Training began with the same random numbers, so that a new head, or a network from scratch, comes out the same.
    """
    compute_deterministically(torch.device("cpu"))
    run = read_run(folder)
    seed = int(next(iter(run.seeds)))
    trained = load_backbone(folder, seed)
    torch.manual_seed(seed)
    loaded = build_backbone(run.backbone, run.definition["weights"], len(run.classes)).eval()
    return Opened(run, seed, loaded, trained)


def look_inside(opened: Opened, groups: dict[str, list[Case]], mapped: Case) -> Inside:
    """Return what is seen inside the run: maps of one case, and evidence for what all cases are taken for."""
    loaded, trained = opened.loaded, opened.trained
    cases = [case for those in groups.values() for case in those]
    return Inside(
        run=opened.run,
        seed=opened.seed,
        filters=first_filters(loaded, trained, MOST_FILTERS),
        mapped=mapped,
        maps=activation_maps(loaded, trained, opened.scaled([mapped]), CHANNELS),
        groups=groups,
        evidence=grad_cam(trained, opened.scaled(cases), torch.tensor([case.predicted for case in cases])),
        moved=moved_by_part(loaded, trained),
    )
