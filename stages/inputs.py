"""What a suffix is fed: the prefix's output for an image and a view, computed live or once for all."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.augmentation import flip
from stages.backbones import scale_pixels
from stages.precision import autocast
from stages.prepared import Rows

Inputs = Callable[[Rows, int | None], Tensor]
"""Returns the suffix's input for some rows in one view; None is the image as it is."""

# Larger batches gain nothing on two cores. Below 16 images, other kernels are taken, whose last bits differ (float32).
PREFIX_BATCH = 128


def live_inputs(images: NDArray[np.uint8], backbone: str, flips: str, seed: int, device: torch.device) -> Inputs:
    """Return the inputs of a backbone without a prefix: scaled pixels, float32, N x 3 x H x W, channels_last."""

    def of(rows: Rows, view: int | None) -> Tensor:
        pixels = torch.from_numpy(images[rows])
        if view is not None:
            pixels = flip(pixels, rows, view, flips, seed)
        return scale_pixels(backbone, pixels.to(device))

    return of


def cached_inputs(
    prefix: nn.Sequential,
    live: Inputs,
    wanted: Mapping[int | None, Rows],
    precision: str,
    device: torch.device,
) -> tuple[Inputs, int]:
    """Return the prefix's outputs, computed once for the rows wanted in each view, and the bytes they take.

    A frozen prefix is a fixed function of the image, so that all epochs, seeds and learning rates may share them.
    """
    stores = {view: _prefix_outputs(prefix, live, rows, view, precision, device) for view, rows in wanted.items()}
    places = {view: _places(rows) for view, rows in wanted.items()}

    def of(rows: Rows, view: int | None) -> Tensor:
        outputs = stores[view][torch.from_numpy(places[view][rows])]
        return outputs.permute(0, 3, 1, 2) if outputs.dim() == 4 else outputs

    return of, sum(store.nbytes for store in stores.values())


@torch.inference_mode()
def _prefix_outputs(
    prefix: nn.Sequential, live: Inputs, rows: Rows, view: int | None, precision: str, device: torch.device
) -> Tensor:
    """Return the prefix's outputs with their channels last, so that a row is one contiguous piece of memory."""
    outputs = []
    for batch in in_batches(rows, PREFIX_BATCH):
        with autocast(precision, device):
            output = prefix(live(batch, view))
        outputs.append(output.permute(0, 2, 3, 1) if output.dim() == 4 else output)
    return torch.cat(outputs).contiguous()


def _places(rows: Rows) -> Rows:
    """Return the inverse of `rows`: where in it each row of images.npy stands, beyond its end for other rows."""
    places = np.full(int(rows.max()) + 1, len(rows), dtype=np.int64)
    places[rows] = np.arange(len(rows))
    return places


def in_batches(rows: Rows, batch_size: int) -> list[Rows]:
    """Return the rows in batches of nearly equal size, at most `batch_size`, so that none is a lonely remainder."""
    return np.array_split(rows, -(-len(rows) // batch_size))
