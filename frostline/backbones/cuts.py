"""Architectures: how each published classifier is made, cut into parts at its strides, and fed."""

import functools
import importlib
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from frostline.backbones.small_networks import (
    ClassToken,
    MeanOverPixels,
    Patches,
    build_cnn2,
    build_cnn3,
    build_mlp,
    build_residual_network,
)
from frostline.backbones.weights import load_lite0_tensors, load_timm_tensors, load_torchvision_tensors
from frostline.constants import PARTS
from frostline.errors import InputError

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_DEVIATION = (0.229 * 255, 0.224 * 255, 0.225 * 255)
HALF = (127.5, 127.5, 127.5)
Pieces = dict[str, list[nn.Module]]
"""The modules of each part, in the order in which they compute."""


@dataclass(frozen=True)
class Architecture:
    """How one architecture is made, cut into parts, and fed.

    `original` makes the untrained 1,000-class model; `pretrained` returns its published tensors under the
    original's names; `pieces` cuts it into modules by part. `mean` and `deviation` are the input scaling that
    the weights were trained with, for red, green and blue, in units of an 8-bit pixel.
    """

    original: Callable[[], nn.Module]
    pretrained: Callable[[nn.Module], dict[str, Tensor]]
    pieces: Callable[[Any], Pieces]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    deviation: tuple[float, float, float] = IMAGENET_DEVIATION


def name_pieces(*pieces: Iterable[nn.Module]) -> Pieces:
    """Return the pieces, given shallow to deep, under the names of the parts."""
    return {part: list(modules) for part, modules in zip(PARTS, pieces, strict=True)}


def group_blocks(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the layers as blocks: each convolution or linear layer with what follows it (norm, activation, pool)."""
    blocks: list[list[nn.Module]] = []
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear) or not blocks:
            blocks.append([])
        blocks[-1].append(layer)
    return [nn.Sequential(*block) for block in blocks]


def make_pooling() -> list[nn.Module]:
    """Return average pooling down to one vector an image. It closes stage4, so that this is what a head is fed."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(1)]


def cut_lite(model: Any) -> Pieces:
    """Cut timm's EfficientNet-Lite where its stride changes; its last convolution works at stride 32."""
    first, second, third, fourth, fifth, sixth, seventh = model.blocks
    deepest = [*sixth, *seventh, model.conv_head, model.bn2, model.global_pool]
    return name_pieces(
        [model.conv_stem, model.bn1, first], second, third, [*fourth, *fifth], deepest, [model.classifier]
    )


def cut_alexnet(model: Any) -> Pieces:
    """Cut AlexNet, whose stages are its later convolutions and, as stage4, its two hidden layers."""
    first, second, third, fourth, fifth = group_blocks(model.features)
    dropout, sixth, sixth_relu, dropout_2, seventh, seventh_relu, logits = model.classifier
    hidden = group_blocks([sixth, sixth_relu, dropout_2, seventh, seventh_relu])
    deepest = [model.avgpool, nn.Flatten(1), dropout, *hidden]
    return name_pieces([first], [second], [third], [fourth, fifth], deepest, [logits])


def cut_vgg(model: Any) -> Pieces:
    """Cut VGG at its five poolings, each of which closes a part; stage4 is its two hidden layers."""
    pieces: list[list[nn.Module]] = [[]]
    for layer in model.features:
        pieces[-1].append(layer)
        if isinstance(layer, nn.MaxPool2d):
            pieces.append([])
    first, second, third, fourth, fifth, _ = (group_blocks(piece) for piece in pieces)
    *hidden, dropout, logits = model.classifier
    deepest = [model.avgpool, nn.Flatten(1), *group_blocks(hidden)]
    return name_pieces([*first, *second], third, fourth, fifth, deepest, [dropout, logits])


def cut_resnet(model: Any) -> Pieces:
    """Cut ResNet at its four layers (He et al. 2015), which work at strides 4, 8, 16 and 32."""
    stem = [model.conv1, model.bn1, model.relu, model.maxpool]
    deepest = [*model.layer4, model.avgpool, nn.Flatten(1)]
    return name_pieces(stem, model.layer1, model.layer2, model.layer3, deepest, [model.fc])


def cut_inception(model: Any) -> Pieces:
    """Cut Inception v3, without its auxiliary classifier, which only its own recipe trains."""
    return name_pieces(
        [model.Conv2d_1a_3x3, model.Conv2d_2a_3x3, model.Conv2d_2b_3x3, model.maxpool1],
        [model.Conv2d_3b_1x1, model.Conv2d_4a_3x3, model.maxpool2],
        [model.Mixed_5b, model.Mixed_5c, model.Mixed_5d],
        [model.Mixed_6a, model.Mixed_6b, model.Mixed_6c, model.Mixed_6d, model.Mixed_6e],
        [model.Mixed_7a, model.Mixed_7b, model.Mixed_7c, model.avgpool, nn.Flatten(1)],
        [model.dropout, model.fc],
    )


def cut_googlenet(model: Any) -> Pieces:
    """Cut GoogLeNet, without its auxiliary classifiers, which only its own recipe trains."""
    fourth = [model.inception4a, model.inception4b, model.inception4c, model.inception4d, model.inception4e]
    return name_pieces(
        [model.conv1, model.maxpool1],
        [model.conv2, model.conv3, model.maxpool2],
        [model.inception3a, model.inception3b, model.maxpool3],
        [*fourth, model.maxpool4],
        [model.inception5a, model.inception5b, model.avgpool, nn.Flatten(1)],
        [model.dropout, model.fc],
    )


def cut_densenet(model: Any) -> Pieces:
    """Cut DenseNet into its dense blocks, each with the transition that pools after it."""
    features = model.features
    deepest = [features.denseblock4, features.norm5, nn.ReLU(inplace=True), *make_pooling()]
    return name_pieces(
        [features.conv0, features.norm0, features.relu0, features.pool0],
        [features.denseblock1, features.transition1],
        [features.denseblock2, features.transition2],
        [features.denseblock3, features.transition3],
        deepest,
        [model.classifier],
    )


def cut_features(model: Any, starts: tuple[int, ...]) -> Pieces:
    """Cut the blocks of `model.features` where stage1 to stage4 start; its classifier's last layer is the head.

    Hidden layers of the classifier belong to stage4, so that the head is a linear one in every architecture.
    """
    blocks = [block for stage in model.features for block in (stage if type(stage) is nn.Sequential else [stage])]
    bounds = [0, *starts, len(blocks)]
    stem, first, second, third, fourth = (blocks[a:b] for a, b in itertools.pairwise(bounds))
    layers = list(model.classifier)
    hidden, head = (layers[:-2], layers[-2:]) if isinstance(layers[-2], nn.Dropout) else (layers[:-1], layers[-1:])
    return name_pieces(stem, first, second, third, [*fourth, *make_pooling(), *hidden], head)


def cut_shufflenet(model: Any) -> Pieces:
    """Cut ShuffleNet v2. At stride 4 it only pools: its stage1 has no parameters."""
    deepest = [*model.stage4, model.conv5, MeanOverPixels()]
    return name_pieces([model.conv1], [model.maxpool], model.stage2, model.stage3, deepest, [model.fc])


def cut_squeezenet(model: Any) -> Pieces:
    """Cut SqueezeNet after its poolings. Its last four modules all work at stride 16: stage3 and stage4 share them."""
    layers = [*model.features]
    head = [*model.classifier, nn.Flatten(1)]
    return name_pieces(layers[:3], layers[3:6], layers[6:9], layers[9:11], layers[11:], head)


def cut_mnasnet(model: Any) -> Pieces:
    """Cut MNASNet's stacks of inverted residuals at their strides."""
    layers = [*model.layers]
    deepest = [*layers[12], *layers[13], *group_blocks(layers[14:]), MeanOverPixels()]
    stem = group_blocks(layers[:8])
    return name_pieces(stem, layers[8], layers[9], [*layers[10], *layers[11]], deepest, model.classifier)


def cut_regnet(model: Any) -> Pieces:
    """Cut RegNet at its four blocks, which work at strides 4, 8, 16 and 32."""
    first, second, third, fourth = model.trunk_output
    return name_pieces([model.stem], first, second, third, [*fourth, model.avgpool, nn.Flatten(1)], [model.fc])


def cut_convnext(model: Any) -> Pieces:
    """Cut ConvNeXt before each downsampling; the norm before its logits belongs to stage4."""
    stem, first, down_2, second, down_3, third, down_4, fourth = model.features
    norm, flatten, logits = model.classifier
    deepest = [down_4, *fourth, model.avgpool, norm, flatten]
    return name_pieces([stem], first, [down_2, *second], [down_3, *third], deepest, [logits])


def cut_swin(model: Any) -> Pieces:
    """Cut Swin before each merging of patches; between its parts lie N x height x width x channels."""
    stem, first, down_2, second, down_3, third, down_4, fourth = model.features
    deepest = [down_4, *fourth, model.norm, model.permute, model.avgpool, model.flatten]
    return name_pieces([stem], first, [down_2, *second], [down_3, *third], deepest, [model.head])


def cut_vision_transformer(model: Any) -> Pieces:
    """Cut a vision transformer, which has no strides, into four equal runs of its layers."""
    layers = list(model.encoder.layers)
    quarter = len(layers) // 4
    first, second, third = (layers[start : start + quarter] for start in (0, quarter, 2 * quarter))
    deepest = [*layers[3 * quarter :], model.encoder.ln, ClassToken()]
    return name_pieces([Patches(model)], first, second, third, deepest, [model.heads.head])


def build_from(library: str, maker: str, name: str, **more: Any) -> nn.Module:
    """Return the untrained model that the library's maker makes. It is loaded here, as that takes seconds."""
    model: nn.Module = getattr(importlib.import_module(library), maker)(name, **more)
    return model


def define_torchvision(name: str, pieces: Callable[[Any], Pieces], **more: Any) -> Architecture:
    """Return the architecture that torchvision has under that name; `more` is what its builder must be told."""
    return Architecture(
        original=functools.partial(build_from, "torchvision.models", "get_model", name, weights=None, **more),
        pretrained=functools.partial(load_torchvision_tensors, name),
        pieces=pieces,
    )


def define_lite(number: int) -> Architecture:
    """Return one of timm's larger EfficientNet-Lites, cut as the smallest is."""
    name = f"tf_efficientnet_lite{number}"
    original = functools.partial(build_from, "timm", "create_model", name, pretrained=False)
    return Architecture(original, functools.partial(load_timm_tensors, name), cut_lite, mean=HALF, deviation=HALF)


def define_inception(name: str, pieces: Callable[[Any], Pieces]) -> Architecture:
    """Return an Inception network. Google trained them on pixels from -1 to 1.

    torchvision takes ImageNet's usual scaling and undoes it inside (`transform_input`); here it is never done.
    """
    plain = define_torchvision(name, pieces, aux_logits=False, transform_input=False, init_weights=True)
    return Architecture(plain.original, plain.pretrained, pieces, mean=HALF, deviation=HALF)


def define_written_out(name: str, original: Callable[[], nn.Sequential]) -> Architecture:
    """Return one of our own networks, which are made of the named parts."""

    def pieces(network: nn.Sequential) -> Pieces:
        return {part: [*blocks.children()] for part, blocks in network.named_children()}

    return Architecture(original, functools.partial(refuse_unpublished, name), pieces, mean=HALF, deviation=HALF)


def refuse_unpublished(name: str, _model: nn.Module) -> dict[str, Tensor]:
    """Raise an `InputError`: nobody has published weights of the network."""
    raise InputError.of(f"the weights of {name}", "be none or a file", "'pretrained'", "Nobody has published any.")


ARCHITECTURES = {
    "efficientnet_lite0": Architecture(
        original=functools.partial(build_from, "timm", "create_model", "tf_efficientnet_lite0", pretrained=False),
        pretrained=load_lite0_tensors,
        pieces=cut_lite,
        mean=(127.0, 127.0, 127.0),
        deviation=(128.0, 128.0, 128.0),
    ),
    "efficientnet_lite1": define_lite(1),
    "efficientnet_lite2": define_lite(2),
    "efficientnet_lite3": define_lite(3),
    "efficientnet_lite4": define_lite(4),
    "alexnet": define_torchvision("alexnet", cut_alexnet),
    "vgg16": define_torchvision("vgg16", cut_vgg),
    "vgg16_bn": define_torchvision("vgg16_bn", cut_vgg),
    "resnet18": define_torchvision("resnet18", cut_resnet),
    "resnet34": define_torchvision("resnet34", cut_resnet),
    "resnet50": define_torchvision("resnet50", cut_resnet),
    "inception_v3": define_inception("inception_v3", cut_inception),
    "googlenet": define_inception("googlenet", cut_googlenet),
    "densenet121": define_torchvision("densenet121", cut_densenet),
    "mobilenet_v2": define_torchvision("mobilenet_v2", functools.partial(cut_features, starts=(2, 4, 7, 14))),
    "mobilenet_v3_small": define_torchvision(
        "mobilenet_v3_small", functools.partial(cut_features, starts=(1, 2, 4, 9))
    ),
    "mobilenet_v3_large": define_torchvision(
        "mobilenet_v3_large", functools.partial(cut_features, starts=(2, 4, 7, 13))
    ),
    "efficientnet_b0": define_torchvision("efficientnet_b0", functools.partial(cut_features, starts=(2, 4, 6, 12))),
    "shufflenet_v2_x1_0": define_torchvision("shufflenet_v2_x1_0", cut_shufflenet),
    "squeezenet1_1": define_torchvision("squeezenet1_1", cut_squeezenet),
    "mnasnet1_0": define_torchvision("mnasnet1_0", cut_mnasnet),
    "regnet_y_400mf": define_torchvision("regnet_y_400mf", cut_regnet),
    "convnext_tiny": define_torchvision("convnext_tiny", cut_convnext),
    "swin_t": define_torchvision("swin_t", cut_swin),
    "vit_b_16": define_torchvision("vit_b_16", cut_vision_transformer),
    "mlp": define_written_out("mlp", build_mlp),
    "cnn2": define_written_out("cnn2", build_cnn2),
    "cnn3": define_written_out("cnn3", build_cnn3),
    "plain20": define_written_out("plain20", functools.partial(build_residual_network, 20, shortcut=False)),
    "plain56": define_written_out("plain56", functools.partial(build_residual_network, 56, shortcut=False)),
    "residual20": define_written_out("residual20", functools.partial(build_residual_network, 20, shortcut=True)),
    "residual56": define_written_out("residual56", functools.partial(build_residual_network, 56, shortcut=True)),
}
"""Every known backbone by name."""
