"""What each network holds, counted by hand, and what a shortcut does."""

import pytest
import torch
from torch import nn

from frostline.backbones.freezing import count_by_part
from frostline.backbones.registry import build_backbone, build_original_classifier, cut_into_parts
from frostline.constants import PARTS, WITHOUT_WEIGHTS
from frostline.errors import InputError
from frostline.networks.catalog import ARCHITECTURES
from frostline.networks.small_networks import ResidualBlock, build_residual_network

# With ten classes, layer by layer: weights and biases of convolutions (3 x 3) and of linear layers, two of each norm's
# channels. He et al. 2015 give 0.27 million for 20 layers and 0.85 million for 56.
BY_HAND = {
    "mlp": {"stem": 3_072 * 256 + 256, "stage4": 256 * 128 + 128, "head": 128 * 10 + 10},
    "cnn2": {
        "stem": 27 * 32 + 32,
        "stage1": 288 * 64 + 64,
        "stage4": 64 * 8 * 8 * 128 + 128,
        "head": 128 * 10 + 10,
    },
    "cnn3": {
        "stem": 27 * 32 + 64,
        "stage1": 288 * 64 + 128,
        "stage2": 576 * 128 + 256,
        "stage4": 128 * 4 * 4 * 256 + 256,
        "head": 256 * 10 + 10,
    },
    "residual20": {
        "stem": 27 * 16 + 32,
        "stage1": 6 * (144 * 16 + 32),
        "stage2": 144 * 32 + 64 + 5 * (288 * 32 + 64),
        "stage3": 288 * 64 + 128 + 5 * (576 * 64 + 128),
        "head": 64 * 10 + 10,
    },
    "residual56": {
        "stem": 27 * 16 + 32,
        "stage1": 18 * (144 * 16 + 32),
        "stage2": 144 * 32 + 64 + 17 * (288 * 32 + 64),
        "stage3": 288 * 64 + 128 + 17 * (576 * 64 + 128),
        "head": 64 * 10 + 10,
    },
}
BY_HAND |= {"plain20": BY_HAND["residual20"], "plain56": BY_HAND["residual56"]}
FEATURES = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", BY_HAND)
def test_each_network_has_the_parameters_that_are_counted_by_hand(name: str) -> None:
    counts = count_by_part(build_backbone(name, "none", classes=10))
    assert {each.part: each.parameters for each in counts if each.parameters} == BY_HAND[name]


def test_he_s_networks_have_as_many_parameters_as_he_published() -> None:
    assert [round(sum(BY_HAND[name].values()) / 1e6, 2) for name in ("residual20", "residual56")] == [0.27, 0.85]


@pytest.mark.parametrize("name", BY_HAND)
def test_each_network_is_the_sequence_of_its_parts_and_tells_images_and_classes_apart(name: str) -> None:
    torch.manual_seed(0)
    network = build_original_classifier(name, "none").eval()
    parts = cut_into_parts(name, network)
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = parts(pixels)
        assert torch.equal(logits, network(pixels))
        assert build_backbone(name, "none", 3).eval()(pixels).shape == (4, 3)
    assert tuple(dict(parts.named_children())) == PARTS
    assert len(logits.unique()) == 4 * 10


@pytest.mark.parametrize(("name", "strides"), [("cnn2", [2, 4]), ("cnn3", [2, 4, 8]), ("residual20", [1, 1, 2, 4])])
def test_a_network_s_parts_work_at_the_strides_that_it_says(name: str, strides: list[int]) -> None:
    features, found = torch.zeros(1, 3, 32, 32), []
    for part in build_backbone(name, "none", 3).eval().children():
        features = part(features)
        found += [32 // features.shape[2]] if features.dim() == 4 else []
    assert list(dict.fromkeys(found)) == list(dict.fromkeys(strides))


@pytest.mark.parametrize(("layers", "shortcut"), [(20, False), (20, True), (56, False), (56, True)])
def test_a_network_has_the_layers_of_its_name(layers: int, shortcut: bool) -> None:
    network = build_residual_network(layers, shortcut=shortcut)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules()) == layers


def test_every_network_written_out_is_a_backbone_without_published_weights() -> None:
    assert set(WITHOUT_WEIGHTS) == set(BY_HAND)
    assert set(ARCHITECTURES) >= set(BY_HAND)
    with pytest.raises(InputError) as caught:
        build_backbone("mlp", "pretrained", classes=2)
    line = "the weights of mlp must be none or a file. Got 'pretrained' instead. Nobody has published any."
    assert str(caught.value) == line


def still(block: ResidualBlock) -> ResidualBlock:
    """Let the block's convolutions learn nothing: they make zeros of everything."""
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    return block.eval()


def test_a_residual_block_that_has_learned_nothing_hands_on_what_it_gets() -> None:
    assert torch.equal(still(ResidualBlock(4, 4, shortcut=True))(FEATURES), FEATURES.relu())


def test_a_plain_block_that_has_learned_nothing_loses_it() -> None:
    assert not still(ResidualBlock(4, 4, shortcut=False))(FEATURES).any()


def test_a_shortcut_to_fewer_places_skips_every_other_one_and_adds_channels_of_zeros() -> None:
    carried = still(ResidualBlock(4, 8, shortcut=True))(FEATURES)
    assert torch.equal(carried[:, :4], FEATURES[:, :, ::2, ::2].relu())
    assert not carried[:, 4:].any()


def test_plain_and_residual_networks_begin_with_the_same_weights() -> None:
    states = []
    for name in ("plain20", "residual20"):
        torch.manual_seed(3)
        states.append(build_backbone(name, "none", classes=10).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
