"""The audit: proof that what was frozen did not move."""

import hashlib

import torch
from torch import Tensor, nn


def frozen_digests(backbone: nn.Module) -> dict[str, str]:
    """Return the SHA-256 of every tensor that must stand still, by name.

    These are the parameters that need no gradient, and the buffers (such as BatchNorm's statistics) of modules none
    of whose own parameters learn; of a module without parameters, they are frozen while it is in eval mode.
    """
    return {name: _digest(tensor) for name, tensor in _frozen(backbone).items()}


def check_frozen(backbone: nn.Module, before: dict[str, str]) -> None:
    """Raise `RuntimeError`, naming the first tensor, when one is not what it was."""
    for name, tensor in (*backbone.named_parameters(), *backbone.named_buffers()):
        if name in before and _digest(tensor) != before[name]:
            raise RuntimeError(f"the audit found that {name} moved, although the plan freezes it")


def _frozen(backbone: nn.Module) -> dict[str, Tensor]:
    frozen: dict[str, Tensor] = {}
    for prefix, module in backbone.named_modules():
        own = dict(module.named_parameters(recurse=False))
        still = {name: parameter for name, parameter in own.items() if not parameter.requires_grad}
        if len(still) == len(own) and (own or not module.training):
            still |= dict(module.named_buffers(recurse=False))
        frozen |= {f"{prefix}.{name}".removeprefix("."): tensor for name, tensor in still.items()}
    return frozen


def _digest(tensor: Tensor) -> str:
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(raw.numpy().tobytes()).hexdigest()
