"""Whatever moves although it is frozen is found, and named, in a module of any kind."""

import ast
import sys
from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from frostline.backbones.audit import AuditError, audit, check_batch_mates, digest_frozen
from frostline.backbones.cuts import ARCHITECTURES
from frostline.backbones.freezing import apply_plan, cut_at_boundary
from frostline.backbones.registry import build_backbone
from frostline.params import Plan
from tests.project import ROOT


def toy() -> nn.Sequential:
    """Return a frozen stem with BatchNorm that stands still, and a head that learns."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("stem", nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).requires_grad_(False).eval())
    model.add_module("head", nn.Sequential(nn.Linear(3, 2)))
    return model


def points() -> Tensor:
    return torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 4.0], [6.0, 8.0]])


def pictures(side: int = 32) -> Tensor:
    return torch.randn(8, 3, side, side, generator=torch.Generator().manual_seed(0))


def learner(model: nn.Module) -> torch.optim.Optimizer:
    """Return an optimizer as it should be made, which decays the weights that it is given."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, shown: Tensor) -> None:
    functional.cross_entropy(model(shown), torch.arange(len(shown)) % 2).backward()
    optimizer.step()


class Scaled(nn.Module):
    """A root module that has a parameter and a buffer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("offset", torch.zeros(2))
        self.head = nn.Linear(2, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits."""
        return self.head(pixels * self.scale + self.offset)


class Tied(nn.Module):
    """Two layers that share one weight, and one layer that stands in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(2, 2), nn.Linear(2, 2)
        self.decoder.weight = self.encoder.weight
        self.again = self.encoder
        self.head = nn.Linear(2, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits."""
        return self.head(self.decoder(self.again(self.encoder(pixels))))


# --- What it looks at -------------------------------------------------------------------------------------------


def test_the_audit_needs_torch_and_the_standard_library_alone() -> None:
    tree = ast.parse((ROOT / "frostline" / "backbones" / "audit.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} - sys.stdlib_module_names == {"torch"}


def test_the_audit_looks_at_every_frozen_parameter_and_buffer_and_at_nothing_else() -> None:
    assert set(digest_frozen(toy())) == {
        "stem.0.weight",
        "stem.0.bias",
        "stem.1.weight",
        "stem.1.bias",
        "stem.1.running_mean",
        "stem.1.running_var",
        "stem.1.num_batches_tracked",
    }


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in ("mlp", "cnn2")])
def test_the_audit_of_a_backbone_looks_at_every_tensor_of_its_frozen_parts(name: str) -> None:
    backbone = build_backbone(name, "none", 2)  # in which stage2 has parameters
    apply_plan(backbone, Plan(train=["stage2", "head"], weights="pretrained", learning_rates=[0.1]))
    frozen = {key for key in backbone.state_dict() if key.split(".")[0] not in ("stage2", "head")}
    assert set(digest_frozen(backbone)) >= frozen
    assert not any(key.startswith(("stage2", "head")) for key in digest_frozen(backbone))


@pytest.mark.parametrize("selector", ["norms", "biases"])
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "swin_t"])
def test_what_is_frozen_and_what_learns_add_up_to_the_backbone(name: str, selector: str) -> None:
    backbone = build_backbone(name, "none", 2)
    apply_plan(backbone, Plan(train=["head", selector], weights="pretrained", learning_rates=[0.1]))
    frozen = set(digest_frozen(backbone))
    learning = {key for key, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert not frozen & learning
    assert frozen | learning >= {key for key, _ in backbone.named_parameters()}
    statistics = {key for key, _ in backbone.named_buffers() if "running" in key}
    assert statistics & frozen == (statistics if selector == "biases" else set())


def test_a_module_of_any_kind_is_audited_by_the_names_of_its_state_dict() -> None:
    assert set(digest_frozen(Scaled().requires_grad_(False))) == set(Scaled().state_dict())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_tensors_of_any_type_and_shape_have_a_digest_that_tells_both(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    def digest(tensor: Tensor) -> str:
        holder = nn.Module().eval()
        holder.register_buffer("held", tensor)
        return digest_frozen(holder)["held"]

    zeros = torch.zeros(shape, dtype=dtype)
    assert digest(zeros) == digest(zeros.clone())
    assert digest(zeros) not in {digest(zeros[None]), digest(zeros.float())}


def test_the_layout_of_a_tensor_in_memory_is_not_a_move() -> None:
    model = nn.Conv2d(3, 4, 3).requires_grad_(False)
    before = digest_frozen(model)
    assert audit(model.to(memory_format=torch.channels_last), before) == 2


# --- What passes ------------------------------------------------------------------------------------------------


def test_a_model_that_nobody_touched_passes_and_its_frozen_tensors_are_counted() -> None:
    model = toy()
    before = digest_frozen(model)
    assert audit(model, before) == len(before) == 7
    assert digest_frozen(model) == before


def test_a_step_that_moves_only_what_learns_passes() -> None:
    model = toy()
    before, optimizer, head = digest_frozen(model), learner(model), model.get_parameter("head.0.weight").clone()
    step(model, optimizer, points())
    assert not torch.equal(model.get_parameter("head.0.weight"), head)
    assert audit(model, before, optimizer) == 7


def test_tied_weights_and_shared_layers_pass_and_are_found_under_a_name_of_theirs_when_they_move() -> None:
    model = Tied()
    model.encoder.requires_grad_(False)
    model.decoder.requires_grad_(False)
    before, optimizer = digest_frozen(model), learner(model)
    step(model, optimizer, points())
    assert audit(model, before, optimizer) == 4
    model.decoder.weight.add_(1.0)
    with pytest.raises(AuditError, match=r"encoder\.weight moved, although it is frozen"):
        audit(model, before, optimizer)


# --- What does not pass -----------------------------------------------------------------------------------------

Meddling = Callable[[nn.Sequential, torch.optim.Optimizer], None]
"""Something done to a model between freezing and the audit that ought not to be."""


def let_statistics_move(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    model.train()(points())  # no gradient, no optimizer: the forward pass alone moves them


def nudge_a_weight(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    weight = model.get_parameter("stem.0.weight")
    weight[1, 0] = torch.nextafter(weight[1, 0], torch.tensor(torch.inf))


def count_a_batch(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    model.get_buffer("stem.1.num_batches_tracked").add_(1)


def thaw_and_move(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    with torch.no_grad():
        model.get_submodule("stem").requires_grad_(True).get_parameter("0.bias").add_(1.0)


def thaw(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    model.get_parameter("stem.1.weight").requires_grad_(True)


def freeze_more(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    model.get_parameter("head.0.bias").requires_grad_(False)


def give_to_the_optimizer(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    optimizer.add_param_group({"params": [model.get_parameter("stem.0.weight")]})
    optimizer.step()  # it has no gradient, and does not move


def leave_a_gradient(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    model.get_parameter("stem.0.bias").grad = torch.zeros(3)


def take_away(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    del model.get_submodule("stem.1").running_var


def replace_by_another_shape(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    old = model.get_parameter("stem.0.weight")
    model.get_submodule("stem.0").weight = nn.Parameter(old.detach().view(2, 3), requires_grad=False)


def replace_by_another_type(model: nn.Sequential, _optimizer: torch.optim.Optimizer) -> None:
    model.get_submodule("stem.1").running_mean = torch.zeros(3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("meddle", "found"),
    [
        (let_statistics_move, r"stem\.1\.running_mean moved, although it is frozen"),
        (nudge_a_weight, r"stem\.0\.weight moved, although it is frozen"),
        (count_a_batch, r"stem\.1\.num_batches_tracked moved, although it is frozen"),
        (thaw_and_move, r"stem\.0\.bias moved, although it is frozen"),
        (thaw, r"stem\.1\.weight learns, although it is frozen"),
        (freeze_more, r"head\.0\.bias neither learns nor was frozen when training began"),
        (give_to_the_optimizer, r"stem\.0\.weight is in the optimizer, although it is frozen"),
        (leave_a_gradient, r"stem\.0\.bias has a gradient, although it is frozen"),
        (take_away, r"stem\.1\.running_var is gone, although it is frozen"),
        (replace_by_another_shape, r"stem\.0\.weight moved, although it is frozen"),
        (replace_by_another_type, r"stem\.1\.running_mean moved, although it is frozen"),
    ],
)
def test_what_is_done_to_something_frozen_is_found_and_named(meddle: Meddling, found: str) -> None:
    model = toy()
    before, optimizer = digest_frozen(model), learner(model)
    meddle(model, optimizer)
    with pytest.raises(AuditError, match=f"^the audit found that {found}$"):
        audit(model, before, optimizer)


@pytest.mark.parametrize(
    "optimizer_of",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.0),
    ],
    ids=["SGD's momentum", "weight decay", "Adam's moments"],
)
def test_what_an_optimizer_goes_on_moving_after_it_was_frozen_in_mid_run_is_found(
    optimizer_of: Callable[..., torch.optim.Optimizer],
) -> None:
    model = toy()
    model.get_submodule("stem.0").requires_grad_(True)
    optimizer = optimizer_of(model.parameters())
    step(model, optimizer, points())
    model.get_submodule("stem.0").requires_grad_(False)
    before = digest_frozen(model)
    optimizer.zero_grad(set_to_none=False)
    step(model, optimizer, points())
    assert not model.get_parameter("stem.0.weight").grad.any()
    with pytest.raises(AuditError, match=r"stem\.0\.weight moved, although it is frozen"):
        audit(model, before, optimizer)


@pytest.mark.parametrize("name", ["scale", "offset"])
def test_a_root_modules_own_tensor_that_moves_is_found_under_its_own_name(name: str) -> None:
    module = Scaled().requires_grad_(False)
    before = digest_frozen(module)
    module.state_dict()[name].add_(1.0)
    with pytest.raises(AuditError, match=f" {name} moved, although it is frozen"):
        audit(module, before)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_norm_of_which_only_the_bias_learns_must_hold_its_statistics_still(mode: str) -> None:
    model = toy()
    model.get_parameter("stem.1.bias").requires_grad_(True)
    model.get_submodule("stem.1").train(mode == "train")
    before, optimizer = digest_frozen(model), learner(model)
    assert {"stem.1.weight", "stem.1.running_mean", "stem.1.running_var"} < set(before)
    assert "stem.1.bias" not in before
    step(model, optimizer, points())
    if mode == "eval":
        assert audit(model, before, optimizer) == 6
    else:
        with pytest.raises(AuditError, match=r"stem\.1\.running_mean moved, although it is frozen"):
            audit(model, before, optimizer)


def test_the_statistics_of_a_norm_without_parameters_must_stand_still_if_they_did_at_first() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, affine=False)).requires_grad_(False).eval()
    before = digest_frozen(model)
    model.train()(points())
    with pytest.raises(AuditError, match=r"1\.running_mean moved, although it is frozen"):
        audit(model, before)


# --- Batch mates ------------------------------------------------------------------------------------------------


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


# --- Models of others, trained by others ------------------------------------------------------------------------


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
