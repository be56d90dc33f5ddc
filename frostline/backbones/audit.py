"""The audit: proof that what was frozen stood still. It needs torch alone, and works on any `nn.Module`.

    before = digest_frozen(model)                   # when the model is frozen, before training
    ...                                             # train it with anything: a loop, Lightning, timm, fastai
    audit(model, before, optimizer)                 # raises AuditError, naming the first tensor that moved
    check_batch_mates(model.backbone, images)       # in the mode in which it is trained

It finds BatchNorm statistics that go on moving under `requires_grad = False`, momentum and weight decay that move what
was frozen in mid-run, and frozen tensors that are in the optimizer or have a gradient, moved or not.
"""

import ctypes
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class AuditError(RuntimeError):
    """Something frozen did not stand still; the message names it."""


def digest_frozen(model: nn.Module) -> dict[str, str]:
    """Return the SHA-256 of every tensor that must stand still, by name.

    These are the parameters that need no gradient; the buffers (such as BatchNorm's statistics) of modules not all of
    whose own parameters learn; and those of modules without parameters while they are in eval mode.
    """
    frozen: dict[str, str] = {}
    for prefix, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        still = {name: parameter for name, parameter in own.items() if not parameter.requires_grad}
        if still or not (own or module.training):
            still |= dict(module.named_buffers(recurse=False))
        frozen |= {f"{prefix}.{name}".removeprefix("."): _digest(tensor) for name, tensor in still.items()}
    return frozen


def audit(model: nn.Module, before: Mapping[str, str], optimizer: torch.optim.Optimizer | None = None) -> int:
    """Return how many frozen tensors stood still since `before`, or raise `AuditError` naming the first that did not.

    They have the same bytes, no gradient, and no place in the optimizer; and every parameter of the model either
    learns or is among them, so that trainable and frozen add up to the total.
    """
    # Tied weights have several names, and each of them is looked at.
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    optimized = {id(tensor) for group in (optimizer.param_groups if optimizer else ()) for tensor in group["params"]}
    for name, digest in before.items():
        if name not in tensors:
            raise AuditError(f"the audit found that {name} is gone, although it is frozen")
        if _digest(tensors[name]) != digest:
            raise AuditError(f"the audit found that {name} moved, although it is frozen")
        if tensors[name].grad is not None:
            raise AuditError(f"the audit found that {name} has a gradient, although it is frozen")
        if id(tensors[name]) in optimized:
            raise AuditError(f"the audit found that {name} is in the optimizer, although it is frozen")
    _check_sum(model, before)
    return len(before)


def check_loaded(first: Mapping[str, str], again: Mapping[str, str]) -> None:
    """Raise `AuditError`, naming the first tensor that differs, unless what was loaded again is what was at first."""
    for name in [*first, *again]:
        if first.get(name) != again.get(name):
            raise AuditError(f"the audit found that {name} is not what it was when it was loaded first")


def _check_sum(model: nn.Module, before: Mapping[str, str]) -> None:
    """Check that trainable + frozen = total, parameter by parameter."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name in before:
            raise AuditError(f"the audit found that {name} learns, although it is frozen")
        if not parameter.requires_grad and name not in before:
            raise AuditError(f"the audit found that {name} neither learns nor was frozen when training began")


@torch.no_grad()
def check_batch_mates(prefix: Callable[[Tensor], Any], images: Tensor) -> None:
    """Raise `AuditError` unless the prefix gives an image the same output, bit for bit, whatever is beside it.

    `images`: two at least, N x anything. The first half is shown twice, each time beside other images. BatchNorm in
    train mode and active dropout do not pass; the message names the first module of a prefix whose output differs.
    """
    half = len(images) // 2
    shown = [images, torch.cat([images[:half], -images[half:]])]
    first, again = (_digest_first(prefix(images), half) for images in shown)
    if first != again:
        culprit = _find_first_difference(prefix, shown) if isinstance(prefix, nn.Module) else None
        hint = f": {culprit} is where it begins" if culprit else ""
        raise AuditError(f"the audit found that what the prefix makes of an image depends on its batch mates{hint}")


def _find_first_difference(prefix: nn.Module, shown: Sequence[Tensor]) -> str | None:
    """Return the name of the first module that is given the same images each time and makes something else of them."""
    names = {module: name for name, module in prefix.named_modules()}
    given: list[list[str]] = []
    calls: list[tuple[str, list[str], list[str]]] = []

    def enter(_module: nn.Module, inputs: Any) -> None:
        given.append(_digest_half(inputs))

    def leave(module: nn.Module, _inputs: Any, output: Any) -> None:
        calls.append((names[module], given.pop(), _digest_half(output)))

    hooks = [module.register_forward_pre_hook(enter) for module in names]
    hooks += [module.register_forward_hook(leave) for module in names]
    for images in shown:
        prefix(images)
    for hook in hooks:
        hook.remove()
    pairs = zip(calls[: len(calls) // 2], calls[len(calls) // 2 :], strict=True)
    return next((one[0] for one, other in pairs if one[1] == other[1] and one[2] != other[2]), None)


def _digest_first(value: Any, images: int) -> list[str]:
    return [_digest(tensor[:images]) for tensor in (value if isinstance(value, tuple) else (value,))]


def _digest_half(value: Any) -> list[str]:
    tensors = value if isinstance(value, tuple | list) else [value]
    return [_digest(tensor[: len(tensor) // 2]) for tensor in tensors if isinstance(tensor, Tensor) and tensor.dim()]


def _digest(tensor: Tensor) -> str:
    raw = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{raw.dtype} {tuple(raw.shape)} ".encode())
    if raw.nbytes:
        digest.update((ctypes.c_ubyte * raw.nbytes).from_address(raw.data_ptr()))
    return digest.hexdigest()
