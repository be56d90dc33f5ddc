"""A simulated cluster loses what a real one would, and no more."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from docs.cluster.growth import measure_fit, simulate_all, tabulate
from docs.cluster.simulation import Setting, simulate
from frostline.files import write_csv
from tests.project import ROOT

CALM = Setting(4, 2, 16, 5, 10.0, 1.0, 1e12, 1e12, 1.0)


def test_where_nothing_fails_and_nothing_waits_a_study_takes_the_least_that_it_can() -> None:
    came = simulate(CALM)
    assert came.seconds == pytest.approx(came.least_seconds) == pytest.approx(2 * 5 * 10.0)
    assert (came.failures, came.lost_epochs) == (0, 0)


def test_a_node_that_fails_costs_each_of_its_fits_an_epoch_at_most() -> None:
    came = simulate(replace(CALM, between_failures=200.0), seed=1)
    assert came.failures > 0
    assert 0 < came.lost_epochs <= came.failures * CALM.cores
    assert came.seconds > came.least_seconds


@pytest.mark.parametrize("seed", range(5))
def test_what_was_not_handed_over_when_a_node_failed_is_trained_again_and_every_fit_ends(seed: int) -> None:
    came = simulate(replace(CALM, handed_bytes=3.0, bytes_per_second=1.0, between_failures=300.0), seed)
    assert came.failures
    assert came.seconds > came.least_seconds


def test_where_all_hand_over_to_one_disk_it_sets_the_pace() -> None:
    came = simulate(replace(CALM, handed_bytes=20.0, bytes_per_second=1.0))
    assert came.seconds == pytest.approx(CALM.fits * CALM.epochs * 20.0, rel=0.1)
    assert came.waited > 0.5


def test_what_the_page_shows_is_made_of_what_the_recorded_study_measured(recorded: Path, tmp_path: Path) -> None:
    fit = measure_fit(recorded)
    made: dict[str, pd.DataFrame] = {"growth": tabulate(fit), "simulated": simulate_all(fit)}
    for name, table in made.items():
        write_csv(tmp_path / f"{name}.csv", table)
        kept = (ROOT / "docs" / "cluster" / f"{name}.csv").read_bytes()
        assert (tmp_path / f"{name}.csv").read_bytes() == kept, "make readme"
