"""Networks written out: an MLP, two small CNNs, and He's plain and residual networks, each in its named parts.

They are for pictures of 32 x 32 pixels, and start from random weights: nobody has published others.
"""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

from frostline.constants import PARTS

PX = 32
"""The side of the images for which the networks with fully connected layers are written."""
CLASSES = 10
BLOCKS_OF_DEPTH = {20: 3, 56: 9}
"""Blocks in each of a plain or residual network's three stages: 6n + 2 layers (He et al. 2015, arXiv 1512.03385)."""


def build_mlp() -> nn.Sequential:
    """Return a multilayer perceptron with hidden layers of 256 and 128. Each of its weights belongs to one pixel."""
    first = nn.Sequential(nn.Flatten(1), nn.Linear(3 * PX * PX, 256), nn.ReLU(inplace=True))
    second = nn.Sequential(nn.Linear(256, 128), nn.ReLU(inplace=True))
    return assemble_parts(stem=[first], stage4=[second], head=[nn.Linear(128, CLASSES)])


def build_cnn2() -> nn.Sequential:
    """Return the small CNN of many first lessons: two convolutions (32, 64), a hidden layer of 128, dropout 0.5."""
    hidden = nn.Sequential(nn.Flatten(1), nn.Linear(64 * (PX // 4) ** 2, 128), nn.ReLU(inplace=True))
    logits = [nn.Dropout(0.5), nn.Linear(128, CLASSES)]
    return assemble_parts(
        stem=[make_convolution(3, 32)], stage1=[make_convolution(32, 64)], stage4=[hidden], head=logits
    )


def build_cnn3() -> nn.Sequential:
    """Return its sibling: three convolutions (32, 64, 128) with BatchNorm, a hidden layer of 256, dropout 0.5."""
    convolutions = [make_convolution(*channels, norm=True) for channels in ((3, 32), (32, 64), (64, 128))]
    hidden = nn.Sequential(nn.Flatten(1), nn.Linear(128 * (PX // 8) ** 2, 256), nn.ReLU(inplace=True))
    first, second, third = ([layer] for layer in convolutions)
    return assemble_parts(first, second, third, stage4=[hidden], head=[nn.Dropout(0.5), nn.Linear(256, CLASSES)])


def make_convolution(inputs: int, outputs: int, *, norm: bool = False) -> nn.Sequential:
    """Return a 3 x 3 convolution with what follows it, which halves height and width in the end."""
    made = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=not norm)
    return nn.Sequential(made, *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU(inplace=True), nn.MaxPool2d(2))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, to whose result the block's own input is added (He et al. 2015).

    What the convolutions must learn is then only what to change; and the gradient has a way past them. Where the block
    halves the places and doubles the channels, its input skips every other place and is filled up with channels of
    zeros (their option A), so that shortcuts learn nothing. Without `shortcut` it is a block of a plain network.
    """

    def __init__(self, inputs: int, outputs: int, *, shortcut: bool) -> None:
        """Take as many channels as come in and go out; more of them go out of fewer places."""
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.new_channels = outputs - inputs
        self.shortcut = shortcut
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=3, stride=self.stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Return N x outputs x height x width, halved where the channels are more than before."""
        learned = self.norm1(self.conv1(features)).relu()
        learned = self.norm2(self.conv2(learned))
        made: Tensor = learned + self.carry(features) if self.shortcut else learned
        return made.relu()

    def carry(self, features: Tensor) -> Tensor:
        """Return the block's input in the shape of its output."""
        if self.stride == 1:
            return features
        return functional.pad(features[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


def build_residual_network(layers: int, *, shortcut: bool) -> nn.Sequential:
    """Return He's network for small pictures: a convolution, three stages of 16, 32 and 64 channels, and the logits.

    Its stages work at strides 1, 2 and 4. Plain and residual networks of a depth have the same parameters, drawn alike.
    """
    stem = nn.Sequential(nn.Conv2d(3, 16, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    stages, inputs = [], 16
    for outputs in (16, 32, 64):
        before = [inputs, *[outputs] * (BLOCKS_OF_DEPTH[layers] - 1)]
        stages.append([ResidualBlock(inputs, outputs, shortcut=shortcut) for inputs in before])
        inputs = outputs
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(1)]
    network = assemble_parts([stem], *stages, stage4=pooled, head=[nn.Linear(64, CLASSES)])
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):  # He et al. 2015, arXiv 1502.01852
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return network


def assemble_parts(*shallow: Iterable[nn.Module], **named: Iterable[nn.Module]) -> nn.Sequential:
    """Return the blocks as a sequence of the named parts, the first of them given in order.

    A part for which the network has no layers hands on what it gets.
    """
    given = dict(zip(PARTS, shallow, strict=False)) | named
    parts = nn.Sequential()
    for part in PARTS:
        parts.add_module(part, nn.Sequential(*given.get(part, [nn.Identity()])))
    return parts
