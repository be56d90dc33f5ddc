"""What may never happen to a fold, on toys and on the real order of the solar cells."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.preparation.splits import (
    Integers,
    count_groups_needed,
    draw_folds,
    draw_validation,
    encode_values,
    join_groups,
)
from frostline.sources.local import read_elpv

REPEATS = st.integers(0, 1_000)
FOLDS = st.integers(2, 7)
some = settings(max_examples=30, deadline=None)  # a draw takes 30 ms, more on a busy machine


@st.composite
def _pure_groups(draw: st.DrawFn) -> tuple[Integers, Integers]:
    """Return groups of 1 to 5 images, in any order of the images, each of which lies within one of three classes."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=12, max_size=40))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    order = np.array(draw(st.permutations(range(len(groups)))))
    return groups[order], (groups % 3)[order]


@st.composite
def _mixed_groups(draw: st.DrawFn) -> tuple[Integers, Integers]:
    """Return groups of 2 to 6 images, in any order of the images, and classes that alternate within each."""
    sizes = draw(st.lists(st.integers(2, 6), min_size=12, max_size=40))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    order = np.array(draw(st.permutations(range(len(groups)))))
    return groups[order], (np.arange(len(groups)) % 2)[order]


def _count_torn(groups: Integers, labels: np.ndarray) -> int:
    return sum(len(set(labels[groups == group])) > 1 for group in np.unique(groups))


@some
@given(st.one_of(_pure_groups(), _mixed_groups()), FOLDS, REPEATS)
def test_each_image_is_tested_by_one_fold_of_which_none_is_empty_and_no_group_is_torn(
    images: tuple[Integers, Integers], folds: int, repeat: int
) -> None:
    groups, classes = images
    fold_of = draw_folds(groups, classes, classes, folds, repeat)
    assert len(fold_of) == len(groups)
    assert set(fold_of) == set(range(folds))
    assert _count_torn(groups, fold_of) == 0


@some
@given(_pure_groups(), FOLDS, REPEATS)
def test_strata_are_balanced_to_within_a_group(images: tuple[Integers, Integers], folds: int, repeat: int) -> None:
    groups, strata = images
    fold_of = draw_folds(groups, strata, strata, folds, repeat)
    for stratum in range(3):
        its = strata == stratum
        filled = np.bincount(fold_of[its], minlength=folds)
        assert filled.max() - filled.min() <= np.bincount(groups[its]).max()


@some
@given(st.one_of(_pure_groups(), _mixed_groups()), FOLDS, REPEATS)
def test_a_repeat_always_draws_the_same_folds(images: tuple[Integers, Integers], folds: int, repeat: int) -> None:
    groups, classes = images
    drawn = [draw_folds(groups, classes, classes, folds, repeat) for _ in range(2)]
    assert (drawn[0] == drawn[1]).all()


@some
@given(st.sampled_from(["pure", "mixed"]), st.lists(REPEATS, min_size=2, max_size=5, unique=True))
def test_repeats_draw_different_folds(kind: str, repeats: list[int]) -> None:
    groups = np.repeat(np.arange(60), 2)
    classes = groups % 2 if kind == "pure" else np.arange(120) % 2
    drawn = [draw_folds(groups, classes, classes, 5, repeat) for repeat in repeats]
    assert all((one != other).any() for one, other in combinations(drawn, 2))


@some
@given(st.one_of(_pure_groups(), _mixed_groups()), st.integers(0, 9))
def test_validation_tears_no_group_and_leaves_every_class_to_both(images: tuple[Integers, Integers], seed: int) -> None:
    groups, classes = images
    drawn = draw_validation(groups, classes, classes, 0.15, [seed])
    assert _count_torn(groups, drawn) == 0
    assert set(classes[drawn]) == set(classes[~drawn]) == set(classes)


@some
@given(st.integers(20, 60), st.sampled_from([0.1, 0.15, 0.25]), st.integers(0, 9))
def test_validation_is_of_each_class_the_share_that_was_asked_to_within_a_group(
    count: int, share: float, seed: int
) -> None:
    groups, classes = np.repeat(np.arange(2 * count), 3), np.repeat(np.arange(2 * count) % 2, 3)
    drawn = draw_validation(groups, classes, classes, share, [seed])
    assert (np.abs(np.bincount(classes[drawn]) - share * 3 * count) <= 3).all()


@some
@given(FOLDS, REPEATS, st.integers(0, 2))
def test_the_fewest_groups_of_a_class_that_are_said_to_do_leave_each_fold_two_of_them(
    folds: int, repeat: int, strata_of_rare: int
) -> None:
    """The rare class lies in one to three strata of its own, beside a common one."""
    rare = count_groups_needed(folds)
    classes = np.array([0] * 30 + [1] * rare)
    strata = np.array([0] * 30 + [1 + place % (strata_of_rare + 1) for place in range(rare)])
    fold_of = draw_folds(np.arange(len(classes)), strata, classes, folds, repeat)
    for fold in range(folds):
        rest = np.flatnonzero(fold_of != fold)
        assert (classes[rest] == 1).sum() >= 2
        drawn = draw_validation(rest, strata[rest], classes[rest], 0.15, [repeat, fold])
        assert set(classes[rest][drawn]) == set(classes[rest][~drawn]) == {0, 1}


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
def cells() -> tuple[Integers, Integers, Integers]:
    """Return the block, the stratum (class x module type) and the class of every ELPV cell, in the published order."""
    examples = list(read_elpv("probability >= 0.5").examples())
    blocks = np.arange(len(examples)) // 60
    strata = encode_values((example["label"], example["stratum"]) for example in examples)
    classes = encode_values(example["label"] for example in examples)
    return join_groups(blocks, encode_values(example["id"] for example in examples)), strata, classes


@pytest.fixture(scope="module")
def drawn(cells: tuple[Integers, Integers, Integers]) -> list[Integers]:
    """Return the default study's folds in its first repeats."""
    return [draw_folds(*cells, folds=5, repeat=repeat) for repeat in range(4)]


def test_solar_cells_make_44_blocks_of_which_none_is_torn(
    cells: tuple[Integers, Integers, Integers], drawn: list[Integers]
) -> None:
    groups, _, _ = cells
    assert np.bincount(groups).tolist() == [60] * 43 + [44]
    assert all(_count_torn(groups, fold_of) == 0 for fold_of in drawn)


def test_solar_cells_are_tested_beside_others_in_each_repeat(drawn: list[Integers]) -> None:
    """In unrelated folds of fifths, two images share a fold of both repeats with probability 1/25."""
    for one, other in combinations(drawn, 2):
        together = (one[:, None] == one) & (other[:, None] == other)
        assert together.mean() < 2 / 25


def test_folds_of_solar_cells_hold_near_a_fifth_of_each_class_and_module_type(
    cells: tuple[Integers, Integers, Integers], drawn: list[Integers]
) -> None:
    _, strata, _ = cells
    for fold_of in drawn:
        for fold in range(5):
            found = np.bincount(strata[fold_of == fold], minlength=4) / np.bincount(strata)
            assert found == pytest.approx([0.2] * 4, abs=0.05)


def test_solar_cells_that_validate_are_near_the_share_of_each_class_and_module_type(
    cells: tuple[Integers, Integers, Integers], drawn: list[Integers]
) -> None:
    for repeat, fold_of in enumerate(drawn[:2]):
        for fold in range(5):
            groups, strata, classes = (column[fold_of != fold] for column in cells)
            validates = draw_validation(groups, strata, classes, 0.15, [repeat, fold])
            found = np.bincount(strata[validates], minlength=4) / np.bincount(strata)
            assert found == pytest.approx([0.15] * 4, abs=0.03)
