"""Claims about stages/inputs.py and stages/augmentation.py: what a suffix is fed, live or from the cache."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.augmentation import flip
from stages.backbones import ARCHITECTURES, build_backbone, scale_pixels
from stages.freezing import apply_plan, cut_at_boundary
from stages.inputs import cached_inputs, in_batches, live_inputs
from stages.params import Training
from stages.prepared import Rows
from stages.vocabulary import PARTS

CPU = torch.device("cpu")
SMALLEST_BATCH = next(rule.ge for rule in Training.model_fields["batch_size"].metadata)

every_backbone = pytest.mark.parametrize("name", ARCHITECTURES)
seeds = st.integers(0, 2**31 - 1)
views = st.integers(0, 7)
flips = st.sampled_from(["none", "horizontal", "vertical", "both"])


def squares(count: int) -> Tensor:
    """Return 2 x 2 images, each of which reads 1 2 / 3 4 in all three channels."""
    return torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).view(1, 2, 2, 1).expand(count, 2, 2, 3)


def seen(pixels: Tensor) -> list[tuple[int, ...]]:
    """Return how each 2 x 2 image reads, row by row."""
    return [tuple(image[:, :, 0].flatten().tolist()) for image in pixels]


def seen_in(count: int, view: int, flips: str, seed: int) -> list[tuple[int, ...]]:
    return seen(flip(squares(count), np.arange(count), view, flips, seed))


def photos(count: int, side: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.fixture(params=[1, 2], ids=["one-thread", "two-threads"])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compute with so many threads: each number has kernels of its own."""
    usual = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(usual)


def prefix_of(name: str, learned: tuple[str, ...]) -> nn.Sequential:
    torch.manual_seed(0)
    backbone = build_backbone(name, "none", 2).to(memory_format=torch.channels_last)
    apply_plan(backbone, learned)
    return cut_at_boundary(backbone, learned)[0]


@pytest.mark.parametrize(
    ("flips", "readings"),
    [
        ("none", {(1, 2, 3, 4)}),
        ("horizontal", {(1, 2, 3, 4), (2, 1, 4, 3)}),
        ("vertical", {(1, 2, 3, 4), (3, 4, 1, 2)}),
        ("both", {(1, 2, 3, 4), (2, 1, 4, 3), (3, 4, 1, 2), (4, 3, 2, 1)}),
    ],
)
def test_flips_do_what_they_say(flips: str, readings: set[tuple[int, ...]]) -> None:
    assert set(seen_in(64, 0, flips, 0)) == readings


@pytest.mark.parametrize(("flips", "ways"), [("horizontal", 2), ("vertical", 2), ("both", 4)])
@pytest.mark.parametrize(("view", "seed"), [(0, 0), (1, 0), (0, 1)])
def test_each_way_of_flipping_is_as_common_as_the_others(flips: str, ways: int, view: int, seed: int) -> None:
    readings = seen_in(4_000, view, flips, seed)
    for reading in set(readings):
        assert readings.count(reading) == pytest.approx(4_000 / ways, abs=150)  # over four standard deviations


@given(seed=seeds, view=views, flips=flips, images=st.lists(st.integers(0, 39), min_size=1, max_size=40))
def test_flipping_depends_on_seed_image_and_view_whatever_the_batch_and_its_order(
    seed: int, view: int, flips: str, images: list[int]
) -> None:
    everyone = seen_in(40, view, flips, seed)
    batch = seen(flip(squares(len(images)), np.array(images), view, flips, seed))
    assert batch == [everyone[image] for image in images]


@pytest.mark.parametrize("flips", ["horizontal", "vertical", "both"])
def test_views_and_seeds_differ(flips: str) -> None:
    drawn = [tuple(seen_in(64, view, flips, seed)) for view in range(4) for seed in range(4)]
    assert len(set(drawn)) == 16


def test_flipping_leaves_the_pixels_it_was_given_as_they_are() -> None:
    pixels = squares(64).clone()
    flip(pixels, np.arange(64), 0, "both", 0)
    assert torch.equal(pixels, squares(64))


@every_backbone
def test_live_inputs_without_a_view_are_the_scaled_pixels_of_the_rows(name: str) -> None:
    images, rows = photos(5), np.array([4, 0, 2])
    inputs = live_inputs(images, name, "both", 0, CPU)(rows, None)
    assert torch.equal(inputs, scale_pixels(name, torch.from_numpy(images[[4, 0, 2]])))


@every_backbone
def test_live_inputs_in_a_view_are_the_scaled_flipped_pixels_of_the_rows(name: str) -> None:
    images, rows = photos(5), np.array([4, 0, 2])
    inputs = live_inputs(images, name, "both", 3, CPU)(rows, 1)
    flipped = flip(torch.from_numpy(images[[4, 0, 2]]), rows, 1, "both", 3)
    assert torch.equal(inputs, scale_pixels(name, flipped))


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(("first", "dimensions"), [("stage2", 4), ("stage4", 4), ("head", 2)])
@every_backbone
def test_cached_inputs_are_bit_for_bit_what_the_prefix_gives_live(name: str, first: str, dimensions: int) -> None:
    prefix = prefix_of(name, PARTS[PARTS.index(first) :])
    live = live_inputs(photos(144), name, "both", 0, CPU)
    wanted = {None: np.arange(0, 144, 3), 0: np.arange(144), 1: np.arange(1, 144, 2)}  # 144: more than one batch
    cached, _ = cached_inputs(prefix, live, wanted, "float32", CPU)
    for view, rows in wanted.items():
        for batch in in_batches(np.random.default_rng(1).permutation(rows), 24):  # below 16, kernels may differ
            with torch.inference_mode():
                expected = prefix(live(batch, view))
            assert expected.dim() == dimensions
            assert cached(batch, view).dtype == torch.float32
            assert torch.equal(cached(batch, view), expected)


@pytest.mark.parametrize("first", ["stage2", "head"])
@every_backbone
def test_cached_inputs_lie_in_memory_as_live_ones_do(name: str, first: str) -> None:
    prefix, rows = prefix_of(name, PARTS[PARTS.index(first) :]), np.arange(8)
    live = live_inputs(photos(8), name, "none", 0, CPU)
    cached, _ = cached_inputs(prefix, live, {None: rows}, "float32", CPU)
    assert cached(rows, None).stride() == prefix(live(rows, None)).stride()


@every_backbone
def test_a_suffix_can_learn_from_cached_inputs(name: str) -> None:
    prefix, rows = prefix_of(name, ("head",)), np.arange(8)
    cached, _ = cached_inputs(prefix, live_inputs(photos(8), name, "none", 0, CPU), {0: rows}, "float32", CPU)
    suffix = nn.Linear(cached(rows, 0).shape[1], 2)
    suffix(cached(rows, 0)).sum().backward()
    assert suffix.weight.grad is not None
    assert suffix.weight.grad.abs().sum() > 0


def count_up(rows: Rows, view: int | None) -> Tensor:
    """Return inputs by which a row can be told: ten times the view, plus the row."""
    return torch.from_numpy(rows).float().view(-1, 1) + 10.0 * (view or 0)


def test_the_bytes_of_a_cache_are_those_of_its_numbers() -> None:
    _, taken = cached_inputs(nn.Sequential(), count_up, {None: np.arange(3), 0: np.arange(5)}, "float32", CPU)
    assert taken == (3 + 5) * 4


def test_cached_rows_come_in_the_order_in_which_they_are_asked_for() -> None:
    cached, _ = cached_inputs(nn.Sequential(), count_up, {2: np.array([1, 3, 6])}, "float32", CPU)
    assert cached(np.array([6, 1, 6, 3]), 2).flatten().tolist() == [26.0, 21.0, 26.0, 23.0]


@pytest.mark.parametrize("row", [0, 2, 7])
def test_a_row_that_was_not_cached_is_refused(row: int) -> None:
    cached, _ = cached_inputs(nn.Sequential(), count_up, {0: np.array([1, 3, 6])}, "float32", CPU)
    with pytest.raises(LookupError):
        cached(np.array([1, row]), 0)


def test_a_view_that_was_not_cached_is_refused() -> None:
    cached, _ = cached_inputs(nn.Sequential(), count_up, {0: np.array([1, 3, 6])}, "float32", CPU)
    with pytest.raises(LookupError):
        cached(np.array([1, 3]), None)


sizes = {"count": st.integers(1, 600), "batch_size": st.integers(SMALLEST_BATCH, 64)}


@settings(max_examples=200)
@given(**sizes)
def test_batches_hold_every_row_once_and_in_order(count: int, batch_size: int) -> None:
    rows = np.random.default_rng(count).permutation(count)
    assert np.concatenate(in_batches(rows, batch_size)).tolist() == rows.tolist()


@settings(max_examples=200)
@given(**sizes)
def test_batches_are_at_most_the_batch_size_and_nearly_equal(count: int, batch_size: int) -> None:
    lengths = [len(batch) for batch in in_batches(np.arange(count), batch_size)]
    assert max(lengths) <= batch_size
    assert max(lengths) - min(lengths) <= 1


@settings(max_examples=500)
@given(**sizes)
def test_no_batch_size_that_params_allow_leaves_one_image_alone(count: int, batch_size: int) -> None:
    lengths = [len(batch) for batch in in_batches(np.arange(count), batch_size)]
    assert min(lengths) >= 2 or count <= batch_size
