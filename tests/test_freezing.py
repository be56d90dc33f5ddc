"""Claims about stages/freezing.py: what a plan freezes stands still, and what it does not freeze learns."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.backbones import ARCHITECTURES, build_backbone
from stages.freezing import apply_plan, count_parameters, cut_at_boundary
from stages.vocabulary import PARTS

PLANS = {
    "head": ("head",),
    "stage4": PARTS[4:],
    "stage3": PARTS[3:],
    "all": PARTS,
    "stem-and-head": ("stem", "head"),
    "stage2-only": ("stage2",),
    "stage1-and-stage4": ("stage1", "stage4"),
}

every_backbone = pytest.mark.parametrize("name", ARCHITECTURES)
every_plan = pytest.mark.parametrize("learned", PLANS.values(), ids=PLANS)


def frozen_backbone(name: str, learned: tuple[str, ...]) -> nn.Sequential:
    torch.manual_seed(0)
    backbone = build_backbone(name, "none", 3)
    apply_plan(backbone, learned)
    return backbone


def noise(images: int = 8) -> Tensor:
    return torch.randn(images, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def take_a_step(model: nn.Module, learned_by: nn.Module) -> None:
    """Take one step of AdamW, with weight decay, on all parameters of `learned_by`: also on those that are frozen."""
    optimizer = torch.optim.AdamW(learned_by.parameters(), lr=0.01, weight_decay=0.1)
    functional.cross_entropy(model(noise()), torch.arange(8) % 3).backward()
    optimizer.step()


def names_in(backbone: nn.Sequential, parts: tuple[str, ...]) -> set[str]:
    return {name for name in backbone.state_dict() if name.split(".")[0] in parts}


@every_plan
@every_backbone
def test_a_training_step_moves_trained_parts_and_nothing_else(name: str, learned: tuple[str, ...]) -> None:
    backbone = frozen_backbone(name, learned).train()
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    take_a_step(backbone, backbone)
    moved = {key for key, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[key])}
    assert moved == names_in(backbone, learned)  # weights, and BatchNorm's statistics and counts


@every_plan
@every_backbone
def test_a_step_of_the_suffix_moves_trained_parts_and_nothing_else(name: str, learned: tuple[str, ...]) -> None:
    backbone = frozen_backbone(name, learned)
    prefix, suffix = cut_at_boundary(backbone, learned)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    suffix.train()
    take_a_step(nn.Sequential(prefix, suffix), suffix)
    moved = {key for key, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[key])}
    assert moved == names_in(backbone, learned)


@every_plan
@every_backbone
def test_no_gradient_is_computed_for_what_is_frozen(name: str, learned: tuple[str, ...]) -> None:
    backbone = frozen_backbone(name, learned).train()
    backbone(noise()).sum().backward()
    with_gradient = {key for key, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert with_gradient == names_in(backbone, learned) & {key for key, _ in backbone.named_parameters()}


@every_plan
@every_backbone
def test_frozen_modules_stay_in_eval_mode_whatever_is_asked(name: str, learned: tuple[str, ...]) -> None:
    backbone = frozen_backbone(name, learned)
    _, suffix = cut_at_boundary(backbone, learned)
    for ask in (backbone.train, lambda: backbone.train(True), suffix.train, lambda: suffix.train(True)):
        backbone.eval()
        ask()
        for part, module in backbone.named_children():
            assert {each.training for each in module.modules()} == {part in learned}


@every_backbone
def test_a_frozen_module_that_is_asked_to_train_by_itself_stays_in_eval_mode(name: str) -> None:
    stem = frozen_backbone(name, ("head",)).get_submodule("stem")
    for module in stem.modules():
        assert module.train() is module
    assert not any(module.training for module in stem.modules())


@every_plan
@every_backbone
def test_prefix_then_suffix_is_the_whole(name: str, learned: tuple[str, ...]) -> None:
    backbone = frozen_backbone(name, learned).eval()
    prefix, suffix = cut_at_boundary(backbone, learned)
    with torch.inference_mode():
        assert torch.equal(suffix(prefix(noise())), backbone(noise()))
    assert [*prefix.state_dict(), *suffix.state_dict()] == [*backbone.state_dict()]


@every_plan
@every_backbone
def test_the_suffix_begins_with_the_first_part_that_learns(name: str, learned: tuple[str, ...]) -> None:
    prefix, suffix = cut_at_boundary(frozen_backbone(name, learned), learned)
    assert next(iter(dict(suffix.named_children()))) == learned[0]
    assert not any(parameter.requires_grad for parameter in prefix.parameters())


@every_plan
@every_backbone
def test_the_counted_parameters_are_those_that_learn(name: str, learned: tuple[str, ...]) -> None:
    backbone = frozen_backbone(name, learned)
    learning = sum(parameter.numel() for parameter in backbone.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in backbone.parameters())
    assert count_parameters(backbone, learned) == (learning, total)


@every_backbone
def test_the_counts_of_the_parts_sum_to_the_total(name: str) -> None:
    backbone = build_backbone(name, "none", 3)
    counts = [count_parameters(backbone, [part])[0] for part in PARTS]
    assert (sum(counts), sum(counts)) == count_parameters(backbone, PARTS)


def test_a_toys_parameters_are_counted_as_by_hand() -> None:
    toy = nn.Sequential()
    toy.add_module("stem", nn.Linear(2, 3))  # 2 x 3 weights and 3 biases
    toy.add_module("head", nn.Linear(3, 1))  # 3 x 1 weights and 1 bias
    assert count_parameters(toy, ["head"]) == (4, 13)
    assert count_parameters(toy, ["stem"]) == (9, 13)


def test_a_new_plan_takes_the_place_of_an_old_one() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("efficientnet_lite0", "none", 3)
    apply_plan(backbone, ["head"])
    apply_plan(backbone, ["stage4", "head"])
    backbone.train()
    modes = {name: part.training for name, part in backbone.named_children()}
    assert [name for name, training in modes.items() if training] == ["stage4", "head"]
    assert all(parameter.requires_grad for parameter in backbone.get_submodule("stage4").parameters())


def test_a_part_that_the_backbone_lacks_is_refused_by_name() -> None:
    backbone = build_backbone("efficientnet_lite0", "none", 3)
    with pytest.raises(ValueError, match=r"^a plan must name stem, .* or head. Got 'stage9' instead.$"):
        apply_plan(backbone, ["stage9", "head"])
