"""Whatever moves although it is frozen is found, and named, in a module of any kind."""

import ast
import sys

import pytest
import torch
from torch import Tensor, nn

from frostline.backbones.audit import AuditError, audit, digest_frozen
from frostline.backbones.freezing import apply_plan
from frostline.backbones.registry import build_backbone
from frostline.networks.catalog import ARCHITECTURES
from frostline.params.schema import Plan
from tests.backbones.audited import Scaled, learner, points, step, toy
from tests.project import ROOT


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
