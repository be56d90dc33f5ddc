"""Pixels and their views."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from frostline.data.augmentation import Augmenter
from frostline.params.schema import Augmentation
from tests.toys import AS_THEY_ARE

IDS = [f"cells/{row:04}.png" for row in range(12)]


PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 24, 24, 3), dtype=np.uint8))


def asking(**changes: object) -> Augmentation:
    return AS_THEY_ARE.model_copy(update=changes)


def seen(ids: list[str], view: int | None, how: Augmentation, seed: int = 0) -> Tensor:
    """Return these images of IDS in the view."""
    return Augmenter.of(IDS, how, seed)(PIXELS[[IDS.index(each) for each in ids]], rows(ids), view)


def rows(ids: list[str]) -> Any:
    return np.array([IDS.index(each) for each in ids])
