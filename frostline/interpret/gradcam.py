"""Grad-CAM and activation maps: what a network answers to an image, and what of it speaks for a class."""

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from frostline.networks.segments import flatten


@dataclass(frozen=True)
class PartMaps:
    """What some channels of a part found in one image: channels x height x width, before and after training."""

    part: str
    block: str
    channels: list[int]
    before: NDArray[np.float32]
    after: NDArray[np.float32]

    @property
    def difference(self) -> float:
        """The norm of what changed in these channels, as a share of the larger of both norms: 0 is the same."""
        changed, before, after = (
            float(np.linalg.norm(values)) for values in (self.after - self.before, self.before, self.after)
        )
        return changed / max(before, after) if changed else 0.0


MOST_EXTRA_TOKENS = 8
"""Tokens that a transformer may have beside those of places: one for the class, and registers."""


def collect_outputs(backbone: nn.Sequential, pixels: Tensor) -> dict[str, Tensor]:
    """Return what each block gives, by its name, up to the head, whose output, the logits, stands under "head".

    Of several tensors it is the one that tells places apart. Each is handed on as a copy: some blocks write over what
    they are fed.
    """
    outputs: dict[str, Tensor] = {}
    features: Any = pixels
    for part, blocks in backbone.named_children():
        if part == "head":
            outputs[part] = blocks(features)
            continue
        for name, block in blocks.named_children():
            made = block(features)
            outputs[f"{part}.{name}"] = _choose_tensor(made)
            features = _copy(made)
    return outputs


def _choose_tensor(made: Any) -> Tensor:
    tensors = [value for value in flatten(made) if isinstance(value, Tensor)]
    return next((tensor for tensor in tensors if arrange_as_maps(tensor) is not None), tensors[0])


def _copy(made: Any) -> Any:
    if isinstance(made, tuple | list):
        return type(made)(_copy(value) for value in made)
    return made.clone() if isinstance(made, Tensor) else made


def arrange_as_maps(values: Tensor) -> Tensor | None:
    """Return a block's output as N x C x H x W, or None where it does not tell several places of a square apart.

    It may be N x H x W x C, as between Swin's blocks, which is seen by its equal sides. Of tokens, N x T x C, the last
    lie in rows of a square; the first, of the class or registers, have no place.
    """
    if values.dim() == 3:
        side = isqrt(values.shape[1])
        extra = values.shape[1] - side**2
        if side < 2 or extra > MOST_EXTRA_TOKENS:
            return None
        return values[:, extra:].transpose(1, 2).reshape(len(values), -1, side, side)
    if values.dim() != 4:
        return None
    maps = values if values.shape[2] == values.shape[3] else values.permute(0, 3, 1, 2)
    return maps if maps.shape[2] == maps.shape[3] > 1 else None


def collect_maps(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the maps, N x C x H x W, of those blocks before the head that have any, shallow to deep."""
    maps = {name: arrange_as_maps(values) for name, values in outputs.items() if name != "head"}
    return {name: values for name, values in maps.items() if values is not None}


@torch.no_grad()
def compute_activation_maps(
    loaded: nn.Sequential, trained: nn.Sequential, pixels: Tensor, count: int
) -> list[PartMaps]:
    """Return what the last block with places of each part finds in the image (1 x 3 x H x W), shallow to deep.

    The `count` channels are those whose response after training differs the most between places (by its standard
    deviation), the same ones before. The strongest responses would show less: many a channel of EfficientNet-Lite is
    at its upper limit in every place. A part whose output has no places is left out.
    """
    before, after = (collect_maps(collect_outputs(backbone, pixels)) for backbone in (loaded, trained))
    last = {name.partition(".")[0]: name for name in after}
    found = []
    for part, block in last.items():
        spread = after[block][0].flatten(1).double().std(dim=1, correction=0)
        channels = spread.argsort(descending=True, stable=True)[:count]
        maps = [blocks[block][0, channels].float().numpy() for blocks in (before, after)]
        found.append(PartMaps(part, block, channels.tolist(), *maps))
    return found


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

    def enlarge(self, side: int) -> NDArray[np.float32]:
        """Return images x side x side: the heat enlarged bilinearly onto the images."""
        heat = torch.from_numpy(self.heat)[:, None]
        return functional.interpolate(heat, (side, side), mode="bilinear", align_corners=False)[:, 0].numpy()


def compute_grad_cam(backbone: nn.Sequential, pixels: Tensor, targets: Tensor) -> Evidence | None:
    """Return the evidence in each image (N x 3 x H x W) for its target class (N), or None where nothing has places.

    It is taken at the deepest block before the head that has several places with gradients: a vision transformer's
    last layer passes on its class token alone, so that its patches get none, and the layer before it is taken. Where no
    block has any, nothing speaks for the class: SqueezeNet's logits, which are never below 0, may stand still there.
    Each channel weighs what its gradient is in the mean over places. The network must be in eval mode.
    """
    outputs = collect_outputs(backbone, pixels.clone().requires_grad_())
    logits = outputs["head"].gather(1, targets[:, None]).sum()
    blocks = {name: values for name, values in outputs.items() if name != "head"}
    gradients = torch.autograd.grad(logits, [*blocks.values()], materialize_grads=True)
    found = []
    for (name, values), gradient in zip(blocks.items(), gradients, strict=True):
        maps, slopes = arrange_as_maps(values.detach()), arrange_as_maps(gradient)
        if maps is not None and slopes is not None:
            found.append((name, maps, slopes))
    deepest = next((block for block in reversed(found) if block[2].any()), found[-1] if found else None)
    return None if deepest is None else Evidence(deepest[0], _weigh_maps(*deepest[1:]).numpy())


def _weigh_maps(maps: Tensor, slopes: Tensor) -> Tensor:
    """Return the positive part of the sum of the maps, each weighed by its mean slope, the largest of an image 1."""
    heat = (maps * slopes.mean(dim=(2, 3), keepdim=True)).sum(dim=1).relu()
    most = heat.amax(dim=(1, 2), keepdim=True)
    return heat / torch.where(most > 0, most, 1)
