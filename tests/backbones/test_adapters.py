"""LoRA learns beside frozen layers and is merged without a trace; an earlier head ends the network where it says."""

import copy
import re
from pathlib import Path

import peft
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from frostline.backbones.adapters import (
    AdaptedConvolution,
    AdaptedLinear,
    build_for_plan,
    merge_adapters,
)
from frostline.backbones.audit import audit, digest_frozen
from frostline.backbones.freezing import apply_plan, count_parameters, cut_at_boundary, describe_learned
from frostline.backbones.runs import digest_pretrained
from frostline.errors import InputError
from frostline.params.schema import Plan
from frostline.training.costs import count_work
from frostline.training.grid import build_parts, make_feed, train_cell
from tests import toys
from tests.toys import training

pytestmark = pytest.mark.usefixtures("one_thread")

SIDES = {"efficientnet_lite0": 64, "timm/test_vit": 160, "timm/test_convnext": 64, "resnet18": 64, "vit_b_16": 224}
RANK = 4


def adapt(*parts: str, rank: int = RANK, weights: str = "none", **more: object) -> Plan:
    said = {"adapt": {"lora": rank, "parts": list(parts)}, "weights": weights, "learning_rates": [0.01]}
    return Plan.model_validate(said | more)


def built(name: str, plan: Plan, px: int | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    backbone = build_for_plan(name, "none", 3, px or SIDES[name], plan)
    apply_plan(backbone, plan)
    return backbone


def noise(name: str, images: int = 4) -> Tensor:
    return torch.randn(images, 3, SIDES[name], SIDES[name], generator=torch.Generator().manual_seed(1))


def step(backbone: nn.Sequential, images: Tensor, steps: int = 2) -> None:
    """Take steps: in the first the matrices after those that are drawn, which are 0, alone have a gradient."""
    learned = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=0.05)
    before = digest_frozen(backbone)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(backbone(images), torch.arange(len(images)) % 3).backward()
        optimizer.step()
    audit(backbone, before, optimizer)


@pytest.mark.parametrize("name", [name for name in SIDES if name != "vit_b_16"])
def test_only_adapters_and_the_head_learn_and_all_of_them_do(name: str) -> None:
    backbone = built(name, adapt("stage3", "stage4"))
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    step(backbone, noise(name))
    moved = {key for key, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[key])}
    learned = {key for key, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert moved == learned
    assert {key.rpartition(".")[2] for key in moved if not key.startswith("head.")} == {"lora_down", "lora_up"}
    assert {key.partition(".")[0] for key in moved} == {"stage3", "stage4", "head"}


@pytest.mark.parametrize("name", [name for name in SIDES if name != "vit_b_16"])
def test_adapted_is_as_it_was_before_training_and_merged_after_it_is_the_same_to_1e_5(name: str) -> None:
    plain = built(name, Plan(train=["head"], weights="none", learning_rates=[0.01])).eval()
    backbone, images = built(name, adapt("stage1", "stage4")), noise(name)
    with torch.no_grad():
        assert torch.equal(backbone.eval()(images), plain(images))
    step(backbone.train(), images)
    with torch.no_grad():
        unmerged = backbone.eval()(images)
        merged = merge_adapters(copy.deepcopy(backbone))
        assert not torch.allclose(unmerged, plain(images), atol=1e-2)
        torch.testing.assert_close(merged(images), unmerged, rtol=1e-5, atol=1e-5)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    assert not any(isinstance(module, AdaptedLinear | AdaptedConvolution) for module in merged.modules())


def test_parameters_are_rank_times_inputs_and_outputs_of_each_layer() -> None:
    plan = adapt("stage4")
    backbone = built("resnet18", plan)
    kernels = [(256, 512, 9), (512, 512, 9), (256, 512, 1), (512, 512, 9), (512, 512, 9)]
    expected = sum(RANK * (inputs * kernel + outputs) for inputs, outputs, kernel in kernels) + 512 * 3 + 3
    assert count_parameters(backbone)[0] == expected
    assert describe_learned(backbone, plan) == ["head", "LoRA-4(stage4)"]


@pytest.mark.parametrize("convolution", [False, True])
def test_a_layer_gives_and_merges_to_what_peft_s_does(convolution: bool) -> None:
    """With the same matrices; PEFT's scale is 1 where its alpha is the rank."""
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 10, 3, stride=2, padding=1) if convolution else nn.Linear(6, 10)
    inputs = torch.randn(2, 6, 8, 8) if convolution else torch.randn(2, 5, 6)
    ours = AdaptedConvolution(layer, RANK) if isinstance(layer, nn.Conv2d) else AdaptedLinear(layer, RANK)
    nn.init.normal_(ours.lora_up)
    network = nn.Sequential(nn.Identity(), copy.deepcopy(layer))
    theirs = peft.get_peft_model(network, peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["1"]))
    state = theirs.state_dict()
    for name, tensor in (("lora_A", ours.lora_down), ("lora_B", ours.lora_up)):
        (key,) = [key for key in state if name in key]
        state[key] = tensor.detach()
    theirs.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(ours(inputs), theirs(inputs), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.merge()(inputs), theirs.merge_and_unload()(inputs), rtol=1e-5, atol=1e-5)


def test_depthwise_convolutions_and_weights_that_are_read_by_hand_are_left() -> None:
    lite = built("efficientnet_lite0", adapt("stem", "stage1", "stage2", "stage3", "stage4"))
    grouped = [layer for layer in lite.modules() if isinstance(layer, nn.Conv2d) and layer.groups > 1]
    assert grouped
    assert not any(isinstance(layer, AdaptedConvolution) for layer in grouped)
    backbone = built("vit_b_16", adapt("stage4"))
    attention = [module for module in backbone.modules() if isinstance(module, nn.MultiheadAttention)]
    assert attention
    assert not any(isinstance(layer, AdaptedLinear) for module in attention for layer in module.modules())
    assert sum(isinstance(layer, AdaptedLinear) for layer in backbone.modules()) == 3 * 2  # of each layer's MLP


def test_what_lies_before_the_first_adapter_is_a_prefix_and_kept_exactly(tmp_path: Path) -> None:
    asked = {kept: training(cache_bytes=kept, epochs=2) for kept in (0, 10**9)}
    fits = []
    for kept, taught in asked.items():
        job = toys.job("efficientnet_lite0", adapt("stage4", weights="pretrained"), tmp_path / str(kept), taught)
        prefix, suffix = build_parts(job, 0)
        assert [name for name, _ in prefix.named_children()] == ["stem", "stage1", "stage2", "stage3"]
        assert [name for name, _ in suffix.named_children()] == ["stage4", "head"]
        feed = make_feed(job)
        assert feed.cache.place == ("memory" if kept else "off")
        fits.append(toys.train(job, feed))
    toys.assert_same(*fits)


def test_it_saves_parameters_and_not_computation() -> None:
    """Backward still goes through all layers up to the first adapter, whose own gradients alone are spared."""
    work = {}
    for name, plan in {
        "adapted": adapt("stem", "stage1", "stage2", "stage3", "stage4"),
        "whole": Plan.model_validate({"from": "stem", "weights": "none", "learning_rates": [0.01]}),
        "head": Plan(train=["head"], weights="none", learning_rates=[0.01]),
    }.items():
        backbone = built("resnet18", plan)
        work[name] = count_work(*cut_at_boundary(backbone, 64), 64), count_parameters(backbone)[0]
    assert work["adapted"][1] < 0.1 * work["whole"][1]
    assert work["adapted"][0].live > 0.6 * work["whole"][0].live
    assert work["head"][0].live < 0.4 * work["whole"][0].live


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (
            adapt("stage9"),
            r"a plan must adapt stem, stage1, stage2, stage3 or stage4, or their blocks\. Got 'stage9' i",
        ),
        (adapt("head"), r"a plan must adapt .* Got 'head' instead\. The head learns anyway\."),
        (adapt("stage4.2"), r"a plan must adapt what has linear layers or dense convolutions\. Got 'stage4\.2', which"),
        (adapt("stage4", head_after="stage2"), r"a plan must adapt what has linear .* Got 'stage4', which has none"),
    ],
)
def test_what_cannot_be_adapted_is_refused_in_one_line(plan: Plan, words: str) -> None:
    with pytest.raises(InputError, match=f"^{words}"):
        built("resnet18", plan)


def test_phases_that_adapt_the_same_layers_have_the_same_rank() -> None:
    phase = {"epochs": 1, "learning_rates": [0.1]}
    phases = [{"adapt": {"lora": rank, "parts": ["stage4"]}, **phase} for rank in (2, 4)]
    plan = Plan.model_validate({"weights": "none", "phases": phases})
    with pytest.raises(InputError, match=r"^a plan must adapt stage4 with the same rank in all phases\. Got 2 and 4 i"):
        built("resnet18", plan)


@pytest.mark.parametrize(("name", "features"), [("resnet18", 256), ("timm/test_vit", 64), ("timm/test_convnext", 48)])
def test_an_earlier_head_sees_the_mean_of_what_its_part_makes(name: str, features: int) -> None:
    plan = Plan.model_validate({"from": "head", "weights": "none", "learning_rates": [0.1], "head_after": "stage3"})
    backbone = built(name, plan).eval()
    whole = built(name, Plan(train=["head"], weights="none", learning_rates=[0.1])).eval()
    with torch.no_grad():
        made = nn.Sequential(*[*whole.children()][:4])(noise(name))
        pooled = made.mean((2, 3)) if made.dim() == 4 else made.mean(1)
        head = backbone.get_submodule("head.0.logits")
        assert pooled.shape == (4, features)
        assert torch.equal(backbone(noise(name)), head(pooled))
    assert count_parameters(backbone)[0] == features * 3 + 3
    assert [len([*part.parameters()]) for part in backbone.children()][4] == 0
    assert (
        count_work(*cut_at_boundary(backbone, SIDES[name]), SIDES[name]).prefix
        < 0.95 * count_work(*cut_at_boundary(whole, SIDES[name]), SIDES[name]).prefix
    )


def test_what_a_head_comes_before_cannot_learn() -> None:
    plan = Plan.model_validate(
        {"train": ["stage4"], "weights": "none", "learning_rates": [0.1], "head_after": "stage2"}
    )
    with pytest.raises(
        InputError, match=re.escape("a plan must name what has parameters. Got 'stage4', which has none")
    ):
        built("resnet18", plan)
    with pytest.raises(
        InputError, match=r"^a plan, head_after, must name a part that has blocks\. Got 'stage1', which"
    ):
        built("shufflenet_v2_x1_0", Plan.model_validate(plan.model_dump(by_alias=True) | {"head_after": "stage1"}), 64)


def test_all_plans_get_the_same_new_head() -> None:
    heads = [
        built("resnet18", plan).get_submodule("head").state_dict()
        for plan in (adapt("stage4"), Plan(train=["head"], weights="none", learning_rates=[0.1]))
    ]
    assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])
    backbone = built("resnet18", adapt("stage4"))
    assert not any("lora" in name for name in digest_pretrained(backbone))


def test_a_phase_of_lora_goes_on_from_where_the_head_was_and_its_audit_passes(tmp_path: Path) -> None:
    phases = [
        {"from": "head", "epochs": 1, "learning_rates": [0.01]},
        {"adapt": {"lora": RANK, "parts": ["stage4"]}, "epochs": 1, "learning_rates": [0.01]},
    ]
    plan = Plan.model_validate({"weights": "pretrained", "phases": phases})
    job = toys.job("efficientnet_lite0", plan, tmp_path)
    labels = torch.from_numpy(job.data.labels)
    ended = []
    for phase, rates in ((1, (0.01,)), (2, (0.01, 0.01))):
        feed = make_feed(job, phase)
        for replicate in (1, 0):
            *_, fit = train_cell(job, feed, labels, rates, replicate)
            assert fit.audited
        ended.append({name: tensor.clone() for name, tensor in fit.suffix.state_dict().items()})
    assert [epoch.phase for epoch in fit.history] == [1, 2]
    assert set(fit.history[0].learning_rates) == {"head"}
    assert set(fit.history[1].learning_rates) == {"stage4", "head"}
    ups = [tensor for name, tensor in ended[1].items() if name.endswith("lora_up")]
    assert ups
    assert all(tensor.any() for tensor in ups)
