"""Rounds of a race: what is trained next, which rates are dropped, and which plans stop.

A rate is judged on validation, a plan by what its folds named of the images that they test, as the study will be in the
end.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import torch

from frostline.answer.stopping import LEAST_CHANCE, find_chances
from frostline.constants import Rates
from frostline.errors import InputError
from frostline.files import read_csv, read_json
from frostline.params.schema import Params
from frostline.running.racing import (
    Ask,
    TrialResult,
    Worker,
    choose_better_half,
    list_rungs,
    start_workers,
)
from frostline.stats.measured import ADVISED_BY, gather_tests, turn
from frostline.training.results import flatten_rates, format_rates

SPARED = 0.02
"""The share of what a fit of the dearest plan computes, up to which a plan keeps all its rates and never stops."""


@dataclass(eq=False)
class Trial:
    """A run in the race, the rates that go on, what they came to by rate and replicate, and what was stopped of it.

    `epochs` are those of a fit at most, and `flops` what it then computes for each image, its prefix left out. `tests`
    holds what each rate and replicate named of the images that it tests; `chance` is that of being advised in the end
    with which it was stopped.
    """

    name: str
    ask: Ask
    all_rates: list[Rates]
    epochs: int
    flops: int
    rates: list[Rates]
    results: dict[tuple[Rates, int], TrialResult] = field(default_factory=dict)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    replicates: list[int] = field(default_factory=list)
    tests: dict[tuple[Rates, int], pd.DataFrame] = field(default_factory=dict)
    chance: float | None = None

    @property
    def goes_on(self) -> bool:
        """Whether it was not stopped."""
        return self.chance is None

    @property
    def losses(self) -> dict[Rates, float]:
        """The validation loss of each rate that goes on, as a mean over the replicates that it was trained with."""
        return {
            rates: fmean(result.val_loss for (mine, _), result in self.results.items() if mine == rates)
            for rates in self.rates
        }


def start_trial(name: str, ask: Ask) -> Trial:
    """Return the trial of a run that has not begun, whose worker is asked so."""
    rates = ask(Worker.list_rates)
    return Trial(name, ask, rates, ask(Worker.count_epochs), ask(Worker.count_flops), rates)


def race(settings: Params, params: Path, prepared: Path, runs: dict[str, tuple[str, str]], out: Path) -> dict[str, Any]:
    """Hold the race of these runs, write each into its folder in `out`, and return what race.json tells of each."""
    with open_workers(settings, params, prepared, runs) as workers:
        trials = hold_race(settings, prepared, [start_trial(name, ask) for name, ask in workers.items()])
        for trial in trials:
            trial.ask(Worker.write, out / trial.name, trial.rates[0], trial.replicates)
        trials[0].ask(Worker.drop_oldest)
    return {trial.name: tell(trial) for trial in trials}


def open_workers(
    settings: Params, params: Path, prepared: Path, runs: Mapping[str, tuple[str, str]]
) -> AbstractContextManager[dict[str, Ask]]:
    """Return what yields the workers of the runs: processes of this machine, or those whose fits a cluster trains."""
    if settings.training.workers == "local":
        return start_workers(params, prepared, runs)
    from frostline.running.on_cluster import start_on_cluster  # with Ray, which not everyone has

    return start_on_cluster(settings, prepared, runs)


def hold_race(settings: Params, prepared: Path, trials: list[Trial]) -> list[Trial]:
    """Return every trial as it came out, with one rate left to each."""
    replicates = sorted(set(read_csv(prepared / "splits.csv").replicate))
    rungs = list_rungs(len(replicates), read_json(prepared / "prepared.json")["folds"])
    raced = choose_worth_racing(trials)
    with_rates_to_drop = [trial for trial in raced if len(trial.rates) > 1]
    train_beside(with_rates_to_drop, lambda trial: train_rates(trial, replicates[0], (trial.epochs + 1) // 2))
    for trial in with_rates_to_drop:
        trial.replicates = replicates[:1]
        drop_rates(trial, choose_better_half(trial.losses))
    for count, replicate in enumerate(replicates, 1):
        running = [trial for trial in trials if trial.goes_on]
        for trial in running:
            trial.replicates = replicates[:count]
        train_beside(running, partial(train_rates, replicate=replicate, most=None))
        for trial in running if count < len(replicates) else []:
            if settings.study.tune == "first":
                drop_rates(trial, keep_best(trial.losses))
            elif trial in raced:
                drop_rates(trial, choose_better_half(trial.losses))
        if count in rungs:
            stop_plans(settings, prepared, running, raced, len(replicates))
    for trial in trials:
        trial.rates = keep_best(trial.losses)
        if not isfinite(trial.losses[trial.rates[0]]):
            got = f"{', '.join(map(format_rates, trial.all_rates))} on {trial.name}, none of which does"
            raise InputError.of(
                "learning_rates", "hold one at which training goes on to the end", got, "Try lower ones."
            )
    return trials


def choose_worth_racing(trials: Sequence[Trial]) -> list[Trial]:
    """Return those of which to stop a fit saves what counts beside one of the dearest, prefixes left out."""
    most = max(trial.flops for trial in trials)
    return [trial for trial in trials if trial.flops > SPARED * most]


def train_beside(trials: Sequence[Trial], train: Callable[[Trial], object]) -> None:
    """Train the trials, as many at once as there are cores, or as a cluster takes."""
    at_once = torch.get_num_threads() if all(trial.ask.at_once == 1 for trial in trials) else len(trials)
    with ThreadPoolExecutor(max(1, at_once)) as asking:
        list(asking.map(train, trials))


def train_rates(trial: Trial, replicate: int, most: int | None) -> None:
    """Train the replicate at every rate that goes on, to the end or up to so many epochs."""

    def train(rates: Rates) -> TrialResult:
        result = trial.ask(Worker.train, rates, replicate, most)
        told = f"learning rate {format_rates(rates)}, replicate {replicate}, {result.epochs} epochs"
        print(f"{trial.name}: {told}: validation loss {result.val_loss:.3f}")
        return result

    with ThreadPoolExecutor(min(len(trial.rates), trial.ask.at_once)) as asking:
        results = list(asking.map(train, trial.rates))
    trial.results |= {(rates, replicate): result for rates, result in zip(trial.rates, results, strict=True)}


def keep_best(losses: Mapping[Rates, float]) -> list[Rates]:
    """Return the rates of the lowest loss."""
    rates = list(losses)
    while len(rates) > 1:
        rates = choose_better_half({rate: losses[rate] for rate in rates})
    return rates


def drop_rates(trial: Trial, kept: list[Rates]) -> None:
    """Let these rates alone go on, and note for the others when they were dropped and what they had come to."""
    losses = trial.losses
    best = min(losses[rates] for rates in kept)
    for rates in trial.rates:
        if rates not in kept:
            epochs = sum(result.epochs for (mine, _), result in trial.results.items() if mine == rates)
            reached = {
                "replicates": len(trial.replicates),
                "epochs": epochs,
                "val_loss": losses[rates],
                "kept_val_loss": best,
            }
            trial.dropped.append({"learning_rate": flatten_rates(rates), **reached})
    trial.rates = kept


def stop_plans(settings: Params, prepared: Path, running: list[Trial], raced: list[Trial], replicates: int) -> None:
    """Stop what can no longer be advised once so many replicates are done, of which all trials now have the same.

    What has no finite loss at any rate goes on, to be told at the end.
    """
    judged = [trial for trial in running if isfinite(trial.losses[keep_best(trial.losses)[0]])]
    if not judged:
        return
    train_beside(judged, predict_tests)
    about, groups = read_json(prepared / "prepared.json"), read_csv(prepared / "images.csv").group.to_numpy(np.int64)
    (metric, sign), count = ADVISED_BY[settings.advice.metric], len(judged[0].replicates)
    tested = gather_tests([gather_own_tests(trial) for trial in judged], about["classes"], groups, about["folds"])
    outcomes = turn(tested.get_outcomes(metric), sign)
    costs = np.array([float(trial.ask(Worker.measure_costs)[settings.advice.cost]) for trial in judged])
    margin, share = settings.advice.margin / 100, min(1.0, count / about["folds"])
    chances = find_chances(outcomes, costs, margin, replicates, share)
    for trial, chance in zip(judged, chances.tolist(), strict=True):
        if trial in raced and chance < LEAST_CHANCE:
            trial.chance = chance
            print(f"{trial.name} stops after {count} of {replicates} replicates")


def predict_tests(trial: Trial) -> None:
    """Let the trial name what its replicates test, at the best of its rates so far."""
    (rates,) = keep_best(trial.losses)
    for replicate in trial.replicates:
        if (rates, replicate) not in trial.tests:
            trial.tests[rates, replicate] = trial.ask(Worker.predict, rates, replicate)


def gather_own_tests(trial: Trial) -> pd.DataFrame:
    """Return what the trial named in all its replicates, at the best of its rates so far."""
    (rates,) = keep_best(trial.losses)
    return pd.concat([trial.tests[rates, replicate] for replicate in trial.replicates])


def tell(trial: Trial) -> dict[str, Any]:
    """Return what race.json tells: the rates that were dropped, and why the run was stopped, if it was."""
    epochs = sum(result.epochs for result in trial.results.values())
    stopped = {"replicates": len(trial.replicates), "epochs": epochs, "chance": trial.chance}
    return {"racing": True, "stopped": None if trial.goes_on else stopped, "dropped": trial.dropped}
