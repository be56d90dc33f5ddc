"""What may never happen to a split, on toys and on the real order of the solar cells."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.data.splits import Integers, Names, complete_official, draw_splits, encode_values, join_groups
from frostline.errors import InputError
from frostline.sources.local import read_elpv

SEEDS = st.integers(0, 2**31 - 1)
some = settings(max_examples=30, deadline=None)  # a draw takes 30 ms, more on a busy machine
SHARES = st.sampled_from([0.05, 0.1, 0.15, 0.2, 0.25, 0.3])


@st.composite
def _mixed_groups(draw: st.DrawFn) -> tuple[Integers, Integers]:
    """Return groups of 2 to 6 images, in any order of the images, and strata that alternate within each."""
    sizes = draw(st.lists(st.integers(2, 6), min_size=12, max_size=40))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    order = draw(st.permutations(range(len(groups))))
    return groups[order], (np.arange(len(groups)) % 2)[order]


def _splits_of_each_group(groups: Integers, splits: Names) -> list[int]:
    return [len(set(splits[groups == group])) for group in np.unique(groups)]


def _share(chosen: Names, name: str) -> float:
    return float((chosen == name).mean())


@some
@given(_mixed_groups(), SHARES, SHARES, SEEDS)
def test_no_group_is_torn_between_splits(
    images: tuple[Integers, Integers], validation: float, test: float, seed: int
) -> None:
    groups, strata = images
    splits = draw_splits(groups, strata, validation, test, seed)
    assert set(_splits_of_each_group(groups, splits)) == {1}


@some
@given(_mixed_groups(), SHARES, SHARES, SEEDS)
def test_every_split_gets_images(images: tuple[Integers, Integers], validation: float, test: float, seed: int) -> None:
    splits = draw_splits(*images, validation, test, seed)
    assert set(splits) == {"train", "validation", "test"}


@some
@given(st.integers(20, 60), SHARES, SHARES, SEEDS)
def test_shares_of_equal_mixed_groups_are_within_a_group_of_what_was_asked(
    count: int, validation: float, test: float, seed: int
) -> None:
    groups, strata = np.repeat(np.arange(count), 4), np.tile([0, 0, 1, 1], count)
    splits = draw_splits(groups, strata, validation, test, seed)
    assert abs(_share(splits, "test") - test) <= 1 / count
    assert abs(_share(splits, "validation") - validation) <= 1 / count


@some
@given(st.integers(1, 3), st.integers(1, 4), SHARES, SHARES, SEEDS)
def test_groups_within_one_stratum_are_stratified_exactly(
    few: int, many: int, validation: float, test: float, seed: int
) -> None:
    """20 groups are the fewest of which each of the shares is a whole number."""
    strata_of_groups = np.repeat([0, 1], [20 * few, 20 * many])
    groups, strata = np.repeat(np.arange(len(strata_of_groups)), 3), np.repeat(strata_of_groups, 3)
    splits = draw_splits(groups, strata, validation, test, seed)
    for name, share in (("validation", validation), ("test", test)):
        drawn = np.bincount(strata[splits == name], minlength=2)
        assert drawn.tolist() == [round(60 * few * share), round(60 * many * share)]


@some
@given(_mixed_groups(), SEEDS)
def test_a_seed_always_draws_the_same_split(images: tuple[Integers, Integers], seed: int) -> None:
    assert (draw_splits(*images, 0.15, 0.25, seed) == draw_splits(*images, 0.15, 0.25, seed)).all()


@some
@given(st.sampled_from(["pure", "mixed"]), st.lists(SEEDS, min_size=2, max_size=5, unique=True))
def test_seeds_draw_different_splits(kind: str, seeds: list[int]) -> None:
    groups = np.repeat(np.arange(60), 2)
    strata = groups % 2 if kind == "pure" else np.arange(120) % 2
    drawn = [draw_splits(groups, strata, 0.15, 0.25, seed) for seed in seeds]
    assert all((one != other).any() for one, other in combinations(drawn, 2))


@pytest.mark.parametrize("groups", [[0, 0, 0, 0], [0, 0, 1, 1]])
def test_too_few_groups_to_draw_from_are_refused_in_plain_words(groups: list[int]) -> None:
    with pytest.raises(InputError) as caught:
        draw_splits(np.array(groups), np.array([0, 1, 0, 1]), 0.15, 0.25, seed=0)
    line = "data must have enough groups of images to draw {} of them with every class. Got only 1 instead. "
    fix = "Add images, lower data.block_files, or use data.groups: none."
    assert str(caught.value) == line.format("25%" if max(groups) == 0 else "20%") + fix


def test_too_few_groups_of_a_class_are_refused_in_plain_words() -> None:
    with pytest.raises(InputError) as caught:
        draw_splits(np.arange(9), np.array([0] * 8 + [1]), 0.15, 0.25, seed=0)
    assert str(caught.value) == (
        "data must have enough groups of images to draw 25% of them with every class. Got only 9 instead. "
        "Add images, lower data.block_files, or use data.groups: none."
    )


OFFICIAL = np.array(["train"] * 40 + ["test"] * 20)
ALONE = np.arange(60)
EVEN = np.arange(60) % 2


@pytest.mark.parametrize("seed", range(4))
def test_official_splits_that_are_complete_are_kept_for_every_seed(seed: int) -> None:
    official = np.array(["train", "validation", "test"] * 20)
    assert (complete_official(official, ALONE, EVEN, 0.25, 0.25, seed) == official).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_missing_official_validation_is_drawn_from_train_and_test_is_kept(seed: int) -> None:
    splits = complete_official(OFFICIAL, ALONE, EVEN, 0.25, 0.25, seed)
    assert (splits[40:] == "test").all()
    assert np.bincount(EVEN[splits == "validation"]).tolist() == [5, 5]
    assert (splits[:40] == "train").sum() == 30


@pytest.mark.parametrize("seed", range(4))
def test_a_missing_official_test_is_drawn_from_train_and_validation_is_kept(seed: int) -> None:
    official = np.where(OFFICIAL == "test", "validation", OFFICIAL)
    splits = complete_official(official, ALONE, EVEN, 0.25, 0.25, seed)
    assert (splits[40:] == "validation").all()
    assert np.bincount(EVEN[splits == "test"]).tolist() == [5, 5]
    assert (splits[:40] == "train").sum() == 30


@some
@given(st.lists(SEEDS, min_size=2, max_size=4, unique=True))
def test_seeds_draw_different_validation_images_from_official_train(seeds: list[int]) -> None:
    drawn = [complete_official(OFFICIAL, ALONE, EVEN, 0.25, 0.25, seed) for seed in seeds]
    assert all((one != other).any() for one, other in combinations(drawn, 2))


def test_no_group_is_torn_when_validation_is_drawn_from_official_train() -> None:
    groups = np.arange(60) // 4
    splits = complete_official(OFFICIAL, groups, EVEN, 0.25, 0.25, seed=0)
    assert set(_splits_of_each_group(groups, splits)) == {1}


def test_official_splits_are_not_changed_in_place() -> None:
    official = OFFICIAL.copy()
    complete_official(official, ALONE, EVEN, 0.25, 0.25, seed=0)
    assert (official == OFFICIAL).all()


def test_groups_are_joined_by_way_of_others() -> None:
    """Images 0 and 1 share a block, 1 and 2 a content, 2 and 3 a block; 4 shares nothing, 5 a content with 4."""
    groups = join_groups(blocks=np.array([0, 0, 1, 1, 2, 3]), contents=np.array([0, 1, 1, 2, 3, 3]))
    assert encode_values(groups).tolist() == [0, 0, 0, 0, 1, 1]


def test_images_that_share_neither_block_nor_content_stay_apart() -> None:
    """Block 1 and content 1 have a number in common and nothing else."""
    assert len(set(join_groups(blocks=np.array([0, 1, 2]), contents=np.array([1, 2, 0])))) == 3


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=14))
def test_two_images_are_in_one_group_just_when_a_chain_of_shared_things_leads_from_one_to_the_other(
    images: list[tuple[int, int]],
) -> None:
    blocks, contents = (np.array(column) for column in zip(*images, strict=True))
    linked = (blocks[:, None] == blocks) | (contents[:, None] == contents)
    for _ in images:
        linked = linked @ linked
    groups = join_groups(blocks, contents)
    assert ((groups[:, None] == groups) == linked).all()


def test_codes_count_in_the_order_of_first_appearance() -> None:
    assert encode_values(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


@pytest.fixture(scope="module")
def cells() -> tuple[Integers, Integers]:
    """Return the block and the stratum (class x module type) of every ELPV cell, in the published order."""
    examples = list(read_elpv("probability >= 0.5").examples())
    blocks = np.arange(len(examples)) // 60
    strata = encode_values((example["label"], example["stratum"]) for example in examples)
    return join_groups(blocks, encode_values(example["id"] for example in examples)), strata


@pytest.fixture(scope="module")
def drawn(cells: tuple[Integers, Integers]) -> list[Names]:
    """Return the splits of the default study's seeds."""
    return [draw_splits(*cells, validation_share=0.15, test_share=0.25, seed=seed) for seed in range(4)]


def test_solar_cells_make_44_blocks_of_which_none_is_torn(cells: tuple[Integers, Integers], drawn: list[Names]) -> None:
    groups, _ = cells
    assert np.bincount(groups).tolist() == [60] * 43 + [44]
    assert all(set(_splits_of_each_group(groups, splits)) == {1} for splits in drawn)


def test_solar_cells_are_split_differently_by_each_seed(drawn: list[Names]) -> None:
    """Unrelated draws of a quarter would share 1/16 of all as test; twice that is far from the same."""
    for one, other in combinations(drawn, 2):
        assert ((one == "test") & (other == "test")).mean() < 1 / 8


def test_solar_cells_are_drawn_near_60_15_25_percent(drawn: list[Names]) -> None:
    for splits in drawn:
        shares = [_share(splits, name) for name in ("train", "validation", "test")]
        assert shares == pytest.approx([0.60, 0.15, 0.25], abs=0.015)


def test_solar_cells_of_each_class_and_module_type_are_drawn_near_their_share(
    cells: tuple[Integers, Integers], drawn: list[Names]
) -> None:
    _, strata = cells
    for splits in drawn:
        for name, share in (("validation", 0.15), ("test", 0.25)):
            found = np.bincount(strata[splits == name]) / np.bincount(strata)
            assert found == pytest.approx([share] * 4, abs=0.02)


def test_blocks_of_solar_cells_are_better_balanced_than_a_plain_draw(
    cells: tuple[Integers, Integers], drawn: list[Names]
) -> None:
    groups, strata = cells

    def imbalance(chosen: np.ndarray) -> float:
        return float(np.abs(np.bincount(strata[chosen], minlength=4) - np.bincount(strata) / 4).sum())

    plain = [
        imbalance(np.isin(groups, np.random.default_rng(seed).choice(44, 11, replace=False))) for seed in range(50)
    ]
    assert max(imbalance(splits == "test") for splits in drawn) < np.quantile(plain, 0.1)
