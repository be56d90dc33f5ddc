"""A view follows from seed, image and view alone, and looks as it should."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.data.augmentation import Augmenter, augment, make_image_keys
from tests.data.views import IDS, PIXELS, asking, rows, seen

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


seeds = st.integers(0, 2**31 - 1)


views = st.integers(0, 7)


every_way = pytest.mark.parametrize("way", WAYS)


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
