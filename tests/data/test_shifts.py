"""An image that moved is the same image."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frostline.data.augmentation import DIRECTIONS, shift

ROWS = torch.arange(4, dtype=torch.uint8).reshape(1, 4, 1, 1).expand(1, 4, 4, 3)
COLUMNS = ROWS.transpose(1, 2)


@pytest.mark.parametrize(
    ("direction", "rows", "columns"),
    [
        ("up", [1, 2, 3, 3], [0, 1, 2, 3]),
        ("down", [0, 0, 1, 2], [0, 1, 2, 3]),
        ("left", [0, 1, 2, 3], [1, 2, 3, 3]),
        ("right", [0, 1, 2, 3], [0, 0, 1, 2]),
    ],
)
def test_an_image_moves_where_it_is_told_and_its_edge_is_repeated(
    direction: str, rows: list[int], columns: list[int]
) -> None:
    assert shift(ROWS, direction, 1)[0, :, 0, 0].tolist() == rows
    assert shift(COLUMNS, direction, 1)[0, 0, :, 0].tolist() == columns


@given(direction=st.sampled_from([*DIRECTIONS]), by=st.integers(1, 7), seed=st.integers(0, 99))
def test_what_stays_in_sight_is_bit_for_bit_what_it_was(direction: str, by: int, seed: int) -> None:
    pixels = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8))
    back = {"left": "right", "right": "left", "up": "down", "down": "up"}[direction]
    returned, axis = shift(shift(pixels, direction, by), back, by), 1 if direction in ("up", "down") else 2
    kept = slice(by, None) if direction in ("left", "up") else slice(None, 8 - by)
    places = [slice(None)] * 4
    places[axis] = kept
    assert torch.equal(returned[tuple(places)], pixels[tuple(places)])
