"""The parameters that a plan trains are counted as by hand and as published."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

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
from frostline.constants import PARTS, SELECTORS
from frostline.errors import InputError
from frostline.params.schema import Plan
from tests.backbones.frozen import (
    PLAYGROUND,
    alone,
    learn,
    learn_from,
    moved,
    noise,
    resnet18,
    take_a_step,
)

pytestmark = pytest.mark.usefixtures("one_thread")


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
        (learn_from("stage4.2"), ["head"]),  # after its blocks, stage4 only pools
        (learn_from("stage4.1"), ["stage4.1", "head"]),
        (learn_from("stage3.1"), ["stage3.1", "stage4", "head"]),
        (learn("stage4.0", "stage4.1"), ["stage4"]),  # all of it that has parameters
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
    assert twin.get_submodule("stage4.1.layer4.1.bn1").training
    assert not twin.get_submodule("stage4.0.layer4.0.bn1").training
    take_a_step(twin, noise("resnet18"), twin)
    assert {".".join(name.split(".")[:2]) for name in moved(backbone, twin)} == {"stage4.1", "head.0"}
    backbone.eval()
    assert twin.get_submodule("stage4.1.layer4.1.bn1").training  # what the one is asked, the other does not hear
    apply_plan(twin, learn_from("stem"))
    assert not backbone.get_parameter("stem.0.conv1.weight").requires_grad
    assert not backbone.get_submodule("stem.0.bn1").train().training


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
            learn("head", "stage4.2"),  # it only pools
            "a plan must name what has parameters. Got 'stage4.2', which has none instead.",
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
