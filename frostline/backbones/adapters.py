"""Adapters: low-rank matrices that learn beside frozen layers (LoRA), and heads on what an earlier part makes."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from frostline.backbones.registry import build_backbone
from frostline.constants import PARTS
from frostline.errors import InputError, join_names, quote_error
from frostline.networks.segments import flatten
from frostline.networks.tracing import IMAGES, empty
from frostline.params.schema import Adapt, Plan


def build_for_plan(
    name: str, weights: str, classes: int, image_px: int, plan: Plan, where: str = "a plan"
) -> nn.Sequential:
    """Return the backbone as the plan has it: ended where its head comes earlier, with the adapters of its phases.

    The new layers are drawn from torch's global generator after all that other plans have too. Raises `InputError` as
    `build_backbone` does, and about parts in which there is nothing to adapt.
    """
    backbone = build_backbone(name, weights, classes, image_px)
    if plan.head_after is not None:
        end_after(backbone, plan.head_after, classes, image_px, where)
    ranks: dict[str, int] = {}
    for adapt in (depth.adapt for depth in plan.depths if depth.adapt):
        for layer in list_adaptable(backbone, adapt, image_px, where):
            if ranks.setdefault(layer, adapt.lora) != adapt.lora:
                must = f"adapt {layer.partition('.')[0]} with the same rank in all phases"
                raise InputError.of(where, must, f"{ranks[layer]} and {adapt.lora}")
    for layer, rank in ranks.items():
        module: Any = backbone.get_submodule(layer)
        backbone.set_submodule(layer, ADAPTED[type(module)](module, rank))
    return backbone


def list_adaptable(backbone: nn.Sequential, adapt: Adapt, image_px: int, where: str) -> list[str]:
    """Return the names of the linear layers and dense convolutions of these parts or blocks, in their order.

    Depthwise convolutions are left, whose filters see one channel and have no rank to lower, and layers whose weights
    the network reads without calling them, as torchvision's attention does.
    """
    called = _list_called(backbone, image_px, where)
    found = []
    for place in adapt.parts:
        if place.partition(".")[0] not in PARTS[:-1] or place not in dict(backbone.named_modules()):
            must = f"adapt {join_names(PARTS[:-1])}, or their blocks"
            raise InputError.of(where, must, repr(place), "The head learns anyway.")
        inside = [name for name in called if name == place or name.startswith(f"{place}.")]
        if not inside:
            must = "adapt what has linear layers or dense convolutions"
            raise InputError.of(where, must, f"{place!r}, which has none")
        found += inside
    return found


def _show(bare: nn.Module, images: int, image_px: int, where: str) -> Any:
    """Return what the backbone, which has no data, makes of images without data."""
    try:
        with torch.no_grad():
            return bare(torch.empty(images, 3, image_px, image_px, device="meta"))
    except (NotImplementedError, RuntimeError) as error:
        must = "name no adapt and no head_after with a network whose code asks for values"
        raise InputError.of(where, must, quote_error(error)) from None


def _list_called(backbone: nn.Sequential, image_px: int, where: str) -> list[str]:
    """Return the layers that can be adapted and are called when the backbone is shown an image."""
    bare = empty(backbone).eval()
    layers = {module: name for name, module in bare.named_modules() if _is_adaptable(module)}
    called: list[str] = []
    hooks = [layer.register_forward_hook(lambda layer, *_: called.append(layers[layer])) for layer in layers]
    _show(bare, 1, image_px, where)
    for hook in hooks:
        hook.remove()
    return list(dict.fromkeys(called))


def _is_adaptable(module: nn.Module) -> bool:
    return type(module) is nn.Linear or (type(module) is nn.Conv2d and module.groups == 1)


class AdaptedLinear(nn.Linear):
    """A linear layer, frozen, to whose output is added that of two matrices of low rank (Hu et al. 2021).

    The first, rank x inputs, is drawn as a linear layer's; the second, outputs x rank, begins with zeros, so that the
    layer begins as it was. Their product is taken as it is: the learning rate, which is chosen, scales it.
    """

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        """Take the layer's tensors; the rank is at most that of its weight."""
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        rank = min(rank, layer.in_features, layer.out_features)
        self.lora_down = nn.Parameter(layer.weight.new_empty(rank, layer.in_features))
        self.lora_up = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_down, a=math.sqrt(5))

    def forward(self, features: Tensor) -> Tensor:
        """Return the layer's output, and beside it that of the two matrices."""
        low = functional.linear(features, self.lora_down)
        return super().forward(features) + functional.linear(low, self.lora_up)

    def merge(self) -> nn.Linear:
        """Return a plain layer that gives the same up to rounding."""
        merged = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        merged.weight, merged.bias = nn.Parameter(self.weight + self.lora_up @ self.lora_down), self.bias
        return merged


class AdaptedConvolution(nn.Conv2d):
    """A convolution, frozen, to whose output is added that of one to few channels and one of single pixels from them.

    That is LoRA of the kernel as a matrix, outputs x (inputs x height x width).
    """

    def __init__(self, layer: nn.Conv2d, rank: int) -> None:
        """Take the layer's tensors; the rank is at most the number of its channels."""
        how: Any = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "device": "meta"}
        kernel: Any = layer.kernel_size
        super().__init__(
            layer.in_channels, layer.out_channels, kernel, bias=layer.bias is not None,
            padding_mode=layer.padding_mode, **how,
        )  # fmt: skip
        self.weight, self.bias = layer.weight, layer.bias
        rank = min(rank, layer.in_channels, layer.out_channels)
        self.lora_down = nn.Parameter(layer.weight.new_empty(rank, *layer.weight.shape[1:]))
        self.lora_up = nn.Parameter(layer.weight.new_zeros(layer.out_channels, rank, 1, 1))
        nn.init.kaiming_uniform_(self.lora_down, a=math.sqrt(5))

    def forward(self, images: Tensor) -> Tensor:
        """Return the layer's output, and beside it that of the two convolutions."""
        low = self._conv_forward(images, self.lora_down, None)
        return super().forward(images) + functional.conv2d(low, self.lora_up)

    def merge(self) -> nn.Conv2d:
        """Return a plain layer that gives the same up to rounding."""
        how: Any = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "device": "meta"}
        kernel: Any = self.kernel_size
        merged = nn.Conv2d(
            self.in_channels, self.out_channels, kernel, bias=self.bias is not None,
            padding_mode=self.padding_mode, **how,
        )  # fmt: skip
        product = (self.lora_up.flatten(1) @ self.lora_down.flatten(1)).view_as(self.weight)
        merged.weight, merged.bias = nn.Parameter(self.weight + product), self.bias
        return merged


ADAPTED: dict[type[nn.Module], Any] = {nn.Linear: AdaptedLinear, nn.Conv2d: AdaptedConvolution}


@torch.no_grad()
def merge_adapters(backbone: nn.Sequential) -> nn.Sequential:
    """Return the backbone with what its adapters learned in its weights, under the names of one without."""
    for name, module in list(backbone.named_modules()):
        if isinstance(module, AdaptedLinear | AdaptedConvolution):
            backbone.set_submodule(name, module.merge().train(module.training))
    return backbone


def end_after(backbone: nn.Sequential, part: str, classes: int, image_px: int, where: str) -> None:
    """Give the backbone a head on the mean over places of what the part makes, and take away all after it."""
    last = PARTS.index(part)
    if not [*backbone.get_submodule(part).children()]:
        raise InputError.of(f"{where}, head_after,", "name a part that has blocks", f"{part!r}, which has none")
    for name in PARTS[last + 1 :]:
        backbone.set_submodule(name, nn.Sequential())
    made = _show(empty(backbone).eval(), IMAGES, image_px, where)
    head = EarlyHead(made, classes)
    backbone.get_submodule("head").add_module("0", head.train(backbone.training))


class EarlyHead(nn.Module):
    """The mean over the places of maps, or over tokens, and logits of it."""

    def __init__(self, made: Any, classes: int) -> None:
        """Take what it is fed for `IMAGES` images: of several tensors with a row for each the largest is read."""
        super().__init__()
        values = flatten(made)
        of_images = [isinstance(value, Tensor) and value.dim() > 1 and len(value) == IMAGES for value in values]
        sizes = [value.numel() if is_row else 0 for value, is_row in zip(values, of_images, strict=True)]
        self._place = sizes.index(max(sizes))
        shape = values[self._place].shape
        # N x C x H x W, or N x H x W x C, which is seen by its equal sides, or N x T x C
        self._over = (2, 3) if len(shape) == 4 and shape[2] == shape[3] else tuple(range(1, len(shape) - 1))
        self.logits = nn.Linear(shape[1] if self._over == (2, 3) else shape[-1], classes)

    def forward(self, features: Any) -> Tensor:
        """Return the logits, N x classes."""
        values: Tensor = flatten(features)[self._place]
        logits: Tensor = self.logits(values.mean(self._over) if self._over else values)
        return logits
