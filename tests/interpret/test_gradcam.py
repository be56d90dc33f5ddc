"""What the parts find in an image, and where the evidence for a class lies."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frostline.backbones.registry import build_backbone
from frostline.interpret.captions import describe_pictures, list_notes, locate_evidence
from frostline.interpret.gradcam import (
    arrange_as_maps,
    compute_activation_maps,
    compute_grad_cam,
)
from frostline.interpret.weight_changes import find_first_filters
from frostline.networks.catalog import ARCHITECTURES
from tests import toys
from tests.insides import without_places
from tests.stages.looked_into import in_parts, linear

pytestmark = pytest.mark.usefixtures("one_thread")


def test_tokens_lie_in_rows_of_a_square_behind_the_class_token() -> None:
    tokens = torch.arange(-1, 9.0).reshape(1, 10, 1)
    maps = arrange_as_maps(tokens)
    assert maps is not None
    assert maps.tolist() == [[[[0, 1, 2], [3, 4, 5], [6, 7, 8]]]]


@pytest.mark.parametrize(
    ("shape", "places"),
    [
        ((1, 5, 3, 3), (3, 3)),
        ((1, 3, 3, 5), (3, 3)),  # channels last
        ((1, 14, 5), (3, 3)),  # five tokens have no place
        ((1, 5, 1, 1), None),
        ((1, 5), None),
        ((1, 25 + 10, 5), None),
    ],
)
def test_maps_are_where_several_places_are_told_apart(shape: tuple[int, ...], places: tuple[int, ...] | None) -> None:
    maps = arrange_as_maps(torch.zeros(shape))
    assert places == (None if maps is None else tuple(maps.shape[2:]))
    assert maps is None or maps.shape[1] == 5


# For each family: the side of its images, where Grad-CAM is taken, and the places of the maps of its parts.
FAMILIES = {
    "efficientnet_lite0": (64, "stage4.4", (32, 16, 8, 4, 2)),
    "alexnet": (96, "stage3.1", (11, 5, 5, 2)),
    "resnet18": (64, "stage4.1", (16, 16, 8, 4, 2)),
    "inception_v3": (96, "stage3.4", (22, 9, 9, 4)),
    "googlenet": (64, "stage4.1", (16, 8, 4, 2, 2)),
    "densenet121": (64, "stage4.0", (16, 8, 4, 2, 2)),
    "mobilenet_v3_small": (64, "stage4.3", (32, 16, 8, 4, 2)),
    "shufflenet_v2_x1_0": (64, "stage4.4", (16, 8, 4, 2)),
    "squeezenet1_1": (64, "stage4.1", (15, 7, 3, 3, 3)),
    "mnasnet1_0": (64, "stage4.5", (32, 16, 8, 4, 2)),
    "regnet_y_400mf": (64, "stage4.5", (32, 16, 8, 4, 2)),
    "convnext_tiny": (64, "stage4.3", (16, 16, 8, 4, 2)),
    "swin_t": (64, "stage4.2", (16, 16, 8, 4, 2)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_maps_at_its_strides_and_evidence_at_its_deepest_places(name: str) -> None:
    side, deepest, places = FAMILIES[name]
    torch.manual_seed(0)
    backbone = build_backbone(name, "none", classes=2).eval()
    pixels = torch.randn(2, 3, side, side)
    found = compute_activation_maps(backbone, backbone, pixels[:1], 4)
    assert tuple(each.after.shape for each in found) == tuple((4, at, at) for at in places)
    parts = [part for part, blocks in backbone.named_children() if len(blocks)]  # ShuffleNet's stage1 only pools
    assert [each.part for each in found] == parts[: len(places)]
    assert all(np.array_equal(each.before, each.after) for each in found)
    evidence = compute_grad_cam(backbone, pixels, torch.tensor([0, 1]))
    assert evidence is not None
    assert evidence.block == deepest
    assert evidence.heat.min() >= 0
    assert set(evidence.heat.max(axis=(1, 2))) <= {0, 1}
    filters = find_first_filters(backbone, backbone, 64)
    assert filters is not None
    assert np.array_equal(filters.before, filters.after)


def test_a_vision_transformers_evidence_lies_before_its_last_layer_which_leaves_its_patches_no_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "vit", toys.small_vision_transformer())
    torch.manual_seed(0)
    backbone = build_backbone("vit", "none", 1_000).eval()
    nn.init.normal_(backbone.get_submodule("head.0.heads.head").weight)  # torchvision begins with a head of zeros
    evidence = compute_grad_cam(backbone, torch.randn(1, 3, 32, 32), torch.tensor([1]))
    assert evidence is not None
    assert [name for name, _ in backbone.get_submodule("stage4").named_children()] == ["0", "1"]
    assert evidence.block == "stage3.0"
    assert evidence.heat.shape == (1, 4, 4)
    found = compute_activation_maps(backbone, backbone, torch.randn(1, 3, 32, 32), 4)
    assert [each.after.shape for each in found] == [(4, 4, 4)] * 5


def test_the_channels_shown_differ_the_most_from_place_to_place_after_training() -> None:
    """Of three channels the first is the strongest, but the same everywhere."""
    trained = nn.Conv2d(3, 3, 1)
    trained.weight = nn.Parameter(torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])[..., None, None])
    trained.bias = nn.Parameter(torch.tensor([99.0, 0, 0]))
    untrained = nn.Conv2d(3, 3, 1)
    pixels = torch.arange(12.0).reshape(1, 3, 2, 2)
    (found,) = compute_activation_maps(in_parts(stem=untrained), in_parts(stem=trained), pixels, 2)
    assert found.channels == [2, 1]
    assert found.after[0].tolist() == [[0, 2], [4, 6]]
    assert np.allclose(found.before, untrained(pixels)[0, [2, 1]].detach())


class SumOverPlaces(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.sum(dim=(2, 3))


def colour_classifier() -> nn.Sequential:
    """Return a network for which red speaks for class 0 and blue for class 1, wherever they are."""
    eye = nn.Conv2d(3, 3, 1, bias=False)
    eye.weight = nn.Parameter(torch.eye(3)[..., None, None])
    head = nn.Sequential(SumOverPlaces(), linear([1.0, 0, 0], [0.0, 0, 1]))
    return nn.Sequential(OrderedDict(stem=nn.Sequential(eye, nn.ReLU(inplace=True)), head=head)).eval()


def red_upper_left_blue_lower_right() -> Tensor:
    pixels = torch.zeros(1, 3, 4, 4)
    pixels[0, 0, 0, 0], pixels[0, 2, 3, 3] = 5, 2
    return pixels


@pytest.mark.parametrize(
    ("target", "place", "words"),
    [(0, (0, 0), "evidence strongest in the upper left"), (1, (3, 3), "evidence strongest in the lower right")],
)
def test_evidence_for_a_class_lies_where_what_speaks_for_it_is(target: int, place: tuple[int, int], words: str) -> None:
    evidence = compute_grad_cam(colour_classifier(), red_upper_left_blue_lower_right(), torch.tensor([target]))
    assert evidence is not None
    expected = np.zeros((1, 4, 4))
    expected[0, *place] = 1
    assert np.array_equal(evidence.heat, expected)
    assert locate_evidence(evidence.heat[0]) == words
    assert np.unravel_index(evidence.enlarge(8)[0].argmax(), (8, 8)) == tuple(7 * (each > 0) for each in place)


def test_where_nothing_speaks_for_a_class_there_is_no_evidence_anywhere() -> None:
    evidence = compute_grad_cam(colour_classifier(), torch.zeros(1, 3, 4, 4), torch.tensor([0]))
    assert evidence is not None
    assert not evidence.heat.any()
    assert locate_evidence(evidence.heat[0]) == "for which nothing speaks"


def test_a_network_of_vectors_has_no_maps_and_no_evidence_and_it_is_said() -> None:
    network = in_parts(stem=nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), head=nn.Linear(5, 2))
    pixels = torch.randn(1, 3, 4, 4)
    assert compute_activation_maps(network, network, pixels, 4) == []
    assert compute_grad_cam(network, pixels, torch.tensor([0])) is None
    assert [*describe_pictures(without_places())] == ["gradcam", "moved"]
    assert " ".join(list_notes(without_places())) == (
        "The first layer of toy does not see colours: it has no filters to show. "
        "toy keeps no places, as its parts give one vector: there are no maps of what it finds. "
        "Nothing in toy tells places apart: Grad-CAM cannot say where its evidence lies."
    )
