"""The optimizer: AdamW with a rate for each part, and the heights of the rate over a run."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.optimizer import ParamsT

from frostline.constants import PARTS
from frostline.params.schema import Training

State = dict[str, dict[str, Tensor]]
"""What the optimizer keeps of each parameter, by the parameter's name."""


class FusedAdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019) in one pass over memory, for weights in channels_last too.

    torch's own fused kernel on a processor copies every gradient that is not contiguous and does not use the copy,
    which is 4 to 9 % of a training step of ResNet18; and where gradient and weight lie in different orders, it pairs
    the wrong elements without a word. Here both are seen as the weight lies, contiguous.
    """

    def __init__(self, parameters: ParamsT, learning_rate: float, weight_decay: float) -> None:
        """Take the parameters that learn, or groups of them; `weight_decay` is decoupled."""
        super().__init__(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)

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


def make_optimizer(
    suffix: nn.Sequential, learning_rate: float, weight_decay: float, layer_decay: float
) -> torch.optim.Optimizer:
    """Return the optimizer of what is not frozen: a group for each part, with its name and its `share` of the rate.

    A part's share is `layer_decay` times that of the part after it; the head's is 1 (Howard and Ruder 2018).
    """
    groups = []
    for part, blocks in suffix.named_children():
        learned = [parameter for parameter in blocks.parameters() if parameter.requires_grad]
        share = layer_decay ** (PARTS[::-1].index(part)) if part in PARTS else 1.0
        groups += [{"params": learned, "part": part, "share": share}] if learned else []
    optimizer = FusedAdamW(groups, learning_rate, weight_decay)
    set_rate(optimizer, learning_rate)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every part its share of the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["share"]


def get_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the learning rate of each part that learns."""
    return {group["part"]: float(group["lr"]) for group in optimizer.param_groups}


def get_named_state(optimizer: torch.optim.Optimizer, suffix: nn.Sequential) -> State:
    """Return what the optimizer keeps of each parameter of the suffix, by name."""
    return {
        name: dict(optimizer.state[parameter])
        for name, parameter in suffix.named_parameters()
        if parameter in optimizer.state
    }


def restore_state(optimizer: torch.optim.Optimizer, suffix: nn.Sequential, state: Mapping[str, Any]) -> None:
    """Let the optimizer go on from the state of those parameters that learn; of others it has none."""
    for name, parameter in suffix.named_parameters():
        if parameter.requires_grad and name in state:
            kept = {key: value.to(parameter.device) for key, value in state[name].items()}
            optimizer.state[parameter] = kept


def count_state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes that the optimizer keeps between steps; it has nothing to keep before its first."""
    kept = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(tensor.nbytes for tensor in kept)


def schedule_heights(training: Training, val_losses: Sequence[float], steps: int) -> list[float]:
    """Return the share, 0 to 1, at each of the steps of an epoch.

    `val_losses` are those of the phase's epochs before this one; `training.epochs` are those of the phase. In the
    warm-up the share rises evenly, to 1 at its last step; after it, `cosine` falls along half a wave towards 0
    (Loshchilov and Hutter 2017, without restarts), and `plateau` by `plateau_factor` whenever more than
    `plateau_patience` epochs did not lower the validation loss.
    """
    past, full = (
        len(val_losses),
        _compute_plateau_share(training, val_losses) if training.schedule == "plateau" else 1.0,
    )
    return [_compute_height(training, past + step / steps, past + (step + 1) / steps, full) for step in range(steps)]


def _compute_height(training: Training, begun: float, done: float, full: float) -> float:
    """Return the share at a step that begins and ends after so many epochs; `full` is without what comes and goes."""
    if done <= training.warmup_epochs:
        return done / training.warmup_epochs
    if training.schedule == "cosine":
        length = training.epochs - training.warmup_epochs
        return (1 + math.cos(math.pi * (begun - training.warmup_epochs) / length)) / 2
    return full


def _compute_plateau_share(training: Training, val_losses: Sequence[float]) -> float:
    """Return the share that torch's own schedule comes to; it is asked anew, so that nothing of it must be kept."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = ReduceLROnPlateau(optimizer, factor=training.plateau_factor, patience=training.plateau_patience)
    for loss in val_losses:
        schedule.step(loss)
    return float(optimizer.param_groups[0]["lr"])
