"""Grad-CAM: where in an image a network found what speaks for a class (Selvaraju et al. 2017, arXiv 1610.02391)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stages.maps import as_maps, layouts, outputs_by_block


@dataclass(frozen=True)
class Evidence:
    """Where the output of a block speaks for a class: images x height x width, as many places as the block has.

    The strongest place of each image is 1, and one that speaks against the class, or not at all, is 0. Where nothing
    speaks for it, all are.
    """

    block: str
    heat: NDArray[np.float32]

    @property
    def told(self) -> str:
        """The block, and how many places it has."""
        height, width = self.heat.shape[1:]
        return f"{self.block}, {height} x {width} places"

    def enlarged(self, side: int) -> NDArray[np.float32]:
        """Return images x side x side: the heat enlarged bilinearly onto the images."""
        heat = torch.from_numpy(self.heat)[:, None]
        return functional.interpolate(heat, (side, side), mode="bilinear", align_corners=False)[:, 0].numpy()


def grad_cam(backbone: nn.Sequential, pixels: Tensor, targets: Tensor) -> Evidence | None:
    """Return the evidence in each image (N x 3 x H x W) for its target class (N), or None where nothing has places.

    It is taken at the deepest block before the head that has several places with gradients: a vision transformer's
    last layer passes on its class token alone, so that its patches get none, and the layer before it is taken. Where no
    block has any, nothing speaks for the class: SqueezeNet's logits, which are never below 0, may stand still there.
    Each channel weighs what its gradient is in the mean over places. The network must be in eval mode.
    """
    outputs = outputs_by_block(backbone, pixels.clone().requires_grad_())
    logits = outputs["head"].gather(1, targets[:, None]).sum()
    lying = layouts(backbone)
    gradients = torch.autograd.grad(logits, [outputs[name] for name in lying])
    found = []
    for (name, layout), gradient in zip(lying.items(), gradients, strict=True):
        maps, slopes = (as_maps(values.detach(), layout) for values in (outputs[name], gradient))
        if maps is not None and slopes is not None:
            found.append((name, maps, slopes))
    deepest = next((each for each in reversed(found) if each[2].any()), found[-1] if found else None)
    return None if deepest is None else Evidence(deepest[0], _weighed(*deepest[1:]).numpy())


def _weighed(maps: Tensor, slopes: Tensor) -> Tensor:
    """Return the positive part of the sum of the maps, each weighed by its mean slope, the largest of an image 1."""
    heat = (maps * slopes.mean(dim=(2, 3), keepdim=True)).sum(dim=1).relu()
    most = heat.amax(dim=(1, 2), keepdim=True)
    return heat / torch.where(most > 0, most, 1)
