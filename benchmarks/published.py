"""The published models, uncut, as a script that knows nothing of this project would build and freeze them."""

from collections.abc import Callable
from dataclasses import dataclass

import timm
import torchvision
from torch import nn

from benchmarks.task import Task
from benchmarks.this_project import build_initial_parts
from frostline.errors import InputError, join_names

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Published:
    """How a model is made for some classes, the names of its modules by part, and its input scaling (0 to 1)."""

    make: Callable[[int], nn.Module]
    modules: dict[str, tuple[str, ...]]
    mean: Triple
    deviation: Triple


def get_published(backbone: str) -> Published:
    """Return how the backbone was published, or say which are known."""
    if backbone not in PUBLISHED:
        raise InputError.of("--backbone", f"be {join_names(PUBLISHED)}", repr(backbone))
    return PUBLISHED[backbone]


def build_model(task: Task) -> nn.Module:
    """Return the model with the very weights that this project starts from, its new last layer included."""
    model = get_published(task.backbone).make(task.classes)
    initial = build_initial_parts(task).state_dict()
    # Before the model's own names stand those of part and block.
    model.load_state_dict({name.split(".", 2)[2]: tensor for name, tensor in initial.items()})
    return model


def list_frozen_modules(model: nn.Module, backbone: str, plan: str) -> list[nn.Module]:
    """Return the modules before the part that `plan` names, shallow to deep."""
    parts = get_published(backbone).modules
    before = list(parts)[: list(parts).index(plan)]
    return [model.get_submodule(name) for part in before for name in parts[part]]


def list_learning(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that learn, as an optimizer takes them."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _get_lite0_parts(classes: int) -> nn.Module:
    model: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=classes)
    return model


def _get_resnet18_parts(classes: int) -> nn.Module:
    model: nn.Module = torchvision.models.resnet18(num_classes=classes)
    return model


PUBLISHED = {
    "resnet18": Published(
        make=_get_resnet18_parts,
        modules={
            "stem": ("conv1", "bn1"),
            "stage1": ("layer1",),
            "stage2": ("layer2",),
            "stage3": ("layer3",),
            "stage4": ("layer4",),
            "head": ("fc",),
        },
        mean=(0.485, 0.456, 0.406),
        deviation=(0.229, 0.224, 0.225),
    ),
    "efficientnet_lite0": Published(
        make=_get_lite0_parts,
        modules={
            "stem": ("conv_stem", "bn1", "blocks.0"),
            "stage1": ("blocks.1",),
            "stage2": ("blocks.2",),
            "stage3": ("blocks.3", "blocks.4"),
            "stage4": ("blocks.5", "blocks.6", "conv_head", "bn2"),
            "head": ("classifier",),
        },
        mean=(127 / 255,) * 3,
        deviation=(128 / 255,) * 3,
    ),
}
"""The models of the backbones that the benchmark knows."""
