"""Folding: a frozen prefix as it runs, its norms folded into the convolutions before them."""

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from frostline.backbones.precision import SameConvolution
from frostline.networks.segments import flatten


class _Tracer(fx.Tracer):
    """Sees convolutions and norms of any library as wholes, and dense blocks too, whose lists it cannot follow."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        whole = isinstance(module, nn.Conv2d | _BatchNorm | nn.ModuleDict)
        return whole or super().is_leaf_module(module, name)


def prepare_prefix(prefix: nn.Sequential, precision: str, image_px: int | None = None) -> nn.Sequential:
    """Return the frozen prefix as it runs: in modules of their own, in eval mode, with norms folded.

    It computes the same function up to rounding, which is checked on images of the side that is given. In bfloat16
    weights are converted once, after convolutions were folded. Tensors that stay as they are (norms that follow no
    convolution) are shared, which spares a copy.
    """
    folded = fold_norms(prefix, image_px)
    for name, module in list(folded.named_modules()):
        if precision == "bfloat16" and isinstance(module, nn.Conv2d | nn.Linear):
            _convert_to_bfloat16(module)
        if type(module).__name__ == "Conv2dSame":  # timm's; to import it for its type's sake takes half a second
            folded.set_submodule(name, SameConvolution(module))
    return folded.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def fold_norms(parts: nn.Sequential, image_px: int | None = None) -> nn.Sequential:
    """Return the parts in eval mode and in modules of their own, with norms folded into the convolutions before them.

    Where a side is given, it is checked on images of it that each block computes the same up to rounding.
    """
    folded = nn.Sequential()
    copied = _copy_modules(parts).eval()
    features = None if image_px is None else _draw_images(parts, image_px)
    for name, part in copied.named_children():
        folded.add_module(name, nn.Sequential())
        for place, block in part.named_children():
            kept, features = _fold_block(block, features)
            folded.get_submodule(name).add_module(place, kept)
    return folded


def _copy_modules(prefix: nn.Sequential) -> nn.Sequential:
    """Return a copy of the modules with the same tensors in them."""
    tensors = [*prefix.parameters(), *prefix.buffers()]
    return copy.deepcopy(prefix, {id(tensor): tensor for tensor in tensors})


def _draw_images(prefix: nn.Module, image_px: int) -> Tensor | None:
    """Return two images of noise where the prefix lies, or none if it lies nowhere or has nothing to fold."""
    tensor = next(prefix.parameters(), None)
    has_norms = any(isinstance(module, _BatchNorm) for module in prefix.modules())
    if tensor is None or tensor.is_meta or not has_norms:
        return None
    return torch.randn(2, 3, image_px, image_px, generator=torch.Generator().manual_seed(0)).to(tensor.device)


def _convert_to_bfloat16(module: nn.Module) -> None:
    """Give the module parameters of its own in bfloat16; the tensors that it had stay what they are."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        setattr(module, name, nn.Parameter(parameter.detach().bfloat16(), requires_grad=False))


LARGEST_ROUNDING = 0.01
"""Share of a block's largest output by which folding may change an output: what is more is no rounding."""


@torch.no_grad()
def _fold_block(block: nn.Module, features: Any) -> tuple[nn.Module, Any]:
    """Return the block with its norms folded, and what it makes of the features, if there are any.

    It stays as it is where its code does not let itself be followed, or its folded form gives something else.
    """
    made = None if features is None else block(features)
    if not any(isinstance(module, _BatchNorm) for module in block.modules()):
        return block, made
    tracer = _Tracer()
    try:
        traced = fx.GraphModule(block, tracer.trace(block))
    except Exception:  # noqa: BLE001 - a network's code may raise anything about stand-ins for tensors
        return block, made
    finally:
        vars(tracer).clear()  # fx holds on to it until Python looks for cycles, and it to the block's weights
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        norm = _get_called_module(modules, node)
        before: Any = node.args[0] if isinstance(norm, _BatchNorm) else None
        conv = _get_called_module(modules, before)
        # A norm that will not sleep stays as it is: the audit finds it.
        if isinstance(norm, _BatchNorm) and isinstance(conv, nn.Conv2d) and not norm.training and _is_used_once(before):
            traced.set_submodule(before.target, fuse_conv_bn_eval(conv, norm))
            traced.set_submodule(str(node.target), _find_activation(norm))
    return (traced if made is None or _are_near(made, traced.eval()(features)) else block), made


def _are_near(made: Any, folded: Any) -> bool:
    pairs = [pair for pair in zip(flatten(made), flatten(folded), strict=True) if isinstance(pair[0], Tensor)]
    return all(float((one - other).abs().max()) <= LARGEST_ROUNDING * float(one.abs().max()) for one, other in pairs)


def _get_called_module(modules: dict[str, nn.Module], node: Any) -> nn.Module | None:
    """Return the module that the node calls, if it calls one."""
    return modules.get(str(node.target)) if isinstance(node, fx.Node) and node.op == "call_module" else None


def _is_used_once(node: Any) -> bool:
    """Return whether the convolution feeds its norm alone, and is called once."""
    calls = [other for other in node.graph.nodes if other.op == "call_module" and other.target == node.target]
    return len(node.users) == 1 and len(calls) == 1


def _find_activation(norm: nn.Module) -> nn.Module:
    """Return what a norm does beside normalising: timm's ones hold their activation."""
    return norm.act if isinstance(getattr(norm, "act", None), nn.Module) else nn.Identity()  # type: ignore[return-value]
