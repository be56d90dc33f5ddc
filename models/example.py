"""An own network, for which params.yaml says: backbones: [models/example.py:build]. Copy this file, or write another.

A function returns a classifier, a `torch.nn.Module` that makes logits, N x classes, of images, N x 3 x H x W. How many
classes it makes does not matter: its last linear layer is made anew for the study's. What it does in between does not
matter either: where its data flow from one block to the next is found by following them.
"""

import itertools

from torch import Tensor, nn
from torch.nn import functional

IMAGE_PX = 64
"""The side of the images that the network is made for. Parts are named by how often it is halved."""
MEAN, DEVIATION = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
"""What is taken off the pixels, from 0 to 1, and what they are then divided by: those of the network's weights."""


class Block(nn.Module):
    """A convolution with its norm, beside which the input goes on."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Take the channels that come in and go out, and how many pixels are skipped."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.skip = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        """Return N x outputs x height x width, by the stride smaller."""
        return functional.relu(self.norm(self.conv(features)) + self.skip(features))


class Network(nn.Module):
    """Five blocks, each of which halves the sides, and a mean over what is left of them."""

    def __init__(self) -> None:
        """Draw the weights."""
        super().__init__()
        channels = (3, 16, 32, 64, 128, 128)
        self.blocks = nn.ModuleList(
            Block(inputs, outputs, stride=2) for inputs, outputs in itertools.pairwise(channels)
        )
        self.logits = nn.Linear(channels[-1], 2)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, N x 2."""
        for block in self.blocks:
            images = block(images)
        logits: Tensor = self.logits(images.mean(dim=(2, 3)))
        return logits


def build() -> nn.Module:
    """Return the network, untrained."""
    return Network()
