"""Race the study's plans and learning rates: train where it decides, and stop what cannot catch up.

Without `study.racing` nothing is trained here, and every plan will be trained with all its rates and replicates.

Reads: the prepared images and splits (train and validation only), and the study in params.yaml.
Writes: a folder for each run, with `race.json` (what was stopped, when and why) and, after a race, the run itself.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frostline.constants import Rates, name_run
from frostline.data.images import read_prepared
from frostline.errors import InputError, run_command
from frostline.files import open_whole_folder, read_csv, write_json
from frostline.params import Params, load_params
from frostline.racing import (
    Ask,
    Standing,
    Stop,
    TrialResult,
    Worker,
    choose_better_half,
    find_stops,
    list_rungs,
    start_workers,
)
from frostline.training.results import flatten_rates, format_rates

SPARED = 0.02
"""The share of what a fit of the dearest plan computes, up to which a plan keeps all its rates and never stops."""


@dataclass(eq=False)
class Trial:
    """A run in the race, the rates that go on, what they came to by rate and replicate, and what was stopped of it.

    `epochs` are those of a fit at most, and `flops` what it then computes for each image, its prefix left out.
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
    stop: Stop | None = None

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


def main(*, params: Path, prepared: Path, out: Path) -> None:
    """Hold the race of the study into the folder `out`, if it is one."""
    settings = load_params(params)
    runs = {
        name_run(backbone, plan): (backbone, plan) for backbone in settings.backbones for plan in settings.study.plans
    }
    with open_whole_folder(out) as folder:
        for name in runs:
            (folder / name).mkdir()
        if settings.study.racing:
            with start_workers(params, prepared, runs) as workers:
                trials = hold_race(settings, prepared, [start_trial(name, ask) for name, ask in workers.items()])
                for trial in trials:
                    trial.ask(Worker.write, folder / trial.name, trial.rates[0], trial.replicates)
                trials[0].ask(Worker.drop_oldest)
            told = {trial.name: tell(trial) for trial in trials}
        else:
            told = {name: {"racing": False, "stopped": None, "dropped": []} for name in runs}
        for name, race in told.items():
            write_json(folder / name / "race.json", race)


def hold_race(settings: Params, prepared: Path, trials: list[Trial]) -> list[Trial]:
    """Return every trial as it came out, with one rate left to each."""
    replicates = sorted(set(read_csv(prepared / "splits.csv").replicate))
    groups = list_validation_groups(prepared, replicates)
    raced = choose_worth_racing(trials)
    with_rates_to_drop = [trial for trial in raced if len(trial.rates) > 1]
    train_beside(with_rates_to_drop, lambda trial: train_rates(trial, replicates[:1], (trial.epochs + 1) // 2))
    for trial in with_rates_to_drop:
        trial.replicates = replicates[:1]
        drop_rates(trial, choose_better_half(trial.losses))
    reached = 0
    for count in list_rungs(len(replicates)):
        running = [trial for trial in trials if trial.stop is None]
        for trial in running:
            trial.replicates = replicates[:count]
        train_beside(running, partial(train_rates, replicates=replicates[reached:count], most=None))
        reached = count
        if count < len(replicates):
            for trial in running:
                if settings.study.tune == "first":
                    drop_rates(trial, keep_best(trial.losses))
                elif trial in raced:
                    drop_rates(trial, choose_better_half(trial.losses))
            standings = [make_standing(trial, settings.advice.cost) for trial in running]
            shown = np.concatenate([groups[replicate] for replicate in replicates[:count]])
            stops = find_stops(standings, shown, settings.advice.margin / 100)
            for trial in running:
                trial.stop = stops.get(trial.name) if trial in raced else None
                if trial.stop is not None:
                    print(f"{trial.name} stops after {count} of {len(replicates)} replicates")
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
    """Train the trials, as many at once as there are cores; each worker is asked one thing after the other."""
    with ThreadPoolExecutor(torch.get_num_threads()) as asking:
        list(asking.map(train, trials))


def train_rates(trial: Trial, replicates: Sequence[int], most: int | None) -> None:
    """Train the replicates at every rate that goes on, to the end or up to so many epochs."""
    for replicate, rates in product(replicates, trial.rates):
        result = trial.results[rates, replicate] = trial.ask(Worker.train, rates, replicate, most)
        told = f"learning rate {format_rates(rates)}, replicate {replicate}, {result.epochs} epochs"
        print(f"{trial.name}: {told}: validation loss {result.val_loss:.3f}, accuracy {fmean(result.hits):.3f}")


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


def make_standing(trial: Trial, cost: str) -> Standing:
    """Return how the run stands, at the best of its rates so far."""
    (rates,) = keep_best(trial.losses)
    hits = np.concatenate([np.array(trial.results[rates, replicate].hits, np.int64) for replicate in trial.replicates])
    return Standing(trial.name, float(trial.ask(Worker.measure_costs)[cost]), hits)


def list_validation_groups(prepared: Path, replicates: Sequence[int]) -> dict[int, NDArray[np.int64]]:
    """Return the group of each of a replicate's validation images, in the order of their rows."""
    data, groups = read_prepared(prepared), read_csv(prepared / "images.csv").group.to_numpy(np.int64)
    return {replicate: groups[data.list_rows("validation", [replicate])] for replicate in replicates}


def tell(trial: Trial) -> dict[str, Any]:
    """Return what race.json tells: the rates that were dropped, and why the run was stopped, if it was."""
    epochs = sum(result.epochs for result in trial.results.values())
    stopped = (
        None if trial.stop is None else {"replicates": len(trial.replicates), "epochs": epochs, **asdict(trial.stop)}
    )
    return {"racing": True, "stopped": stopped, "dropped": trial.dropped}


if __name__ == "__main__":
    run_command(main)
