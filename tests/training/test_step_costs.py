"""What a step saves is measured alike wherever its prefix is kept."""

from dataclasses import replace
from pathlib import Path

import pytest

from frostline.constants import PARTS
from frostline.training.grid import (
    make_feed,
    measure_step,
)
from frostline.training.job import locate_checkpoint
from tests import toys
from tests.toys import assert_same, plan, train, training
from tests.training.fits import PLACES

pytestmark = pytest.mark.usefixtures("vision_transformer")


@pytest.mark.parametrize("place", [*PLACES, "no prefix"])
def test_a_step_is_measured_alike_wherever_its_prefix_is_kept_and_leaves_the_fits_as_they_would_be(
    place: str, tmp_path: Path
) -> None:
    asked = plan("stem", "head") if place == "no prefix" else plan("stage4.3", "head")
    job = toys.job("efficientnet_lite0", asked, tmp_path, training(epochs=2, cache_bytes=PLACES.get(place, 0)))
    feed = make_feed(job)
    assert feed.cache.place == place
    expected = train(job, feed)
    measured = measure_step(job, feed)
    checkpoint = locate_checkpoint(job, (0.001,), 0)
    for suffix in (".pt", ".json"):
        checkpoint.with_suffix(suffix).unlink()
    assert_same(train(job, feed), expected)
    learned = [each for each in expected.suffix.parameters() if each.requires_grad]
    assert measured[1] == sum(2 * each.nbytes + 4 for each in learned)
    live = replace(job, training=training(epochs=2, cache_bytes=0))
    assert measure_step(live, make_feed(live)) == measured


def test_the_deeper_a_plan_freezes_the_less_a_step_saves_and_bfloat16_saves_about_half(tmp_path: Path) -> None:
    def saved(first: str, precision: str) -> int:
        job = toys.job("efficientnet_lite0", plan(from_=first), tmp_path, precision=precision)
        return measure_step(job, make_feed(job))[0]

    depths = [saved(first, "float32") for first in PARTS]
    assert depths == sorted(depths, reverse=True)
    assert len(set(depths)) == len(PARTS)
    assert 0.45 < saved("stage3", "bfloat16") / depths[3] < 0.55
