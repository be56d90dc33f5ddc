"""Models of others, trained by others: awake BatchNorm and batch mates are found."""

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from frostline.backbones.audit import AuditError, audit, check_batch_mates, digest_frozen
from frostline.backbones.freezing import apply_plan, cut_at_boundary
from frostline.backbones.registry import build_backbone
from frostline.params.schema import Plan
from tests.backbones.audited import learner, points, step


def pictures(side: int = 32) -> Tensor:
    return torch.randn(8, 3, side, side, generator=torch.Generator().manual_seed(0))


class NormThenDrop(nn.BatchNorm1d):
    """A norm with a module of its own, which comes after it, as timm has them."""

    def __init__(self) -> None:
        super().__init__(3)
        self.drop = nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return what the norm makes of the pixels."""
        return self.drop(super().forward(pixels))


@pytest.mark.parametrize(
    "module",
    [nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Dropout(0.5, inplace=True), NormThenDrop()],
    ids=["BatchNorm", "dropout", "dropout in place", "BatchNorm with a module in it"],
)
def test_a_module_of_a_prefix_that_is_awake_is_found_and_named(module: nn.Module) -> None:
    torch.manual_seed(0)
    prefix = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Identity(), module), nn.ReLU())
    with pytest.raises(
        AuditError, match=r"what the prefix makes of an image depends on its batch mates: 1\.1 is where it begins$"
    ):
        check_batch_mates(prefix.train(), points())
    check_batch_mates(prefix.eval(), points())
    assert not any(each._forward_hooks for each in prefix.modules())


def test_a_norm_that_keeps_no_statistics_is_found_in_eval_mode_too() -> None:
    prefix = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False)).eval()
    with pytest.raises(AuditError, match="batch mates: 1 is where it begins"):
        check_batch_mates(prefix, points())


def test_a_plain_function_may_be_a_prefix_and_is_found_without_a_name() -> None:
    check_batch_mates(torch.relu, points())
    with pytest.raises(AuditError, match=r"depends on its batch mates$"):
        check_batch_mates(lambda shown: shown - shown.mean(0), points())


def test_a_prefix_whose_outputs_are_no_numbers_depends_on_nothing() -> None:
    check_batch_mates(lambda shown: shown / 0, points())


def freeze_as_lightning_does(modules: nn.Module, *, train_bn: bool) -> None:
    """Freeze as BaseFinetuning.freeze of Lightning 2 does, which never puts anything into eval mode."""
    for module in modules.modules():
        norm = isinstance(module, nn.BatchNorm2d)
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(norm and train_bn)
        if norm:
            module.track_running_stats = train_bn


def resnet() -> tuple[nn.Module, nn.Sequential]:
    """Return torchvision's ResNet18 for two classes, and all but its last layer as a feature extractor."""
    torch.manual_seed(0)
    model = models.resnet18(num_classes=2)
    return model, nn.Sequential(*list(model.children())[:-1])


def test_a_torchvision_model_frozen_by_requires_grad_alone_is_caught_with_its_batchnorm() -> None:
    model, backbone = resnet()
    backbone.requires_grad_(False)
    before, optimizer = digest_frozen(model), learner(model)
    step(model.train(), optimizer, pictures())
    with pytest.raises(AuditError, match=r"that bn1\.running_mean moved, although it is frozen"):
        audit(model, before, optimizer)


@pytest.mark.parametrize("train_bn", [True, False])
def test_a_torchvision_model_frozen_as_lightning_freezes_is_caught_with_its_batchnorm(train_bn: bool) -> None:
    """Lightning's BackboneFinetuning lets BatchNorm learn unless told not to, and then normalises by the batch."""
    model, backbone = resnet()
    freeze_as_lightning_does(backbone, train_bn=train_bn)
    before, optimizer = digest_frozen(model), learner(model)
    step(model.train(), optimizer, pictures())
    assert audit(model, before, optimizer) == sum(not p.requires_grad for p in model.parameters()) + (
        0 if train_bn else 3 * 20
    )
    with pytest.raises(AuditError, match=r"batch mates: 1 is where it begins"):
        check_batch_mates(backbone, pictures())


def test_a_torchvision_model_whose_backbone_sleeps_passes() -> None:
    model, backbone = resnet()
    backbone.requires_grad_(False)
    before, optimizer = digest_frozen(model), learner(model)
    model.train()
    backbone.eval()
    step(model, optimizer, pictures())
    assert audit(model, before, optimizer) == len([*backbone.state_dict()])
    check_batch_mates(backbone, pictures())


@pytest.mark.parametrize(
    ("name", "buffers"), [("tf_mobilenetv3_small_minimal_100", True), ("vit_tiny_patch16_224", False)]
)
def test_a_timm_model_passes_asleep_and_is_caught_awake_where_it_has_batchnorm(name: str, buffers: bool) -> None:
    torch.manual_seed(0)
    size = {} if buffers else {"img_size": 32, "depth": 2}
    model = timm.create_model(name, num_classes=2, **size).requires_grad_(False)
    model.get_classifier().requires_grad_(True)
    before, optimizer = digest_frozen(model), learner(model)
    assert any(key.endswith("running_var") for key in before) == buffers
    step(model.eval(), optimizer, pictures())
    assert audit(model, before, optimizer) == len([*model.state_dict()]) - 2
    model.train()(pictures())
    if buffers:
        with pytest.raises(AuditError, match=r"bn1\.running_mean moved, although it is frozen"):
            audit(model, before, optimizer)
    else:
        assert audit(model, before, optimizer) == len([*model.state_dict()]) - 2


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "swin_t"])
def test_the_prefix_of_a_backbone_knows_no_batch_mates_even_while_its_suffix_learns(name: str) -> None:
    backbone = build_backbone(name, "none", 2)
    apply_plan(backbone, Plan(train=["head"], weights="pretrained", learning_rates=[0.1]))
    prefix, _ = cut_at_boundary(backbone.train())
    check_batch_mates(prefix, pictures())
