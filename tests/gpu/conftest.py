"""A GPU of which there is nothing but what torch knows of its tensors: their shapes, types and places."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

GPU_BYTES = 10_000_000
"""Of its free memory."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Yield a GPU of 10 MB that has bfloat16. What is computed on it has no values: to read one is an error."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device=None: (GPU_BYTES, 2 * GPU_BYTES))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)  # which stand-ins cannot be
    monkeypatch.setattr(Tensor, "backward", leave_gradients)  # autograd asks the driver for its streams
    _steps.clear()
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield torch.device("cuda")


_steps: list[Callable[[], Any]] = []


def teach(suffix: nn.Module) -> None:
    """Let every backward pass leave a gradient for what learns in the suffix."""

    def fill() -> None:
        for parameter in suffix.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)

    _steps.append(fill)


def leave_gradients(_loss: Tensor) -> None:
    for fill in _steps:
        fill()


def put_on(device: torch.device, module: nn.Module) -> None:
    """Give the module's parameters and buffers stand-ins on the device, as they lie in memory."""

    def stand_in(tensor: Tensor) -> Tensor:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)

    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(stand_in(parameter), requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = stand_in(buffer)
