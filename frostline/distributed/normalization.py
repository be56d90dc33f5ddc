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

    Where it does not learn, it is torch's own. The running variance is the unbiased one.
    """
    if not training:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    output: Tensor
    output, mean, variance, count = _Normalization.apply(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
    return output


class _Normalization(torch.autograd.Function):
    """What torch's kernels do for one process's values, by the statistics of all; returns these too.

    Processes tell each other three numbers a channel forward and two backward.
    """

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        kind = torch.float64 if values.dtype == torch.float64 else torch.float32
        zeros = values.new_zeros(values.shape[1], dtype=kind)
        mean, variance = torch.ops.aten.batch_norm_update_stats(values, zeros, zeros + 1, 0.0)
        mean, variance, count = _join(mean, variance, values.numel() // values.shape[1])
        ctx.save_for_backward(values, weight, mean, variance, count)
        ctx.eps = eps
        output = functional.batch_norm(values, mean, variance, weight, bias, training=False, eps=eps)
        ctx.mark_non_differentiable(mean, variance, count)
        return output, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, variance, count = ctx.saved_tensors
        of_values, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, values, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        summed = torch.stack([of_weight, of_bias])
        distributed.all_reduce(summed)
        # Mean and variance move with each value: that takes off a line in it, of the channel's slope and height.
        scale = (variance + ctx.eps).rsqrt()
        each = (scale if weight is None else scale * weight) / count
        slope = each * scale * summed[0]
        height = each * summed[1] - slope * mean
        still = torch.zeros_like(mean), torch.full_like(mean, 1 - ctx.eps)
        of_values -= functional.batch_norm(values, *still, slope, height, training=False, eps=ctx.eps)
        wanted = ctx.needs_input_grad
        return of_values, of_weight if wanted[1] else None, of_bias if wanted[2] else None, None


def _join(mean: Tensor, variance: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, variance and count, of each channel, over the values of all processes."""
    mine = torch.stack([mean, variance, torch.full_like(mean, count)])
    everybody = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everybody, mine)
    means, variances, counts = torch.stack(everybody, 1)
    whole = counts.sum(0)
    shares = counts / whole
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0), whole
