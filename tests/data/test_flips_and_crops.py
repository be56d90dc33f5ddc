"""Flips, crops and colours do what they say, and each as often as it should."""

import pytest
import torch
from torch import Tensor

from frostline.data.augmentation import augment, make_image_keys
from tests.data.views import IDS, PIXELS, asking, seen


def squares(count: int) -> Tensor:
    """Return 2 x 2 images, each of which reads 1 2 / 3 4 in all three channels."""
    return torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).view(1, 2, 2, 1).expand(count, 2, 2, 3)


def readings(count: int, view: int, flips: str, seed: int) -> list[tuple[int, ...]]:
    """Return how each of so many flipped squares reads, row by row."""
    keys = make_image_keys([str(each) for each in range(count)])
    return [
        tuple(image[:, :, 0].flatten().tolist())
        for image in augment(squares(count), keys, view, asking(flips=flips), seed)
    ]


@pytest.mark.parametrize(
    ("flips", "expected"),
    [
        ("none", {(1, 2, 3, 4)}),
        ("horizontal", {(1, 2, 3, 4), (2, 1, 4, 3)}),
        ("vertical", {(1, 2, 3, 4), (3, 4, 1, 2)}),
        ("both", {(1, 2, 3, 4), (2, 1, 4, 3), (3, 4, 1, 2), (4, 3, 2, 1)}),
    ],
)
def test_flips_do_what_they_say(flips: str, expected: set[tuple[int, ...]]) -> None:
    assert set(readings(64, 0, flips, 0)) == expected


@pytest.mark.parametrize(("flips", "ways"), [("horizontal", 2), ("vertical", 2), ("both", 4)])
@pytest.mark.parametrize(("view", "seed"), [(0, 0), (1, 0), (0, 1)])
def test_each_way_of_flipping_is_as_common_as_the_others(flips: str, ways: int, view: int, seed: int) -> None:
    found = readings(4_000, view, flips, seed)
    for reading in set(found):
        assert found.count(reading) == pytest.approx(4_000 / ways, abs=150)  # over four standard deviations


def test_an_image_is_flipped_in_one_view_whatever_was_done_in_another() -> None:
    first, second = (readings(4_000, view, "horizontal", 0) for view in (0, 1))
    alike = sum(one == other for one, other in zip(first, second, strict=True))
    assert alike == pytest.approx(2_000, abs=150)


def marked(side: int = 8) -> Tensor:
    """Return 60 black images with one white pixel, in row 4 and column 4."""
    pixels = torch.zeros((60, side, side, 3), dtype=torch.uint8)
    pixels[:, 4, 4] = 255
    return pixels


def places(pixels: Tensor) -> list[list[list[int]]]:
    """Return where in each image white pixels are (row, column)."""
    return [image[:, :, 0].nonzero().tolist() for image in pixels]


def test_a_padded_crop_moves_the_image_by_up_to_so_many_pixels_each_way() -> None:
    keys = make_image_keys([str(each) for each in range(60)])
    found = places(augment(marked(), keys, 0, asking(crop="padding", crop_padding=2), 0))
    assert all(len(each) == 1 for each in found)
    shifts = {(row - 4, column - 4) for ((row, column),) in found}
    assert {row for row, _ in shifts} == {column for _, column in shifts} == {-2, -1, 0, 1, 2}


def test_beyond_its_edges_a_padded_image_is_mirrored() -> None:
    ramp = (10 * torch.arange(8, dtype=torch.uint8)).view(1, 1, 8, 1).expand(60, 8, 8, 3)
    keys = make_image_keys([str(each) for each in range(60)])
    found = {
        tuple(image[0, :, 0].tolist()) for image in augment(ramp, keys, 0, asking(crop="padding", crop_padding=1), 0)
    }
    assert found == {(10, 0, 10, 20, 30, 40, 50, 60), (0, 10, 20, 30, 40, 50, 60, 70), (10, 20, 30, 40, 50, 60, 70, 60)}


def test_a_resized_crop_shows_a_part_of_at_least_the_least_share_enlarged_to_the_whole() -> None:
    side = 32
    columns = (4 * torch.arange(side, dtype=torch.uint8)).view(1, 1, side, 1).expand(200, side, side, 3)
    keys = make_image_keys([str(each) for each in range(200)])
    made = augment(columns, keys, 0, asking(crop="resized", crop_scale=0.35), 0).int()
    assert made.shape == columns.shape
    widths = (made[:, 0, -1, 0] - made[:, 0, 0, 0]) / 4 + 1  # so many columns of the image are to be seen
    assert widths.min() >= side * (0.35 * 3 / 4) ** 0.5 - 1.5
    assert widths.max() > side - 3
    assert widths.float().std() > 2


def test_without_strength_colours_stay_as_they_are() -> None:
    assert torch.equal(seen(IDS, 0, asking(colour=0.0)), PIXELS)


def test_more_strength_changes_colours_more_and_moves_nothing() -> None:
    red = torch.tensor([200, 80, 40], dtype=torch.uint8).expand(60, 4, 4, 3)
    keys = make_image_keys([str(each) for each in range(60)])
    weak, strong = (augment(red, keys, 0, asking(colour=strength), 0).float() for strength in (0.1, 0.8))
    assert (strong - red.float()).abs().mean() > 3 * (weak - red.float()).abs().mean() > 3
    for made in (weak, strong):
        assert torch.equal(made, made[:, :1, :1].expand_as(made))


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_a_policy_moves_some_images_and_recolours_others(policy: str) -> None:
    keys = make_image_keys([str(each) for each in range(60)])
    grey = torch.full((60, 16, 16, 3), 100, dtype=torch.uint8)
    made = augment(grey, keys, 0, asking(policy=policy), 0)
    black = [(image == 0).any() and (image == 100).any() for image in made]  # bars at the edge
    evenly = [bool((image == image[0, 0]).all()) and int(image[0, 0, 0]) != 100 for image in made]
    assert sum(map(bool, black)) > 5
    assert sum(evenly) > 5
