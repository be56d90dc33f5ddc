"""The optimizer: AdamW, on tensors in the order in which they lie in memory."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class FusedAdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019) in one pass over memory, for weights in channels_last too.

    torch's own fused kernel on a processor copies every gradient that is not contiguous and does not use the copy,
    which is 4 to 9 % of a training step of ResNet18; and where gradient and weight lie in different orders, it pairs
    the wrong elements without a word. Here both are seen as the weight lies, contiguous.
    """

    def __init__(self, parameters: Sequence[Tensor], learning_rate: float, weight_decay: float) -> None:
        """Take the parameters that learn; `weight_decay` is decoupled."""
        super().__init__(list(parameters), lr=learning_rate, weight_decay=weight_decay, fused=True)

    def _init_group(self, group: dict[str, Any], *lists: list[Tensor]) -> bool:
        has_complex: bool = super()._init_group(group, *lists)  # type: ignore[no-untyped-call]
        parameters, gradients, means, squares = lists[:4]
        for index, parameter in enumerate(parameters):
            if parameter.is_contiguous() and gradients[index].is_contiguous():
                continue
            strides = parameter.stride()
            order = sorted(range(parameter.dim()), key=lambda axis: -strides[axis])
            parameters[index] = parameter.permute(order)
            gradients[index] = gradients[index].permute(order).contiguous()
            means[index], squares[index] = means[index].permute(order), squares[index].permute(order)
        return has_complex


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes that the optimizer keeps between steps; it has nothing to keep before its first."""
    kept = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(tensor.nbytes for tensor in kept)
