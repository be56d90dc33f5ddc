"""A cell of the grid ends the same wherever and whenever it is trained, and steps are measured alike."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from frostline.data.images import Rows
from frostline.training.checkpoints import read_best
from frostline.training.grid import (
    list_wanted_rows,
    make_feed,
    would_pay,
)
from frostline.training.job import locate_checkpoint
from frostline.training.prefix_cache import Cache
from tests import toys
from tests.toys import assert_same, differing, plan, start, timeless, train, training
from tests.training.fits import PLACES

pytestmark = pytest.mark.usefixtures("vision_transformer")

several_backbones = pytest.mark.parametrize("name", ["efficientnet_lite0", "vit"])


@several_backbones
def test_a_cell_of_the_grid_ends_the_same_alone_or_after_others(name: str, tmp_path: Path) -> None:
    alone, crowded = (toys.job(name, plan("head"), tmp_path / folder) for folder in ("alone", "crowded"))
    expected, feed = train(alone, make_feed(alone), 0.01, 1), make_feed(crowded)
    fits = {(rate, replicate): train(crowded, feed, rate, replicate) for (rate,), replicate in toys.cells(crowded)}
    assert [*fits] == [(0.001, 0), (0.001, 1), (0.01, 0), (0.01, 1)]
    assert_same(fits[0.01, 1], expected)


@pytest.mark.parametrize("place", PLACES)
@several_backbones
def test_a_cell_that_is_killed_goes_on_from_its_last_epoch_and_ends_as_if_it_had_not_been(
    name: str, place: str, tmp_path: Path
) -> None:
    whole, killed = (
        toys.job(name, plan(from_="stage4"), tmp_path / folder, training(cache_bytes=PLACES[place]))
        for folder in ("whole", "killed")
    )
    expected = train(whole, make_feed(whole))
    first_try = start(killed, make_feed(killed))
    assert [len(next(first_try).history) for _ in range(3)] == [0, 1, 2]
    first_try.close()
    assert [len(fit.history) for fit in start(killed, make_feed(killed))] == [2, 3]
    again = train(killed, make_feed(killed))
    assert timeless(again) == timeless(expected)
    assert differing(again.best, expected.best) == set()
    assert again.audited == expected.audited
    assert differing(read_best(locate_checkpoint(killed, (0.001,), 0)), expected.best) == set()


@pytest.mark.parametrize("place", [*PLACES, "no prefix"])
def test_epoch_e_is_fed_view_e_minus_1_mod_views_whatever_the_plan_and_wherever_its_prefix_is_kept(
    place: str, tmp_path: Path
) -> None:
    asked = training(epochs=5, patience=5, views=3, cache_bytes=PLACES.get(place, 0))
    job = toys.job("efficientnet_lite0", plan("stem") if place == "no prefix" else plan("head"), tmp_path, asked)
    feed, shown = make_feed(job), []
    assert feed.cache.place == place

    def telling(batches: Sequence[Rows], view: int | None) -> Iterator[Tensor]:
        shown.append(view)
        return feed.cache.inputs(batches, view)

    train(job, replace(feed, cache=Cache(telling, place, 0)))
    assert shown == [0, None, 1, None, 2, None, 0, None, 1, None]


@several_backbones
def test_the_feed_of_a_plan_that_freezes_a_prefix_is_its_outputs_and_else_the_pictures(
    name: str, tmp_path: Path
) -> None:
    frozen = make_feed(toys.job(name, plan("head"), tmp_path))
    free = make_feed(toys.job(name, plan("stem", "head"), tmp_path))
    (vectors,), (batch,) = (feed.cache.inputs([np.arange(32)], 0) for feed in (frozen, free))
    assert vectors.dim() == 2
    assert frozen.cache.bytes == (32 + 2 * 70) * vectors[0].nbytes  # both replicates' validation, and two views of all
    assert frozen.seconds > 0
    assert batch.shape == (32, 3, 32, 32)
    assert (free.cache.place, free.cache.bytes, free.seconds) == ("no prefix", 0, 0.0)


@pytest.mark.parametrize(("views", "epochs_asked", "pays"), [(1, 1, False), (4, 1, False), (1, 2, True), (2, 2, True)])
def test_a_prefix_is_kept_only_if_its_outputs_are_asked_for_more_often_than_computed(
    views: int, epochs_asked: int, pays: bool, tmp_path: Path
) -> None:
    asked = toys.job("vit", plan("head", learning_rates=[0.01]), tmp_path, training(views=views, epochs=epochs_asked))
    asked = replace(asked, replicates=[0])  # one cell: training sees each view once, validation sees one in every epoch
    assert would_pay(asked, list_wanted_rows(asked, 1, [0]), 1, [0]) == pays
    assert make_feed(asked).cache.place == ("memory" if pays else "off")
