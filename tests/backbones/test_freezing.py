"""What a plan freezes stands still, and what it does not freeze learns."""

import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from frostline.backbones.freezing import (
    PartCount,
    apply_plan,
    count_by_part,
    count_parameters,
    cut_at_boundary,
    describe_learned,
    list_blocks,
    refuse_unfit,
)
from frostline.backbones.registry import build_backbone
from frostline.constants import BACKBONES, PARTS, SELECTORS
from frostline.errors import InputError
from frostline.params import Plan

NORMLESS = ("alexnet", "vgg16", "squeezenet1_1", "mlp", "cnn2")
ONE_BLOCK = ("mlp", "cnn2", "cnn3")
"""Their stage4 is one hidden layer."""
SMALL = ("efficientnet_lite0", "resnet18", "mobilenet_v3_small", "shufflenet_v2_x1_0", "squeezenet1_1")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def learn_from(name: str) -> Plan:
    return Plan.model_validate({"from": name, "weights": "pretrained", "learning_rates": [0.001]})


def learn(*names: str) -> Plan:
    return Plan(train=list(names), weights="pretrained", learning_rates=[0.001])


class Case(NamedTuple):
    """A plan, in which blocks (by part and number) all learns under it, and the selector that it has beside them."""

    plan: Plan
    learns: Callable[[str, int], bool]
    selector: str = ""


CASES = {
    "head": Case(learn_from("head"), lambda part, _: part == "head"),
    "from-stage2": Case(learn_from("stage2"), lambda part, _: part in ("stage2", "stage3", "stage4", "head")),
    "all": Case(learn_from("stem"), lambda *_: True),
    "stem-and-head": Case(learn("stem", "head"), lambda part, _: part in ("stem", "head")),
    "from-stage4.1": Case(
        learn_from("stage4.1"), lambda part, block: part == "head" or (part == "stage4" and block >= 1)
    ),
    "norms-and-head": Case(learn("norms", "head"), lambda part, _: part == "head", "norms"),
    "biases-and-head": Case(learn("biases", "head"), lambda part, _: part == "head", "biases"),
}


class Fresh(NamedTuple):
    """An untrained backbone with three classes, and a plan for it. Copy the backbone before you change it."""

    name: str
    backbone: nn.Sequential


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute in one thread: over images this small, two wait for each other longer than they compute."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def fresh(request: pytest.FixtureRequest) -> Fresh:
    """Build each backbone once, and never two at a time: some take half a gigabyte."""
    torch.manual_seed(6)  # SqueezeNet's logits pass a ReLU: under other seeds all may be 0, and nothing learns
    return Fresh(request.param, build_backbone(request.param, "none", 3))


every_backbone = pytest.mark.parametrize("fresh", BACKBONES, indirect=True, scope="module")
every_plan = pytest.mark.parametrize(
    ("fresh", "case"),
    [
        pytest.param(name, case, id=f"{name}-{label}")
        for name in BACKBONES
        for label, case in CASES.items()
        if not (case.selector == "norms" and name in NORMLESS) and not (label == "from-stage4.1" and name in ONE_BLOCK)
    ],
    indirect=["fresh"],
    scope="module",
)
small_backbones = pytest.mark.parametrize("fresh", SMALL, indirect=True, scope="module")


def frozen(fresh: Fresh, plan: Plan) -> nn.Sequential:
    backbone = copy.deepcopy(fresh.backbone)
    apply_plan(backbone, plan)
    return backbone


def noise(name: str, images: int = 3) -> Tensor:
    """Return noise of the smallest side that the backbone can see: no larger one shows more of what moves."""
    side = BACKBONES[name][0]
    return torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(1))


def take_a_step(model: nn.Module, pixels: Tensor, learned_by: nn.Module) -> None:
    """Take one step of AdamW, with weight decay, on all parameters of `learned_by`: also on those that are frozen."""
    torch.manual_seed(0)  # of dropout
    optimizer = torch.optim.AdamW(learned_by.parameters(), lr=0.01, weight_decay=0.1)
    functional.cross_entropy(model(pixels), torch.arange(len(pixels)) % 3).backward()
    optimizer.step()


def moved(before: nn.Module, after: nn.Module) -> set[str]:
    """Return the names of the tensors, buffers included, that are not bit for bit what they were."""
    then, now = before.state_dict(), after.state_dict()
    assert then.keys() == now.keys()
    return {name for name in then if not torch.equal(then[name], now[name])}


def is_norm(module: nn.Module) -> bool:
    return "Norm" in type(module).__name__ and not isinstance(module, nn.Sequential)


def is_bias(name: str) -> bool:
    """An attention's in_proj_bias is one; Swin's relative_position_bias_table, which attention adds to, is none."""
    return name.rpartition(".")[2] in ("bias", "in_proj_bias")


def in_learning_block(name: str, case: Case) -> bool:
    part, block, *_ = [*name.split("."), "", ""]
    return block.isdecimal() and case.learns(part, int(block))


def awake(backbone: nn.Module, case: Case) -> set[str]:
    """Return the names of the modules that shall be in train mode: all in learning blocks, and norms under `norms`."""
    return {
        name
        for name, module in backbone.named_modules()
        if in_learning_block(name, case) or (case.selector == "norms" and is_norm(module))
    }


def learning(backbone: nn.Module, case: Case) -> set[str]:
    """Return the names of the parameters that shall learn."""
    norms = {name for name, module in backbone.named_modules() if is_norm(module)}
    return {
        name
        for name, _ in backbone.named_parameters()
        if in_learning_block(name, case)
        or (case.selector == "norms" and name.rpartition(".")[0] in norms)
        or (case.selector == "biases" and is_bias(name))
    }


def statistics(backbone: nn.Module, case: Case) -> set[str]:
    """Return the names of the buffers that shall move: BatchNorm's, where it is in train mode. No others ever do."""
    modules = awake(backbone, case)
    names = {name for name, _ in backbone.named_buffers()}
    return {name for name in names if name.rpartition(".")[0] in modules and name.endswith(STATISTICS)}


def without_a_gradient(name: str, backbone: nn.Module, case: Case) -> set[str]:
    """Return the biases whose gradient is 0 but for rounding: a norm in train mode takes from each channel its mean.

    Among these backbones VGG with BatchNorm alone has biases before it.
    """
    if name != "vgg16_bn":
        return set()
    modules = awake(backbone, case)
    convolutions = {inner for inner, module in backbone.named_modules() if isinstance(module, nn.Conv2d)}
    after = {inner: f"{inner.rpartition('.')[0]}.1" for inner in convolutions}
    return {f"{inner}.bias" for inner, norm in after.items() if norm in modules}


@every_plan
def test_a_training_step_moves_what_learns_and_nothing_else(fresh: Fresh, case: Case) -> None:
    """A weight that decays moves without a gradient, too: what learns must have one, and other than 0."""
    backbone = frozen(fresh, case.plan).train()
    take_a_step(backbone, noise(fresh.name), backbone)
    shall, may = learning(backbone, case), without_a_gradient(fresh.name, backbone, case)
    gradients = {name: parameter.grad for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert gradients.keys() == shall
    assert [name for name, gradient in gradients.items() if not gradient.any() and name not in may] == []
    shall |= statistics(backbone, case)
    assert shall - may <= moved(fresh.backbone, backbone) <= shall


@every_plan
def test_the_modules_in_train_mode_are_those_of_learning_blocks_whatever_is_asked(fresh: Fresh, case: Case) -> None:
    backbone = frozen(fresh, case.plan)
    shall = awake(backbone, case)
    asked: list[Callable[[], object]] = [backbone.train, lambda: backbone.train(True)]
    asked += [lambda: [part.train() for part in backbone], lambda: nn.Sequential(backbone).train()]
    for ask in [*asked, lambda: [module.train() for module in backbone.modules()]]:
        backbone.eval()
        assert not any(module.training for module in backbone.modules())
        ask()
        assert {name for name, module in backbone.named_modules() if module.training and name} == shall


@every_plan
def test_the_prefix_holds_nothing_that_learns_or_is_in_train_mode_and_the_next_block_does(
    fresh: Fresh, case: Case
) -> None:
    backbone = frozen(fresh, case.plan)
    prefix, suffix = cut_at_boundary(backbone)
    nn.Sequential(prefix, suffix).train()
    assert not any(module.training for module in prefix.modules())
    assert not any(parameter.requires_grad for parameter in prefix.parameters())
    first = list_blocks(suffix)[0]
    block = suffix.get_submodule(first)
    assert any(parameter.requires_grad for parameter in block.parameters()) or block.training
    assert list_blocks(prefix) + list_blocks(suffix) == list_blocks(backbone)
    assert [*prefix.state_dict(), *suffix.state_dict()] == [*backbone.state_dict()]


@every_plan
def test_the_counted_parameters_are_those_that_learn_and_the_parts_sum_to_the_total(fresh: Fresh, case: Case) -> None:
    backbone = frozen(fresh, case.plan)
    sizes = {name: parameter.numel() for name, parameter in backbone.named_parameters()}
    counts = count_by_part(backbone)
    assert [count.part for count in counts] == [*PARTS]
    for count in counts:
        own = {name: size for name, size in sizes.items() if name.startswith(f"{count.part}.")}
        trained = sum(size for name, size in own.items() if name in learning(backbone, case))
        assert (count.parameters, count.trainable) == (sum(own.values()), trained)
    assert count_parameters(backbone) == (sum(count.trainable for count in counts), sum(sizes.values()))


@every_backbone
def test_at_every_block_prefix_then_suffix_is_bit_for_bit_the_whole(fresh: Fresh) -> None:
    backbone = copy.deepcopy(fresh.backbone)
    stir_statistics(backbone)
    pixels = 10_000 * noise(
        fresh.name, 2
    )  # fresh weights shrink what tells two images apart, below float32 in MobileNetV3
    with torch.inference_mode():
        whole = backbone.eval()(pixels)
        for block in learnable_blocks(backbone):
            if fresh.name == "vit_b_16" and not block.endswith(".0"):
                continue  # it takes half a second an image, and inside of a part its layers are all alike
            apply_plan(backbone, learn_from(block))
            prefix, suffix = cut_at_boundary(backbone.eval())
            assert list_blocks(suffix)[0] == block
            assert torch.equal(suffix(prefix(pixels)), whole), block
    assert not torch.equal(whole[0], whole[1])  # two images can be told apart


def learnable_blocks(backbone: nn.Sequential) -> list[str]:
    """Return the blocks from which a plan may learn: those that have parameters in or after them."""
    blocks = list_blocks(backbone)
    last = max(place for place, block in enumerate(blocks) if [*backbone.get_submodule(block).parameters()])
    return blocks[: last + 1]


def stir_statistics(model: nn.Module) -> None:
    """Give every BatchNorm its own statistics: fresh ones are all alike, and would not tell two layers apart."""
    generator = torch.Generator().manual_seed(2)
    for name, tensor in model.named_buffers():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif name.endswith("running_mean"):
            tensor.normal_(0.0, 0.1, generator=generator)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@small_backbones
def test_a_step_of_the_suffix_is_bit_for_bit_a_step_of_the_whole(fresh: Fresh, case: Case) -> None:
    if case.selector == "norms" and fresh.name in NORMLESS:
        case = CASES["head"]
    whole, halves = frozen(fresh, case.plan), frozen(fresh, case.plan)
    prefix, suffix = cut_at_boundary(halves)
    take_a_step(whole, noise(fresh.name), whole)
    with torch.no_grad():
        features = prefix(noise(fresh.name))
    take_a_step(suffix, features, suffix)
    assert moved(whole, halves) == set()
    assert moved(fresh.backbone, halves) != set()


@pytest.mark.parametrize("fresh", ["resnet18", "vgg16_bn"], indirect=True, scope="module")
def test_under_biases_no_statistics_move_and_under_norms_all_do(fresh: Fresh) -> None:
    buffers = {name for name, _ in fresh.backbone.named_buffers()}
    for selector, moving in (("biases", set()), ("norms", buffers)):
        backbone = frozen(fresh, learn(selector, "head"))
        take_a_step(backbone, noise(fresh.name), backbone)
        assert moved(fresh.backbone, backbone) & buffers == moving


@every_backbone
def test_a_backbone_without_norms_refuses_them_and_every_backbone_has_biases(fresh: Fresh) -> None:
    refuse_unfit(fresh.backbone, learn("biases"))
    if fresh.name in NORMLESS:
        with pytest.raises(InputError, match=r"^a plan must name what the backbone has; it has no norms. Got 'norms'"):
            refuse_unfit(fresh.backbone, learn("norms", "head"))
    else:
        refuse_unfit(fresh.backbone, learn("norms"))


def resnet18() -> nn.Sequential:
    return build_backbone("resnet18", "none", 3)


def test_resnet18_with_3_classes_has_the_published_count_of_each_part() -> None:
    backbone = resnet18()
    assert {count.part: count.parameters for count in count_by_part(backbone)} == {
        "stem": 9_536,
        "stage1": 147_968,
        "stage2": 525_568,
        "stage3": 2_099_712,
        "stage4": 8_393_728,
        "head": 1_539,
    }
    blocks = [backbone.get_submodule(name) for name in ("stage4.0", "stage4.1")]
    assert [sum(each.numel() for each in block.parameters()) for block in blocks] == [3_673_088, 4_720_640]
    assert count_parameters(backbone) == (11_178_051, 11_178_051)


@pytest.mark.parametrize(
    ("frozen_stages", "trainable"),
    [
        (("stage1",), 11_030_083),
        (("stage1", "stage2"), 10_504_515),
        (("stage1", "stage2", "stage3"), 8_404_803),
        (("stage1", "stage2", "stage3", "stage4"), 11_075),
    ],
)
def test_resnet18_trains_the_published_count_in_each_plan_of_the_study_that_this_continues(
    frozen_stages: tuple[str, ...], trainable: int
) -> None:
    """That study never froze the stem."""
    backbone = resnet18()
    apply_plan(backbone, learn(*(part for part in PARTS if part not in frozen_stages)))
    assert count_parameters(backbone) == (trainable, 11_178_051)


def toy() -> nn.Sequential:
    """Return a stem of one block, and a head of two."""
    backbone = nn.Sequential()
    backbone.add_module("stem", nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))))
    backbone.add_module("head", nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)))
    return backbone


@pytest.mark.parametrize(
    ("plan", "stem", "head"),
    [
        (learn_from("stem"), 15, 21),  # 2 x 3 weights and 3 biases, 3 and 3 of the norm; 3 x 4 + 4, and 4 x 1 + 1
        (learn_from("head"), 0, 21),
        (learn_from("head.1"), 0, 5),
        (learn("head.0"), 0, 16),
        (learn("norms"), 6, 0),
        (learn("biases"), 6, 5),
        (learn("biases", "norms", "head.1"), 9, 9),
    ],
)
def test_a_toys_parameters_are_counted_as_by_hand(plan: Plan, stem: int, head: int) -> None:
    backbone = toy()
    apply_plan(backbone, plan)
    assert count_by_part(backbone) == [PartCount("stem", 15, stem), PartCount("head", 21, head)]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (learn_from("head"), ["head"]),
        (learn_from("stem"), ["stem", "stage1", "stage2", "stage3", "stage4", "head"]),
        (learn_from("stem.2"), ["stage1", "stage2", "stage3", "stage4", "head"]),  # the stem's ReLU and its pool
        (learn_from("stage4.1"), ["stage4.1", "head"]),
        (learn_from("stage3.1"), ["stage3.1", "stage4", "head"]),
        (learn("stem.0", "stem.1"), ["stem"]),  # all of it that has parameters
        (learn("head", "stage4.0"), ["stage4.0", "head"]),
        (learn("biases", "head", "norms"), ["head", "norms", "biases"]),
    ],
)
def test_what_learns_is_told_in_the_fewest_words(plan: Plan, said: list[str]) -> None:
    assert describe_learned(resnet18(), plan) == said


def test_the_last_blocks_of_a_part_are_told_as_a_run_and_others_one_by_one() -> None:
    backbone = build_backbone("resnet34", "none", 3)
    assert describe_learned(backbone, learn_from("stage3.2")) == ["stage3.2-5", "stage4", "head"]
    assert describe_learned(backbone, learn("stage3.0", "stage3.2")) == ["stage3.0", "stage3.2"]


def test_a_new_plan_takes_the_place_of_an_old_one() -> None:
    backbone, anew = resnet18(), resnet18()
    for name in ("head", "stem", "stage4.1"):
        apply_plan(backbone, learn_from(name))
    for plan in (learn("norms"), learn("stem", "biases")):
        apply_plan(backbone, plan)
    apply_plan(anew, learn("stem", "biases"))
    for at, other in zip(backbone.modules(), anew.modules(), strict=True):
        assert at.training == other.training
    learned, expected = ([each.requires_grad for each in model.parameters()] for model in (backbone, anew))
    assert learned == expected


def test_a_copy_of_a_frozen_backbone_is_frozen_too_and_goes_its_own_way() -> None:
    backbone = resnet18()
    apply_plan(backbone, learn("stage4.1", "head"))
    twin = copy.deepcopy(backbone)
    twin.eval().train()
    assert twin.get_submodule("stage4.1.bn1").training
    assert not twin.get_submodule("stage4.0.bn1").training
    take_a_step(twin, noise("resnet18"), twin)
    assert {".".join(name.split(".")[:2]) for name in moved(backbone, twin)} == {"stage4.1", "head.0"}
    backbone.eval()
    assert twin.get_submodule("stage4.1.bn1").training  # what the one is asked, the other does not hear
    apply_plan(twin, learn_from("stem"))
    assert not backbone.get_parameter("stem.0.weight").requires_grad
    assert not backbone.get_submodule("stem.1").train().training


@pytest.mark.parametrize(
    ("name", "plan", "line"),
    [
        (
            "resnet18",
            learn("stage9", "head"),
            "a plan must name stem, stage1, stage2, stage3, stage4, head, norms or biases. Got 'stage9' instead.",
        ),
        ("resnet18", learn_from("stage3.2"), "a plan must name stage3.0 or stage3.1. Got 'stage3.2' instead."),
        ("resnet18", learn("head", "head.1"), "a plan must name head.0. Got 'head.1' instead."),
        ("resnet18", learn("stage3.01"), "a plan must name stage3.0 or stage3.1. Got 'stage3.01' instead."),
        (
            "squeezenet1_1",
            learn("norms", "head"),
            "a plan must name what the backbone has; it has no norms. Got 'norms' instead.",
        ),
        (
            "shufflenet_v2_x1_0",  # at stride 4 it only pools
            learn("stage1", "head"),
            "a plan must name what has parameters. Got 'stage1', which has none instead.",
        ),
        (
            "resnet18",
            learn("head", "stem.2"),
            "a plan must name what has parameters. Got 'stem.2', which has none instead.",
        ),
        (
            "squeezenet1_1",  # its head goes on after its last parameters
            learn_from("head.2"),
            "a plan must name what has parameters. Got 'head.2', which has none instead.",
        ),
    ],
)
def test_what_the_backbone_lacks_or_what_cannot_learn_is_refused_by_name_and_changes_nothing(
    name: str, plan: Plan, line: str
) -> None:
    backbone = build_backbone(name, "none", 3)
    apply_plan(backbone, learn_from("head"))
    before = count_by_part(backbone)
    with pytest.raises(InputError) as caught:
        apply_plan(backbone, plan)
    assert str(caught.value) == line
    assert count_by_part(backbone) == before


def test_the_mistake_says_where_it_was_made() -> None:
    with pytest.raises(InputError, match=r"^plans.deep on resnet18 must name head\.0\. Got 'head\.7' instead\.$"):
        refuse_unfit(resnet18(), learn_from("head.7"), "plans.deep on resnet18")


PLAYGROUND = build_backbone("mobilenet_v3_small", "none", 3)
ANY_NAMES = st.sets(
    st.sampled_from(
        [
            *PARTS,
            *SELECTORS,
            *(name for name in list_blocks(PLAYGROUND) if [*PLAYGROUND.get_submodule(name).parameters()]),
        ]
    ),
    min_size=1,
    max_size=6,
)


def alone(name: str) -> set[str]:
    """Return the names of the parameters that a single name of a plan means."""
    if name == "biases":
        return {each for each, _ in PLAYGROUND.named_parameters() if is_bias(each)}
    if name == "norms":
        return learning(PLAYGROUND, Case(learn("norms"), lambda *_: False, "norms"))
    return {each for each, _ in PLAYGROUND.named_parameters() if each.startswith(f"{name}.")}


@settings(max_examples=60, deadline=None)
@given(ANY_NAMES)
def test_whatever_is_named_its_union_learns_and_prefix_and_suffix_hold_every_tensor_once(names: set[str]) -> None:
    apply_plan(PLAYGROUND, learn(*sorted(names)))
    learned = {name for name, parameter in PLAYGROUND.named_parameters() if parameter.requires_grad}
    assert learned == set.union(*map(alone, names))

    trainable, total = count_parameters(PLAYGROUND)
    still = sum(parameter.numel() for parameter in PLAYGROUND.parameters() if not parameter.requires_grad)
    assert trainable + still == total == 1_520_931

    halves = cut_at_boundary(PLAYGROUND)
    held = [name for half in halves for name in half.state_dict()]
    assert held == [*PLAYGROUND.state_dict()]
    assert not any(parameter.requires_grad for parameter in halves[0].parameters())
