"""A view follows from seed, image and view alone, and looks as it should."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from frostline.data.augmentation import Augmenter, augment, make_image_keys
from frostline.params import Augmentation
from tests.toys import AS_THEY_ARE

WAYS: dict[str, dict[str, Any]] = {
    "flips": {"flips": "both"},
    "padding": {"crop": "padding"},
    "resized": {"crop": "resized"},
    "colour": {"colour": 0.4},
    "randaugment": {"policy": "randaugment"},
    "trivialaugment": {"policy": "trivialaugment"},
    "all of it": {"flips": "both", "crop": "resized", "policy": "trivialaugment", "colour": 0.4},
}
"""What views may differ in, one by one and together."""

IDS = [f"cells/{row:04}.png" for row in range(12)]
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 24, 24, 3), dtype=np.uint8))
seeds = st.integers(0, 2**31 - 1)
views = st.integers(0, 7)
every_way = pytest.mark.parametrize("way", WAYS)


def asking(**changes: object) -> Augmentation:
    return AS_THEY_ARE.model_copy(update=changes)


def seen(ids: list[str], view: int | None, how: Augmentation, seed: int = 0) -> Tensor:
    """Return these images of IDS in the view."""
    return Augmenter.of(IDS, how, seed)(PIXELS[[IDS.index(each) for each in ids]], rows(ids), view)


def rows(ids: list[str]) -> Any:
    return np.array([IDS.index(each) for each in ids])


# --- A pure function of seed, image and view ------------------------------------------------------------------------


@every_way
@settings(max_examples=25, deadline=None)
@given(seed=seeds, view=views, ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=14), threads=st.integers(1, 3))
def test_a_view_is_the_same_in_whatever_batch_order_and_number_of_threads(
    way: str, seed: int, view: int, ids: list[str], threads: int
) -> None:
    how, before = asking(**WAYS[way]), torch.get_num_threads()
    everyone = seen(IDS, view, how, seed)
    torch.set_num_threads(threads)
    try:
        assert torch.equal(seen(ids, view, how, seed), everyone[rows(ids)])
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@every_way
@pytest.mark.parametrize("side", [16, 300])
def test_a_view_is_the_same_in_one_thread_and_in_two_at_any_side(way: str, side: int) -> None:
    pixels, keys = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (6, side, side, 3), dtype=np.uint8)), []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        keys.append(augment(pixels, make_image_keys(IDS[:6]), 0, asking(**WAYS[way]), 0))
    torch.set_num_threads(before)
    assert torch.equal(*keys)


@every_way
def test_another_seed_another_image_and_another_view_give_other_pixels(way: str) -> None:
    same = PIXELS[:1].expand(12, -1, -1, -1)
    drawn = {
        (seed, view): Augmenter.of(IDS, asking(**WAYS[way]), seed)(same, np.arange(12), view)
        for seed in (0, 1)
        for view in (0, 1)
    }
    assert len({each.numpy().tobytes() for each in drawn.values()}) == 4
    for each in drawn.values():
        assert len({image.numpy().tobytes() for image in each}) > 2


@every_way
def test_an_image_keeps_its_views_when_others_are_added_before_it(way: str) -> None:
    how, more = asking(**WAYS[way]), ["a new one", *IDS]
    assert torch.equal(Augmenter.of(more, how, 0)(PIXELS, np.arange(12) + 1, 3), seen(IDS, 3, how))


@every_way
def test_what_was_drawn_before_does_not_matter_and_no_generator_is_moved(way: str) -> None:
    torch.manual_seed(1)
    first = seen(IDS, 0, asking(**WAYS[way]))
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002 - the global generator is what is meant
    random.seed(2)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(seen(IDS, 0, asking(**WAYS[way])), first)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]  # noqa: NPY002


@every_way
def test_the_pixels_that_were_given_are_left_as_they_are(way: str) -> None:
    given_ = PIXELS.clone()
    made = Augmenter.of(IDS, asking(**WAYS[way]), 0)(given_, np.arange(12), 0)
    assert torch.equal(given_, PIXELS)
    assert (made.shape, made.dtype, made.is_contiguous()) == (PIXELS.shape, torch.uint8, True)


@every_way
def test_views_are_made_where_torch_must_compute_deterministically(way: str) -> None:
    usual = seen(IDS, 0, asking(**WAYS[way]))
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(seen(IDS, 0, asking(**WAYS[way])), usual)
    finally:
        torch.use_deterministic_algorithms(False)


@every_way
def test_no_view_is_the_image_as_it_is(way: str) -> None:
    assert torch.equal(seen(IDS, None, asking(**WAYS[way])), PIXELS)


def test_where_nothing_is_asked_for_the_very_pixels_come_back() -> None:
    assert augment(PIXELS, make_image_keys(IDS), 0, asking(), 0) is PIXELS


def test_the_key_of_an_id_is_the_beginning_of_its_sha_256() -> None:
    assert [f"{each:016x}" for each in make_image_keys(["", "abc"]).byteswap()] == [
        "e3b0c44298fc1c14",
        "ba7816bf8f01cfea",
    ]


# --- Flips ----------------------------------------------------------------------------------------------------------


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


# --- Crops ----------------------------------------------------------------------------------------------------------


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


# --- Colours and policies -------------------------------------------------------------------------------------------


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
