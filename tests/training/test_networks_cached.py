"""What a prefix makes is kept exactly whatever crosses into the suffix: one tensor, several, or some of no image's."""

from pathlib import Path

import pytest
import torch

from frostline.networks.segments import Restore
from frostline.training.grid import build_parts, make_feed
from tests import toys
from tests.toys import assert_same, plan, train, training

pytestmark = pytest.mark.usefixtures("one_thread")

# Each with the part from which on it learns, and the float32 numbers that an image's output has.
NETWORKS = {
    "resnet18": ("stage4", 256 * 2 * 2),  # skips that stay within blocks
    "timm/dla46x_c": ("stage3", 1_536),  # what an earlier level made is used again
    "timm/test_vit": ("stage4", 5 * 64),
    "timm/vit_tiny_patch16_dinov3_qkvb": ("stage4", 9 * 192),  # rotary embeddings cross too, and are of no image
    "timm/swin_tiny_patch4_window7_224": ("stage4", 384 * 2 * 2),
    "timm/test_convnext": ("stage4", 48 * 2 * 2),
    "timm/cait_xxs24_224": ("stage4", 4 * 192),  # a class token that comes later is of no image
}


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_the_same_to_the_last_bit_with_the_cache_and_without(name: str, tmp_path: Path) -> None:
    first, numbers = NETWORKS[name]
    fits = []
    for budget in (0, 10**9):
        taught = training(cache_bytes=budget, epochs=1)
        job = toys.job(name, plan(from_=first, weights="none"), tmp_path / str(budget), taught)
        feed = make_feed(job)
        assert feed.cache.place == ("memory" if budget else "off")
        if budget:
            assert (
                feed.cache.bytes == (70 + 32) * numbers * 4
            )  # one view of training images, and validation's as they are
        fits.append(train(job, feed))
    assert_same(*fits)


def test_what_is_of_no_image_is_held_once_and_in_no_output(tmp_path: Path) -> None:
    job = toys.job("timm/vit_tiny_patch16_dinov3_qkvb", plan(from_="stage4", weights="none"), tmp_path)
    prefix, suffix = build_parts(job, 0)
    kept = prefix.eval()(torch.zeros(4, 3, 32, 32))
    assert isinstance(kept, torch.Tensor)
    (restore,) = [module for module in suffix.modules() if isinstance(module, Restore)]
    assert [tensor.shape[0] for tensor in restore.buffers()] == [4]  # places of a 2 x 2 grid
