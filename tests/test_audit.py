"""Claims about stages/audit.py: whatever moves although it is frozen is found, and named."""

import pytest
import torch
from torch import Tensor, nn

from stages.audit import check_frozen, frozen_digests
from stages.backbones import ARCHITECTURES, build_backbone
from stages.freezing import apply_plan


def toy() -> nn.Sequential:
    """Return a stem with BatchNorm, frozen only as far as `requires_grad` goes, and a head that learns."""
    backbone = nn.Sequential()
    backbone.add_module("stem", nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).requires_grad_(False))
    backbone.add_module("head", nn.Sequential(nn.Linear(3, 2)))
    return backbone


def points() -> Tensor:
    return torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 4.0], [6.0, 8.0]])


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


def test_the_audit_looks_at_every_frozen_parameter_and_buffer_and_at_nothing_else() -> None:
    assert set(frozen_digests(toy())) == {
        "stem.0.weight",
        "stem.0.bias",
        "stem.1.weight",
        "stem.1.bias",
        "stem.1.running_mean",
        "stem.1.running_var",
        "stem.1.num_batches_tracked",
    }


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_audit_of_a_backbone_looks_at_every_tensor_of_its_frozen_parts(name: str) -> None:
    backbone = build_backbone(name, "none", 2)
    apply_plan(backbone, ("stage2", "head"))
    frozen = {key for key in backbone.state_dict() if key.split(".")[0] not in ("stage2", "head")}
    assert set(frozen_digests(backbone)) == frozen


def test_a_model_that_nobody_touched_passes() -> None:
    backbone = toy()
    before = frozen_digests(backbone)
    check_frozen(backbone, before)
    assert frozen_digests(backbone) == before


def test_a_step_that_moves_only_what_learns_passes() -> None:
    backbone = toy().train()
    backbone.get_submodule("stem").eval()
    before, head = frozen_digests(backbone), backbone.get_parameter("head.0.weight").clone()
    backbone(points()).square().sum().backward()
    torch.optim.AdamW(backbone.parameters(), lr=0.1, weight_decay=0.1).step()
    assert not torch.equal(backbone.get_parameter("head.0.weight"), head)
    check_frozen(backbone, before)


def test_batchnorm_statistics_that_move_in_a_frozen_module_are_found() -> None:
    backbone = toy()
    before = frozen_digests(backbone)
    backbone.train()(points())  # no gradient, no optimizer: the forward pass alone moves them
    with pytest.raises(RuntimeError, match=r"stem\.1\.running_mean moved, although the plan freezes it"):
        check_frozen(backbone, before)


def test_a_frozen_weight_that_moves_by_one_unit_in_the_last_place_is_found() -> None:
    backbone = toy()
    before = frozen_digests(backbone)
    weight = backbone.get_parameter("stem.0.weight")
    weight[1, 0] = torch.nextafter(weight[1, 0], torch.tensor(torch.inf))
    with pytest.raises(RuntimeError, match=r"stem\.0\.weight moved, although the plan freezes it"):
        check_frozen(backbone, before)


@pytest.mark.parametrize("name", ["stem.1.running_var", "stem.1.num_batches_tracked"])
def test_a_frozen_buffer_that_moves_is_found(name: str) -> None:
    backbone = toy()
    before = frozen_digests(backbone)
    backbone.get_buffer(name).add_(1)
    with pytest.raises(RuntimeError, match=f"{name} moved, although the plan freezes it"):
        check_frozen(backbone, before)


def test_a_frozen_weight_that_was_let_loose_and_moved_is_found() -> None:
    backbone = toy()
    before = frozen_digests(backbone)
    backbone.get_submodule("stem").requires_grad_(True)
    with torch.no_grad():
        backbone.get_parameter("stem.0.bias").add_(1.0)
    with pytest.raises(RuntimeError, match=r"stem\.0\.bias moved, although the plan freezes it"):
        check_frozen(backbone, before)


def test_a_module_of_any_kind_is_audited_by_the_names_of_its_state_dict() -> None:
    assert set(frozen_digests(Scaled().requires_grad_(False))) == set(Scaled().state_dict())


@pytest.mark.parametrize("name", ["scale", "offset"])
def test_a_root_modules_own_tensor_that_moves_is_found_under_its_own_name(name: str) -> None:
    module = Scaled().requires_grad_(False)
    before = frozen_digests(module)
    module.state_dict()[name].add_(1.0)
    with pytest.raises(RuntimeError, match=f" {name} moved, although the plan freezes it"):
        check_frozen(module, before)
