"""What a plan freezes stands still, and what it does not freeze learns."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from frostline.backbones.freezing import (
    apply_plan,
    count_by_part,
    count_parameters,
    cut_at_boundary,
    list_blocks,
    refuse_unfit,
)
from frostline.backbones.registry import build_backbone
from frostline.constants import BACKBONES, PARTS
from frostline.errors import InputError
from tests.backbones.frozen import (
    Case,
    Fresh,
    frozen,
    in_learning_block,
    is_norm,
    learn,
    learn_from,
    learning,
    moved,
    noise,
    take_a_step,
)

pytestmark = pytest.mark.usefixtures("one_thread")

NORMLESS = ("alexnet", "vgg16", "squeezenet1_1", "mlp", "cnn2")


ONE_BLOCK = ("mlp", "cnn2", "cnn3")
"""Their stage4 is one hidden layer."""


SMALL = ("efficientnet_lite0", "resnet18", "mobilenet_v3_small", "shufflenet_v2_x1_0", "squeezenet1_1")


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


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


def awake(backbone: nn.Module, case: Case) -> set[str]:
    """Return the names of the modules that shall be in train mode: all in learning blocks, and norms under `norms`."""
    return {
        name
        for name, module in backbone.named_modules()
        if in_learning_block(name, case) or (case.selector == "norms" and is_norm(module))
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
