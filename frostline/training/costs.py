"""Costs counted, not estimated: floating-point operations, and the bytes that a step saves of each image."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

# BatchNorm refuses to learn from one value a channel, which is what one small image may come to.
BATCH = 2


@dataclass(frozen=True)
class Work:
    """FLOPs for one image: once through the prefix, and in every epoch for training on it or validating it."""

    prefix: int
    training: int
    validation: int

    @property
    def live(self) -> int:
        """The FLOPs of training on an image once where nothing is kept of the prefix."""
        return self.prefix + self.training

    def train(self, through_prefix: int, shown: int) -> int:
        """Return the FLOPs of so many images through the prefix, and so many shown to the suffix to learn from."""
        return self.prefix * through_prefix + self.training * shown

    def count_once(self, training_images: int, validation_images: int) -> int:
        """Return the FLOPs that all epochs share."""
        return self.prefix * (training_images + validation_images)

    def count_epoch(self, training_images: int, validation_images: int) -> int:
        """Return the FLOPs of one epoch."""
        return self.training * training_images + self.validation * validation_images


def count_work(prefix: nn.Sequential, suffix: nn.Sequential, image_px: int) -> Work:
    """Return the work of training `suffix` behind a frozen `prefix`, on tensors without data.

    Counted are convolutions and matrix products, forward, and backward the gradients that are needed: none for what is
    frozen, none for the input of the first layer that learns.
    """

    def count(prefix: nn.Sequential, suffix: nn.Sequential, device: str) -> Work:
        pixels = torch.zeros(BATCH, 3, image_px, image_px, device=device)
        with torch.no_grad():
            features = prefix.eval()(pixels)
            prefix_flops = _count(lambda: prefix(pixels))
            validation_flops = _count(lambda: suffix.eval()(features))
        training_flops = _count(lambda: suffix.train()(features).sum().backward())
        return Work(prefix_flops // BATCH, training_flops // BATCH, validation_flops // BATCH)

    return run_without_data(prefix, suffix, count)


Found = TypeVar("Found")


def run_without_data(
    prefix: nn.Sequential, suffix: nn.Sequential, run: Callable[[nn.Sequential, nn.Sequential, str], Found]
) -> Found:
    """Return what `run` makes of copies of both that hold no data, on the device that it is told.

    A network whose code asks for values, as in `if features.sum() > 0`, is given zeros instead.
    """
    prefix, suffix = (copy.deepcopy(part).to("meta") for part in (prefix, suffix))
    try:
        return run(copy.deepcopy(prefix), copy.deepcopy(suffix), "meta")
    except (NotImplementedError, RuntimeError):
        for part in (prefix, suffix):
            part.to_empty(device="cpu")
            for tensor in (*part.parameters(), *part.buffers()):
                tensor.detach().zero_()
        return run(prefix, suffix, "cpu")


def _count(run: Callable[[], Any]) -> int:
    corrected = {torch.ops.aten.convolution_backward: _count_convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=corrected) as counter:
        run()
    total: int = counter.get_total_flops()
    return total


def _count_convolution_backward(  # torch's order
    gradient: Tensor,
    pixels: Tensor,
    weight: Tensor,
    bias: object,  # noqa: ARG001
    stride: object,  # noqa: ARG001
    padding: object,  # noqa: ARG001
    dilation: object,  # noqa: ARG001
    transposed: bool,
    output_padding: object,  # noqa: ARG001
    groups: int,  # noqa: ARG001
    wanted: list[bool],
    **_: object,
) -> int:
    """Return the FLOPs of the gradients that are wanted, each as many as forward took.

    torch's own count takes the weight gradient of a grouped convolution for that of a dense one: for depthwise
    convolutions it is too high by the number of channels.
    """
    places = pixels if transposed else gradient
    forward = 2 * places.shape[0] * prod(places.shape[2:]) * prod(weight.shape)
    return forward * sum(wanted[:2])


_count_convolution_backward._get_raw = True  # type: ignore[attr-defined]  # torch would else pass shapes
# BatchNorm refuses to learn from one value a channel, which is what one small image may come to.
FEW_IMAGES = 2


def measure_saved_bytes(step: Callable[[int], object]) -> int:
    """Return the bytes that each image adds to what `step`, a training step on so many images, saves for backward.

    Two steps are taken, one on twice as many images as the other. What both save alike is no image's: parameters, their
    copies in bfloat16, and the statistics of norms. The images and labels that are saved count too.
    """
    saved = []
    for images in (FEW_IMAGES, 2 * FEW_IMAGES):
        with watch_saved() as storages:
            step(images)
        saved.append(sum(storages.values()))
    return (saved[1] - saved[0]) // FEW_IMAGES


@contextmanager
def watch_saved() -> Iterator[dict[int, int]]:
    """Yield the bytes of every storage that autograd saves meanwhile, by its handle, and so each of them once.

    They have different handles, also on the device meta, as long as none is freed, which is until backward.
    """
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield storages
