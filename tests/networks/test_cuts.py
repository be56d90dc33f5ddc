"""Any network is cut by its data flow: its parts are it, bit for bit, and each of its tensors lies in one of them."""

import pkgutil
from functools import cache

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from frostline.backbones.freezing import apply_plan, refuse_unfit
from frostline.backbones.registry import build_backbone, cut_into_parts
from frostline.constants import PARTS
from frostline.errors import InputError
from frostline.networks.catalog import ARCHITECTURES, HALF, Architecture, Preprocessing
from tests.networks.claims import (
    Cut,
    assert_a_step_moves_what_learns,
    assert_each_tensor_lies_in_one_part,
    assert_halves_are_the_whole,
    assert_parts_are_the_network,
    count_crossing,
    learn_from,
)

pytestmark = pytest.mark.usefixtures("one_thread")

CROSSING = {
    "timm/test_resnet": 1, "timm/test_vit": 1, "timm/test_convnext": 1, "timm/test_efficientnet": 1,
    "timm/test_mambaout": 1, "timm/test_coatnet": 1, "timm/test_byobnet": 1, "timm/test_nfnet": 1,
    "timm/dla46x_c": 3, "timm/cait_xxs24_224": 2, "timm/vit_tiny_patch16_dinov3_qkvb": 2, "timm/densenet121": 24,
    "timm/mvitv2_tiny": 2, "timm/hrnet_w18_small": 4, "timm/swin_tiny_patch4_window7_224": 1, "timm/mobilevit_xxs": 1,
    "timm/deit_tiny_distilled_patch16_224": 5, "timm/volo_d1_224": 3, "timm/crossvit_tiny_240": 2, "timm/levit_128s": 2,
    "timm/efficientformer_l1": 1, "torchvision/mnasnet0_5": 1, "torchvision/regnet_x_400mf": 1,
    "models/example.py:build": 1,
}  # fmt: skip
"""Networks of different kinds, and how many values cross at most from one of their blocks to the next."""


@pytest.fixture(scope="module")
def cut(request: pytest.FixtureRequest) -> Cut:
    return Cut(request.param)


each = pytest.mark.parametrize("cut", CROSSING, indirect=True, scope="module")


@each
def test_the_parts_give_bit_for_bit_what_the_network_gives_in_both_modes(cut: Cut) -> None:
    assert_parts_are_the_network(cut)


@each
def test_each_parameter_and_buffer_lies_in_exactly_one_part(cut: Cut) -> None:
    assert_each_tensor_lies_in_one_part(cut)


@each
def test_prefix_then_suffix_is_bit_for_bit_the_whole_wherever_it_is_cut(cut: Cut) -> None:
    assert assert_halves_are_the_whole(cut) >= 5
    assert count_crossing(cut) == CROSSING[cut.name]


@each
@pytest.mark.parametrize("first", ["stem", "stage3", "head"])
def test_a_step_moves_what_learns_and_the_audit_finds_all_else_as_it_was(cut: Cut, first: str) -> None:
    assert_a_step_moves_what_learns(cut, first)


@each
def test_a_plan_may_begin_at_every_part(cut: Cut) -> None:
    for part in PARTS:
        refuse_unfit(cut.parts, learn_from(part))
    assert getattr(cut.parts, "uncut", None) is None


@cache
def list_families() -> dict[str, str]:
    """Return the smallest model of each module of timm.models by the module's name, as timm's own table has them."""
    from docs.architectures.families import choose_smallest  # its own table, made by trying

    return choose_smallest()


@pytest.mark.slow
def test_nine_in_ten_of_timms_families_serve_every_depth() -> None:
    from docs.architectures.families import try_network

    found = {family: try_network(f"timm/{name}") for family, name in list_families().items()}
    whole = [family for family, serves in found.items() if serves.depths == "every"]
    modules = [module.name for module in pkgutil.iter_modules(timm.models.__path__)]
    assert len(found) > 90
    assert set(found) <= set(modules)
    assert len(whole) >= 0.9 * len(found), sorted(set(found) - set(whole))


@pytest.mark.slow
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_classifier_of_torchvision_serves_every_depth(name: str) -> None:
    from docs.architectures.families import try_network

    assert try_network(f"torchvision/{name}").depths == "every"


def test_a_short_name_and_a_library_s_are_the_same_network() -> None:
    names = [list(build_backbone(name, "none", 2).state_dict()) for name in ("resnet18", "torchvision/resnet18")]
    assert names[0] == names[1]


class Stubborn(nn.Module):
    """A network that looks at what it computes, which no stand-in for a tensor knows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
        self.logits = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        features = self.body[0](images)
        if float(features.mean()) < 100:
            features = self.body[1](features)
        return self.logits(features.mean((2, 3)))


def define(network: type[nn.Module]) -> Architecture:
    return Architecture(lambda _px: network(), lambda _px: network(), lambda: Preprocessing(16, "bilinear", *HALF))


def test_a_network_whose_code_cannot_be_followed_serves_its_head_and_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "stubborn", define(Stubborn))
    backbone = build_backbone("stubborn", "none", 5)
    images = torch.randn(2, 3, 16, 16)
    assert backbone.eval()(images).shape == (2, 5)
    for part, learned in (("head", 4 * 5 + 5), ("stem", 3 * 4 * 9 + 4 + 4 * 4 * 9 + 4 + 25)):
        apply_plan(backbone, learn_from(part))
        assert sum(tensor.numel() for tensor in backbone.parameters() if tensor.requires_grad) == learned
    words = r"a plan must say stem, head, norms or biases of what can be cut nowhere but before its logits\. Got"
    with pytest.raises(InputError, match=words):
        apply_plan(backbone, learn_from("stage4"))


class NoClassifier(Stubborn):
    """A network that makes something else of its last linear layer's output."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(1)


def test_a_network_that_makes_no_logits_last_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "no_classifier", define(NoClassifier))
    with pytest.raises(InputError, match=r"^backbone must be a network that can be cut before its logits\. Got"):
        build_backbone("no_classifier", "none", 5)


@pytest.mark.parametrize(
    ("name", "px", "words"),
    [
        ("timm/nest_tiny", 100, r"^data.image_px must be a side that timm/nest_tiny can see, such as 224\."),
        ("vit_b_16", 100, r"^data.image_px must be a side that vit_b_16 can see, such as 224\. Got 100 \("),
        ("timm/no_such_model", 224, r"^backbone must name a model of timm \("),
        ("timm/resnet18.no_such_tag", 224, r"^backbone must have one of the tags of timm's resnet18 \(a1_in1k, "),
        ("torchvision/resnet19", 224, r"^backbone must name a classifier of torchvision \(resnet101, "),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line(name: str, px: int, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        build_backbone(name, "none", 2, px)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_position_embeddings_are_made_for_the_side_of_the_images() -> None:
    for px, tokens in ((224, 197), (96, 37)):
        parts = build_backbone("timm/vit_tiny_patch16_224", "none", 2, px)
        assert parts.get_parameter("stem.0.pos_embed").shape == (1, tokens, 192)
        assert parts.eval()(torch.zeros(1, 3, px, px)).shape == (1, 2)


def test_a_model_without_a_classifier_of_its_own_gets_one() -> None:
    """DINOv3 and CLIP's image encoders have none."""
    parts = build_backbone("timm/vit_tiny_patch16_dinov3_qkvb", "none", 4, 64)
    assert [parameter.shape[0] for parameter in parts.get_submodule("head").parameters()] == [4, 4]


def test_parts_do_not_depend_on_the_side_of_the_images() -> None:
    for name in ("resnet18", "timm/vit_tiny_patch16_224", "timm/swin_tiny_patch4_window7_224"):
        counts = []
        for px in (64 if name == "resnet18" else 96, 224):
            parts = build_backbone(name, "none", 2, px)
            shapes = [[tensor.numel() for tensor in part.parameters()] for part in parts.children()]
            counts.append([len(shape) for shape in shapes])
        assert counts[0] == counts[1]


def test_a_network_that_is_written_out_in_parts_is_left_as_it_is() -> None:
    assert cut_into_parts("mlp", network := ARCHITECTURES["mlp"].original(32)) is network
