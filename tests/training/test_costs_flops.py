"""What is counted is what is computed, no more and no less."""

import pytest
from torch import nn
from torchvision import models

from frostline.backbones.freezing import apply_plan, cut_at_boundary
from frostline.backbones.registry import build_backbone
from frostline.constants import WITHOUT_WEIGHTS
from frostline.networks.catalog import ARCHITECTURES
from frostline.training.costs import Work, count_work
from tests.toys import plan


def work_of(name: str, first: str, classes: int, image_px: int) -> Work:
    """Return the work of the backbone where all learns from the part `first` on."""
    backbone = build_backbone(name, "none", classes).to("meta")
    apply_plan(backbone, plan(from_=first))
    return count_work(*cut_at_boundary(backbone), image_px)


# 8 x 8 places, each 3 channels of 3 x 3 into 4; pooled into 4 numbers, from these 2 logits. An addition counts as well.
CONVOLUTION = 2 * 8 * 8 * 3 * 9 * 4
SECOND = 2 * 8 * 8 * 4 * 9 * 4
LINEAR = 2 * 4 * 2


def toy() -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    return nn.Sequential(first), nn.Sequential(second), head


def test_a_plan_that_learns_all_needs_every_gradient_but_that_of_the_pixels() -> None:
    first, second, head = toy()
    work = count_work(nn.Sequential(), nn.Sequential(first, second, head), 8)
    assert work.prefix == 0
    assert work.validation == CONVOLUTION + SECOND + LINEAR
    assert work.training == 2 * CONVOLUTION + 3 * SECOND + 3 * LINEAR


def test_a_frozen_prefix_costs_one_forward_and_no_backward() -> None:
    first, second, head = toy()
    work = count_work(nn.Sequential(first, second).requires_grad_(False), head, 8)
    assert work == Work(prefix=CONVOLUTION + SECOND, training=2 * LINEAR, validation=LINEAR)


def test_a_frozen_layer_behind_one_that_learns_passes_its_gradient_on_and_has_none_itself() -> None:
    first, second, head = toy()
    second.requires_grad_(False)
    work = count_work(nn.Sequential(), nn.Sequential(first, second, head), 8)
    assert work.training == 2 * CONVOLUTION + 2 * SECOND + 3 * LINEAR


def test_a_depthwise_convolution_costs_as_much_for_each_gradient_as_forward() -> None:
    depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
    suffix = nn.Sequential(nn.Conv2d(3, 16, 1), depthwise)
    forward = 2 * 8 * 8 * 9 * 16
    assert count_work(nn.Sequential(), suffix, 8).training == 2 * (2 * 8 * 8 * 3 * 16) + 3 * forward


def test_what_a_run_computed_is_the_prefix_for_what_went_through_it_and_training_for_what_was_shown() -> None:
    work = Work(prefix=100, training=3, validation=1)
    assert work.train(through_prefix=20, shown=50) == 20 * 100 + 50 * 3
    assert work.live == 103


# Counted before any of this was written: GFLOP of training on an image of 224 px once, live and behind a kept prefix,
# ResNet18 with 4 classes.
RESNET18 = {
    "stem": (10.65, 10.65),
    "stage1": (10.18, 9.94),
    "stage2": (8.43, 7.27),
    "stage3": (6.79, 4.80),
    "stage4": (5.14, 2.34),
    "head": (3.63, 0.0),
}


@pytest.mark.parametrize("first", RESNET18)
def test_resnet18_costs_what_was_counted_for_it_at_every_depth(first: str) -> None:
    work = work_of("resnet18", first, 4, 224)
    assert (round(work.live / 1e9, 2), round(work.training / 1e9, 2)) == RESNET18[first]


# Of the larger Lites, by Google's own table: the side of the images, and millions of multiplications with additions.
LITES = {
    "efficientnet_lite1": (240, 631),
    "efficientnet_lite2": (260, 899),
    "efficientnet_lite3": (280, 1440),
    "efficientnet_lite4": (300, 2640),
}


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in (*LITES, *WITHOUT_WEIGHTS)])
def test_one_image_forward_costs_what_the_authors_of_its_architecture_published(name: str) -> None:
    """In billions of multiplications with their additions. Lite0 is B0 without its attention to channels (0.2 %)."""
    about = models.get_model_weights("efficientnet_b0" if name == "efficientnet_lite0" else name)["IMAGENET1K_V1"]
    work = work_of(name, "head", 1000, about.transforms().crop_size[0])
    assert (work.prefix + work.validation) / 2e9 == pytest.approx(about.meta["_ops"], rel=0.01)


@pytest.mark.parametrize("name", LITES)
def test_one_image_forward_costs_what_google_published_of_the_larger_lites(name: str) -> None:
    """Google's counts are 3 to 6 % above those of products alone, here as for Lite0 (407 and 385 million)."""
    side, millions = LITES[name]
    work = work_of(name, "head", 1000, side)
    assert (work.prefix + work.validation) / 2e6 == pytest.approx(millions / 1.045, rel=0.015)
