"""What a step saves of each image is counted once, and nothing else is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from frostline.backbones.freezing import apply_plan, cut_at_boundary
from frostline.backbones.precision import autocast
from frostline.backbones.registry import build_backbone
from frostline.training.costs import measure_saved_bytes
from frostline.training.loop import start_fit, take_step
from frostline.training.optimizer import count_state_bytes
from tests.toys import CPU, plan

FLOAT32 = 4  # bytes of a number


def saved_by(model: nn.Module, *shape: int, precision: str = "float32") -> int:
    """Return what a step of the model saves of an image of that shape."""

    def step(images: int) -> None:
        with autocast(precision, CPU):
            model(torch.ones(images, *shape)).float().sum().backward()

    return measure_saved_bytes(step)


def test_a_layer_that_learns_saves_its_input_and_a_relu_its_output_which_the_next_layer_need_not_save_again() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert saved_by(model, 3) == (3 + 4) * FLOAT32


def test_what_lies_before_the_first_layer_that_learns_saves_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 4).requires_grad_(False), nn.ReLU(), nn.Linear(4, 2))
    assert saved_by(model, 3) == 4 * FLOAT32


def test_a_frozen_layer_behind_one_that_learns_saves_its_weights_alone_and_they_do_not_count() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5).requires_grad_(False), nn.Linear(5, 2))
    assert saved_by(model, 3) == (3 + 5) * FLOAT32


def test_the_statistics_of_a_batch_do_not_count_as_no_image_adds_to_them() -> None:
    assert saved_by(nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)), 3, 5, 5) == (3 + 8) * 25 * FLOAT32


def test_in_bfloat16_a_convolution_saves_half_and_the_copies_of_weights_do_not_count() -> None:
    convolutions = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 4, 1))
    saved = {precision: saved_by(convolutions, 3, 5, 5, precision=precision) for precision in ("float32", "bfloat16")}
    assert saved == {"float32": (3 + 8 + 8) * 25 * FLOAT32, "bfloat16": (3 + 8 + 8) * 25 * 2}


class Square(nn.Module):
    """Multiplies what it is given, seen in two ways, with itself: both are saved, and are one piece of memory."""

    def forward(self, values: Tensor) -> Tensor:
        """Return the squares."""
        return values.flatten() * values.view(-1)


def test_two_views_of_one_memory_count_once() -> None:
    assert saved_by(nn.Sequential(nn.Linear(3, 4), Square()), 3) == (3 + 4) * FLOAT32


def test_a_part_of_a_larger_memory_that_it_keeps_alive_counts_with_all_of_it() -> None:
    class Half(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values.tanh()[:, :2].exp()

    # tanh saves its 4 outputs for itself; exp saves its own 2.
    assert saved_by(nn.Sequential(nn.Linear(3, 4), Half()), 3) == (3 + 4 + 2) * FLOAT32


@pytest.mark.parametrize("step", [lambda _images: None, lambda images: torch.ones(images).sum()])
def test_a_step_that_needs_no_backward_saves_nothing(step: Callable[[int], object]) -> None:
    assert measure_saved_bytes(step) == 0


# Counted before any of this was written: megabytes for an image of 224 px, ResNet18 with 4 classes in float32, by the
# first part that learns. That count held the parameters, saved once for a batch of 16.
RESNET18 = {"stem": 24.98, "stage1": 16.35, "stage2": 9.89, "stage3": 5.74, "stage4": 3.21, "head": 0.0}


@pytest.mark.parametrize("first", RESNET18)
def test_resnet18_saves_what_was_counted_for_it_at_every_depth(first: str) -> None:
    backbone = build_backbone("resnet18", "none", 4)
    apply_plan(backbone, plan(from_=first))
    prefix, suffix = cut_at_boundary(backbone)
    fit = start_fit(suffix, 0.001, 0.01, 0)

    def step(images: int) -> None:
        with torch.no_grad():
            features = prefix(torch.randn(images, 3, 224, 224))
        take_step(fit, features, torch.arange(images) % 2, "float32")

    parameters = sum(parameter.nbytes for parameter in suffix.parameters())
    assert (measure_saved_bytes(step) + parameters / 16) / 1e6 == pytest.approx(RESNET18[first], abs=0.011)
    learned = [parameter for parameter in suffix.parameters() if parameter.requires_grad]
    assert count_state_bytes(fit.optimizer) == sum(2 * each.nbytes + 4 for each in learned)
