"""Kept outputs are the live ones bit for bit, lie where they fit, and leave no trace."""

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from frostline.backbones.freezing import apply_plan, cut_at_boundary
from frostline.backbones.inference import Images, Inputs, LiveInputs, PrefixedInputs, split_batches
from frostline.backbones.registry import build_backbone
from frostline.constants import BACKBONES
from frostline.data.augmentation import Augmenter
from frostline.data.images import Rows
from frostline.networks.catalog import ARCHITECTURES
from frostline.training import prefix_cache
from frostline.training.prefix_cache import cache_inputs
from tests import toys
from tests.toys import CPU, plan
from tests.training.cached import BUDGETS, count_up, kept_places


def counted(place: str, scratch: Path, **wanted: list[int]) -> Inputs:
    """Return the kept inputs of `count_up`: these rows of these views ("plain" is none)."""
    rows = {None if view == "plain" else int(view[1:]): np.array(rows) for view, rows in wanted.items()}
    cache = cache_inputs(count_up, rows, BUDGETS[place], scratch, CPU)
    assert cache.place == place
    return cache.inputs


@kept_places
def test_kept_rows_come_batch_by_batch_in_the_order_in_which_they_are_asked_for(place: str, tmp_path: Path) -> None:
    inputs = counted(place, tmp_path, plain=[0, 1, 2], v0=[1, 3, 6], v2=[1, 3, 6])
    batches = [batch.flatten().tolist() for batch in inputs([np.array([6, 1, 6, 3]), np.array([3])], 2)]
    assert batches == [[206.0, 201.0, 206.0, 203.0], [203.0]]
    assert [batch.flatten().tolist() for batch in inputs([np.array([2, 0])], None)] == [[2.0, 0.0]]


def test_of_a_file_the_system_is_told_ahead_of_every_row_in_the_order_in_which_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _file, at, size, _advice: told.append((at, size)), raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_WILLNEED", 3, raising=False)
    monkeypatch.setattr(prefix_cache, "READ_AHEAD", 24)  # of rows of 4 bytes: three batches of two
    inputs = counted("scratch", tmp_path, v0=[*range(10)])
    batches = [np.array(rows) for rows in ([9, 0], [5, 2], [4, 1], [8, 3], [7, 6])]
    shown = []
    for batch in inputs(batches, 0):
        shown.append((batch.flatten().tolist(), len(told)))
    assert [rows for rows, _ in shown] == [batch.tolist() for batch in batches]
    assert told == [(0, 12), (16, 8), (36, 4), (12, 4), (24, 12)]  # 0 to 2, 4 and 5, 9; then 3, 6 to 8
    assert shown[0][1] == len(told)  # before the first batch is shown, the next three are told


def test_of_what_lies_in_memory_the_system_is_told_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: pytest.fail("told"), raising=False)
    assert len(list(counted("memory", tmp_path, v0=[1, 3])([np.array([1, 3])], 0))) == 1


@kept_places
@pytest.mark.parametrize("row", [0, 2, 7])
def test_a_row_that_is_not_kept_is_refused(row: int, place: str, tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        list(counted(place, tmp_path, plain=[0, 2], v0=[1, 3, 6], v1=[0, 2, 7])([np.array([1, row])], 0))


@kept_places
def test_a_view_that_is_not_kept_is_refused(place: str, tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        list(counted(place, tmp_path, v0=[1, 3, 6])([np.array([1, 3])], 1))


@kept_places
def test_who_writes_into_what_they_were_given_does_not_change_what_is_kept(place: str, tmp_path: Path) -> None:
    inputs = counted(place, tmp_path, v0=[1, 3])
    for _ in range(2):
        (batch,) = inputs([np.array([1, 3])], 0)
        assert batch.flatten().tolist() == [1.0, 3.0]
        batch.zero_()


LAYOUTS = {
    "N x C x H x W in channels_last": lambda count: torch.rand(count, 5, 3, 2).to(memory_format=torch.channels_last),
    "N x C x H x W": lambda count: torch.rand(count, 5, 3, 2),
    "one pixel in channels_last": lambda count: torch.rand(count, 5, 1, 1).to(memory_format=torch.channels_last),
    "N x H x W x C": lambda count: torch.rand(count, 3, 2, 5),
    "tokens": lambda count: torch.rand(count, 4, 5),
    "vectors": lambda count: torch.rand(count, 5),
    "numbers": lambda count: torch.rand(count),
}


@kept_places
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_and_type_is_kept_as_it_came(layout: str, dtype: torch.dtype, place: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    drawn = LAYOUTS[layout](20).to(dtype)

    def source(batches: Sequence[Rows], _view: int | None) -> Iterator[Tensor]:
        for rows in batches:
            yield drawn[torch.from_numpy(rows)]

    cache = cache_inputs(source, {0: np.arange(20)}, BUDGETS[place], tmp_path, CPU)
    batches = split_batches(np.random.default_rng(0).permutation(20), 7)
    assert (cache.place, cache.bytes) == (place, drawn.nbytes)
    for kept, live in zip(cache.inputs(batches, 0), source(batches, 0), strict=True):
        assert (kept.dtype, kept.shape, kept.stride()) == (live.dtype, live.shape, live.stride())
        assert torch.equal(kept, live)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "vit_b_16" else ()) for name in (*ARCHITECTURES, "vit")],
)
def test_what_each_architecture_hands_over_at_its_boundaries_is_kept_as_it_came(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "vit", toys.small_vision_transformer())
    side = max(32, BACKBONES[name][0]) if name in BACKBONES else 32
    backbone = build_backbone(name, "none", 2).to(memory_format=torch.channels_last)
    live = LiveInputs(
        Images.hold(toys.pictures(side)[:20], CPU), name, Augmenter.of(toys.prepared().ids, toys.FLIPPED, 0)
    )
    batches = split_batches(np.random.default_rng(0).permutation(20), 7)
    for first, precision in itertools.product(("stage1", "stage3", "head"), ("float32", "bfloat16")):
        apply_plan(backbone, plan(from_=first))
        prefixed = PrefixedInputs(cut_at_boundary(backbone)[0], live, side, precision, CPU)
        expected = list(prefixed(batches, 1))
        for place in ("memory", "scratch"):
            cache = cache_inputs(prefixed, {1: np.arange(20)}, BUDGETS[place], tmp_path, CPU)
            assert cache.place == place
            for kept, fresh in zip(cache.inputs(batches, 1), expected, strict=True):
                assert (kept.dtype, kept.stride()) == (fresh.dtype, fresh.stride()), (first, precision)
                assert torch.equal(kept, fresh), (first, precision)
