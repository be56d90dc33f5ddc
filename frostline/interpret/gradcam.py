"""Grad-CAM and activation maps: what a network answers to an image, and what of it speaks for a class."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops.misc import Permute

CHANNELS_FIRST, CHANNELS_LAST, POOLED = "channels first", "channels last", "pooled"
"""How a block's output lies: N x C x H x W, or N x H x W x C as between Swin's blocks, or as pooling leaves it.

What pooling leaves tells of no places, even where it has several: AlexNet's pooling repeats the one that it is fed.
"""


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


def collect_outputs(backbone: nn.Sequential, pixels: Tensor) -> dict[str, Tensor]:
    """Return what each block gives, by its name, up to the head, whose output, the logits, stands under "head".

    Each is handed on as a copy: some blocks write over what they are fed.
    """
    outputs = {}
    for part, blocks in backbone.named_children():
        if part == "head":
            outputs[part] = blocks(pixels)
            continue
        for name, block in blocks.named_children():
            outputs[f"{part}.{name}"] = block(pixels)
            pixels = outputs[f"{part}.{name}"].clone()
    return outputs


def find_layouts(backbone: nn.Sequential) -> dict[str, str]:
    """Return how the output of each block before the head lies: the last permutation up to there decides."""
    found, layout = {}, CHANNELS_FIRST
    for part, blocks in backbone.named_children():
        for name, block in blocks.named_children() if part != "head" else ():
            for module in block.modules():
                if isinstance(module, Permute):
                    layout = CHANNELS_LAST if list(module.dims) == [0, 2, 3, 1] else CHANNELS_FIRST
            found[f"{part}.{name}"] = POOLED if isinstance(block, nn.AdaptiveAvgPool2d) else layout
    return found


def arrange_as_maps(values: Tensor, layout: str) -> Tensor | None:
    """Return a block's output as N x C x H x W, or None where it does not tell several places apart.

    Of tokens, N x T x C, the first is the class token, which has no place; the others lie in rows of a square.
    """
    if values.dim() == 3:
        side = round((values.shape[1] - 1) ** 0.5)
        square = side > 1 and values.shape[1] == side**2 + 1
        return values[:, 1:].transpose(1, 2).reshape(len(values), -1, side, side) if square else None
    if values.dim() != 4 or layout == POOLED:
        return None
    maps = values.permute(0, 3, 1, 2) if layout == CHANNELS_LAST else values
    return maps if maps.shape[2] * maps.shape[3] > 1 else None


def collect_maps(backbone: nn.Sequential, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the maps, N x C x H x W, of those blocks before the head that have any, shallow to deep."""
    maps = {name: arrange_as_maps(outputs[name], layout) for name, layout in find_layouts(backbone).items()}
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
    before, after = (collect_maps(backbone, collect_outputs(backbone, pixels)) for backbone in (loaded, trained))
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
    lying = find_layouts(backbone)
    gradients = torch.autograd.grad(logits, [outputs[name] for name in lying])
    found = []
    for (name, layout), gradient in zip(lying.items(), gradients, strict=True):
        maps, slopes = (arrange_as_maps(values.detach(), layout) for values in (outputs[name], gradient))
        if maps is not None and slopes is not None:
            found.append((name, maps, slopes))
    deepest = next((block for block in reversed(found) if block[2].any()), found[-1] if found else None)
    return None if deepest is None else Evidence(deepest[0], _weigh_maps(*deepest[1:]).numpy())


def _weigh_maps(maps: Tensor, slopes: Tensor) -> Tensor:
    """Return the positive part of the sum of the maps, each weighed by its mean slope, the largest of an image 1."""
    heat = (maps * slopes.mean(dim=(2, 3), keepdim=True)).sum(dim=1).relu()
    most = heat.amax(dim=(1, 2), keepdim=True)
    return heat / torch.where(most > 0, most, 1)
