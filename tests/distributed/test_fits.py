"""One fit over several devices is the fit over one: equal to rounding, audited, and continued from its checkpoints."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.distributed.processes import check_devices
from frostline.errors import InputError
from frostline.training.checkpoints import Trained, load_state, read_best
from frostline.training.grid import make_feed, train_cell
from frostline.training.job import Job, locate_checkpoint
from frostline.training.workers import compute_in, gather_team, share_devices, train_fits
from tests import toys
from tests.toys import plan, training
from tests.training.fits import PLACES

pytestmark = pytest.mark.long
CELL = (0.001,), 1


def asked(folder: Path, devices: int, name: str, place: str, **changes: object) -> Job:
    """Return a job for so many devices, in float32, whose fits compute in one thread each."""
    taught = training(devices_per_fit=devices, cache_bytes=PLACES[place], precision="float32", **changes)
    first, weights = ("stem", "none") if name != "efficientnet_lite0" else ("head", "pretrained")
    job = replace(toys.job(name, plan(from_=first, weights=weights), folder, taught), threads=1)
    labels = (np.arange(len(job.data.labels)) % 3 == 0).astype(np.int64)  # so that classes weigh differently
    return replace(job, data=replace(job.data, labels=labels))


def fit(job: Job) -> Trained:
    (trained,) = train_fits(job, make_feed(job), [CELL], 1, lambda _: None)
    return trained


def assert_alike(one: Job, other: Job) -> None:
    """Assert that the cell of both jobs came to the same, but for rounding.

    AdamW's first steps are as long as the rate, whichever way a gradient near zero was rounded: a few weights differ by
    that, the mean by a twentieth of how far they came. One process that sees batches in another order
    differs as much.
    """
    ours, theirs = fit(one), fit(other)
    assert ours.audited == theirs.audited
    assert len(ours.history) == len(theirs.history)
    for epoch, its in zip(ours.history, theirs.history, strict=True):
        assert epoch.train_loss == pytest.approx(its.train_loss, rel=2e-3)
        assert epoch.val_loss == pytest.approx(its.val_loss, rel=2e-3)
        assert epoch.learning_rates == its.learning_rates
    mine, yours = (read_best(locate_checkpoint(job, *CELL)) for job in (one, other))
    assert mine.keys() == yours.keys()
    for name, tensor in mine.items():
        assert (tensor.double() - yours[name].double()).abs().mean() < 5e-4, name


CASES = {
    "statistics that learn": ("residual20", "memory", {}),
    "a prefix kept in memory": ("efficientnet_lite0", "memory", {}),
    "a prefix kept in a file": ("efficientnet_lite0", "scratch", {}),
    "a prefix that each computes": ("efficientnet_lite0", "off", {}),
    "weighed classes": ("residual20", "memory", {"class_weights": "balanced", "label_smoothing": 0.1}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fit_over_two_devices_is_the_fit_over_one_to_rounding(case: str, tmp_path: Path) -> None:
    name, place, changes = CASES[case]
    one, two = (asked(tmp_path / str(devices), devices, name, place, **changes) for devices in (1, 2))
    assert locate_checkpoint(one, *CELL).name != locate_checkpoint(two, *CELL).name
    assert_alike(two, one)


def test_it_goes_on_over_two_devices_where_it_was_killed(tmp_path: Path) -> None:
    whole, killed = (asked(tmp_path / name, 2, "residual20", "memory") for name in ("whole", "killed"))
    expected, feed = fit(whole), make_feed(killed)
    labels = torch.from_numpy(killed.data.labels)
    with compute_in(killed.threads), gather_team(killed, feed, [CELL], 1) as team:
        for begun in train_cell(killed, feed, labels, *CELL, team):
            if len(begun.history) == 1:
                break
    saved = load_state(locate_checkpoint(killed, *CELL))
    assert saved is not None
    assert len(saved["history"]) == 1
    ended = fit(killed)
    assert [replace(epoch, seconds=0.0) for epoch in ended.history] == [
        replace(epoch, seconds=0.0) for epoch in expected.history
    ]
    mine, its = (read_best(locate_checkpoint(job, *CELL)) for job in (killed, whole))
    assert toys.differing(mine, its) == set()


def test_all_its_cells_are_trained_by_one_team(tmp_path: Path) -> None:
    job = asked(tmp_path, 2, "residual20", "memory")
    cells = [((rate,), replicate) for rate in (0.001, 0.01) for replicate in (0, 1)]
    fits = list(train_fits(job, make_feed(job), cells, 1, lambda _: None))
    assert [(each.rates, each.replicate) for each in fits] == cells
    assert len({each.audited for each in fits}) == 1


def test_more_devices_than_there_are_or_than_a_batch_has_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training.devices_per_fit must be at most \d+, the cores of this machine."):
        check_devices(100_000, "cpu")
    with pytest.raises(InputError, match=r"be at most 0, the GPUs of this machine. Got 2 instead."):
        check_devices(2, "cuda")
    job = asked(tmp_path, 2, "residual20", "memory", batch_size=1)
    with pytest.raises(InputError, match=r"be at most 1, the images of a batch. Got 2 instead. A larger"):
        share_devices(job)


def test_devices_share_the_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    job = asked(tmp_path, 2, "residual20", "memory")
    assert share_devices(job).threads == 4
    assert share_devices(asked(tmp_path, 1, "residual20", "memory")).threads == 1
