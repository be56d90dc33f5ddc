"""BatchNorm over a whole batch of which each process has a share.

torch's own, `SyncBatchNorm`, computes on GPUs alone. This one computes wherever the processes do, and takes the place
of whatever module calls `batch_norm`, so that no network is rebuilt for it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def normalize_together() -> AbstractContextManager[object]:
    """Return the context in which each process's BatchNorms learn from the values of all processes."""
    return _Normalizations()


class _Normalizations(TorchFunctionMode):
    """Sends every batch_norm that learns, of whatever module, through `batch_norm_together`."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return (batch_norm_together if function is functional.batch_norm else function)(*args, **(kwargs or {}))


def batch_norm_together(
    input: Tensor,  # noqa: A002 - torch's name for it, by which modules may pass it
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return the values (N x channels x ...) normalized by mean and variance over those of all processes.

    Where it does not learn, it is torch's own. The running variance is the unbiased one. Mean and variance are computed
    one after the other, in float32 at least, as a sum of squares alone would round.
    """
    if not training:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    axes, shape = [0, *range(2, input.dim())], [1, -1, *[1] * (input.dim() - 2)]
    values = input if input.dtype == torch.float64 else input.float()
    count = values.new_tensor(values.numel() // values.shape[1])
    distributed.all_reduce(count)
    mean: Tensor = _AddUp.apply(values.sum(axes)) / count
    centred = values - mean.view(shape)
    variance: Tensor = _AddUp.apply(centred.square().sum(axes)) / count
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
    scale = (variance + eps).rsqrt()
    normalized = centred * (scale if weight is None else scale * weight).view(shape)
    return (normalized if bias is None else normalized + bias.view(shape)).to(input.dtype)


class _AddUp(torch.autograd.Function):
    """The sum over all processes: each process's part counts in what all of them make of it."""

    @staticmethod
    def forward(_ctx: Any, mine: Tensor) -> Tensor:
        return _add_up(mine)

    @staticmethod
    @once_differentiable
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return _add_up(gradient)


def _add_up(mine: Tensor) -> Tensor:
    summed = mine.contiguous().clone()
    distributed.all_reduce(summed)
    return summed
