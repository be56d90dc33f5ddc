"""How far each part moved, and what the first layer looks for."""

import numpy as np
import pytest
import torch
from torch import nn

from frostline.backbones.freezing import apply_plan
from frostline.interpret.captions import describe_movement
from frostline.interpret.weight_changes import Moved, find_first_filters, measure_movements
from tests import toys
from tests.stages.looked_into import in_parts, linear

pytestmark = pytest.mark.usefixtures("one_thread")


def test_movement_is_the_norm_of_the_change_over_the_norm_before_and_zero_where_nothing_changed() -> None:
    loaded = in_parts(stem=linear([3.0, 4.0]), stage1=nn.ReLU(), head=linear([1.0], [0.0]))
    trained = in_parts(stem=linear([3.0, 4.0]), stage1=nn.ReLU(), head=linear([1.0], [0.5]))
    apply_plan(trained, toys.plan("head"))
    assert measure_movements(loaded, trained) == [
        Moved("stem", 2, 0, 0.0), Moved("stage1", 0, 0, None), Moved("head", 2, 2, 0.5),
    ]  # fmt: skip


def test_a_tiny_change_of_a_large_part_is_not_rounded_away() -> None:
    loaded, trained = (in_parts(head=linear([1.0] * 9_999 + [last])) for last in (1.0, 1.0 + 2**-23))
    assert measure_movements(loaded, trained)[0].relative_norm == pytest.approx(2**-23 / 100)


@pytest.mark.parametrize(
    ("norm", "trainable", "told"),
    [
        (0.0, 0, "0 exactly, frozen"),
        (0.0125, 9, "0.0125"),
        (0.0125, 1, "0.0125, some of it learned"),
        (None, 0, "no parameters"),
    ],
)
def test_what_did_not_move_is_told_otherwise_than_what_hardly_did(
    norm: float | None, trainable: int, told: str
) -> None:
    assert describe_movement(Moved("stem", 9, trainable, norm)) == told


def test_the_rows_of_a_linear_first_layer_are_pictures_of_what_they_look_for() -> None:
    red_upper_left = torch.zeros(3, 4, 4)
    red_upper_left[0, 0, 0] = 1
    network = nn.Sequential(nn.Flatten(), linear(red_upper_left.flatten().tolist()))
    found = find_first_filters(network, network, most=9)
    assert found is not None
    assert np.array_equal(found.after[0], red_upper_left)


def test_of_many_filters_the_strongest_after_training_are_kept_in_their_order() -> None:
    layers = [nn.Conv2d(3, 4, 2, bias=False) for _ in range(2)]
    for layer, sizes in zip(layers, ([9.0, 9.0, 1.0, 1.0], [1.0, 3.0, 0.0, 2.0]), strict=True):
        layer.weight = nn.Parameter(torch.tensor(sizes)[:, None, None, None].expand(4, 3, 2, 2).clone())
    found = find_first_filters(*layers, most=2)
    assert found is not None
    assert (found.indices, found.of) == ([1, 3], 4)
    assert found.before[:, 0, 0, 0].tolist() == [9.0, 1.0]


def test_a_first_layer_that_sees_no_colours_has_no_filters_to_show() -> None:
    for layer in (nn.Conv2d(1, 4, 3), nn.Linear(7, 4)):
        assert find_first_filters(layer, layer, most=9) is None
