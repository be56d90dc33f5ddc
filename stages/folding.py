"""Folding: BatchNorm of a frozen prefix made part of the convolution before it, which saves a pass over its output."""

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


class _Tracer(fx.Tracer):
    """Sees convolutions and norms of any library as wholes, and dense blocks too, whose lists it cannot follow."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        whole = isinstance(module, nn.Conv2d | _BatchNorm | nn.ModuleDict)
        return whole or super().is_leaf_module(module, name)


def as_run(prefix: nn.Sequential, precision: str) -> nn.Sequential:
    """Return the frozen prefix as it runs in the precision: folded in bfloat16, in float32 as it is."""
    return fold_norms(prefix) if precision == "bfloat16" else prefix


def fold_norms(prefix: nn.Sequential) -> nn.Sequential:
    """Return the frozen prefix in modules of their own, in eval mode, with norms folded and weights in bfloat16.

    It computes the same function up to rounding, so that it is for bfloat16 alone: in float32 a prefix stays as it is.
    Tensors that stay as they are (norms that follow no convolution) are shared, which spares a copy of the weights.
    """
    folded = nn.Sequential()
    for name, part in _with_own_modules(prefix).eval().named_children():
        has_norms = any(isinstance(module, _BatchNorm) for module in part.modules())
        folded.add_module(name, _fold_part(part) if has_norms else part)
    for module in folded.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            _into_bfloat16(module)
    return folded.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _with_own_modules(prefix: nn.Sequential) -> nn.Sequential:
    """Return a copy of the modules with the same tensors in them."""
    tensors = [*prefix.parameters(), *prefix.buffers()]
    return copy.deepcopy(prefix, {id(tensor): tensor for tensor in tensors})


def _into_bfloat16(module: nn.Module) -> nn.Module:
    """Give the module parameters of its own in bfloat16; the tensors that it had stay what they are."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        setattr(module, name, nn.Parameter(parameter.detach().bfloat16(), requires_grad=False))
    return module


def _fold_part(part: nn.Module) -> nn.Module:
    tracer = _Tracer()
    graph = tracer.trace(part)
    vars(tracer).clear()  # fx holds on to it until Python looks for cycles, and it to the part's weights
    traced = fx.GraphModule(part, graph)
    modules = dict(traced.named_modules())
    for node in graph.nodes:
        norm = _called(modules, node)
        before: Any = node.args[0] if isinstance(norm, _BatchNorm) else None
        conv = _called(modules, before)
        if isinstance(norm, _BatchNorm) and isinstance(conv, nn.Conv2d) and _used_once(before):
            traced.set_submodule(before.target, _into_bfloat16(fuse_conv_bn_eval(conv, norm)))
            traced.set_submodule(str(node.target), _what_follows(norm))
    return traced


def _called(modules: dict[str, nn.Module], node: Any) -> nn.Module | None:
    """Return the module that the node calls, if it calls one."""
    return modules.get(str(node.target)) if isinstance(node, fx.Node) and node.op == "call_module" else None


def _used_once(node: Any) -> bool:
    """Return whether the convolution feeds its norm alone, and is called once."""
    calls = [each for each in node.graph.nodes if each.op == "call_module" and each.target == node.target]
    return len(node.users) == 1 and len(calls) == 1


def _what_follows(norm: nn.Module) -> nn.Module:
    """Return what a norm does beside normalising: timm's ones hold their activation."""
    return norm.act if isinstance(getattr(norm, "act", None), nn.Module) else nn.Identity()  # type: ignore[return-value]
