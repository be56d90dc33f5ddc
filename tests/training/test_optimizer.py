"""It is AdamW, however weights and gradients lie in memory."""

import copy

import pytest
import torch
from torch import Tensor, nn

from frostline.training.optimizer import FusedAdamW, count_state_bytes

LAYOUTS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}

every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def drawn(number: int) -> Tensor:
    return torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(number))


def weight(layout: torch.memory_format) -> nn.Parameter:
    return nn.Parameter(drawn(0).contiguous(memory_format=layout))


def taught(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, layout: torch.memory_format) -> Tensor:
    """Return the parameter after four steps, with gradients that lie in memory as `layout` says."""
    for step in range(1, 5):
        parameter.grad = drawn(step).contiguous(memory_format=layout)
        optimizer.step()
    return parameter.detach()


@every_layout
@pytest.mark.parametrize("gradients", LAYOUTS.values(), ids=[f"gradients-{name}" for name in LAYOUTS])
def test_it_moves_weights_as_plain_adamw_does(layout: torch.memory_format, gradients: torch.memory_format) -> None:
    ours, plain = weight(layout), weight(layout)
    moved = taught(ours, FusedAdamW([ours], 0.01, 0.1), gradients)
    expected = taught(plain, torch.optim.AdamW([plain], lr=0.01, weight_decay=0.1, fused=False), gradients)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-6)
    assert not torch.equal(moved, drawn(0))


@every_layout
def test_its_bytes_are_those_of_torchs_fused_kernel_where_weights_and_gradients_lie_alike(
    layout: torch.memory_format,
) -> None:
    ours, fused = weight(layout), weight(layout)
    moved = taught(ours, FusedAdamW([ours], 0.01, 0.1), layout)
    assert torch.equal(moved, taught(fused, torch.optim.AdamW([fused], lr=0.01, weight_decay=0.1, fused=True), layout))


@every_layout
def test_its_state_has_the_shape_of_the_weight_and_can_be_loaded_again(layout: torch.memory_format) -> None:
    first, second = weight(layout), weight(layout)
    one, other = FusedAdamW([first], 0.01, 0.1), FusedAdamW([second], 0.01, 0.1)
    taught(first, one, layout)
    assert one.state[first]["exp_avg"].shape == first.shape
    second.data.copy_(first.data)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert torch.equal(taught(first, one, layout), taught(second, other, layout))


def test_its_state_is_two_numbers_for_each_of_a_weights_and_a_count_of_steps() -> None:
    parameter = weight(torch.channels_last)
    optimizer = FusedAdamW([parameter], 0.01, 0.1)
    assert count_state_bytes(optimizer) == 0
    taught(parameter, optimizer, torch.channels_last)
    assert count_state_bytes(optimizer) == 2 * 6 * 5 * 3 * 3 * 4 + 4
