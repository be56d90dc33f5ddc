"""Race the study's plans and learning rates: train where it decides, and stop what cannot catch up.

Without `study.racing` nothing is trained here, and every plan will be trained with all its rates and seeds.

Reads: the prepared images and splits (train and validation only), and the study in params.yaml.
Writes: a folder for each run, with `race.json` (what was stopped, when and why) and, after a race, the run itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.constants import Rates, name_run
from frostline.data.images import read_prepared
from frostline.errors import InputError, run_command
from frostline.files import open_whole_folder, read_csv, write_json
from frostline.params import Params, load_params
from frostline.racing import Entrant, Lap, Standing, Stop, better_half, entered, find_stops, rungs
from frostline.training.results import flatten_rates, format_rates

SPARED = 0.02
"""The share of what a fit of the dearest plan computes, up to which a plan keeps all its rates and never stops."""


@dataclass(eq=False)
class Racer:
    """An entrant, the rates that go on, what they came to by rate and seed, and what was stopped of it."""

    entrant: Entrant
    rates: list[Rates]
    laps: dict[tuple[Rates, int], Lap] = field(default_factory=dict)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    stop: Stop | None = None

    @property
    def losses(self) -> dict[Rates, float]:
        """The validation loss of each rate that goes on, as a mean over the seeds that it was trained with."""
        return {
            rates: fmean(lap.val_loss for (mine, _), lap in self.laps.items() if mine == rates) for rates in self.rates
        }


def main(*, params: Path, prepared: Path, out: Path) -> None:
    """Hold the race of the study into the folder `out`, if it is one."""
    settings = load_params(params)
    runs = {name_run(each, plan): (each, plan) for each in settings.backbones for plan in settings.study.plans}
    with open_whole_folder(out) as folder:
        for name in runs:
            (folder / name).mkdir()
        if settings.study.racing:
            with entered(params, prepared, runs) as entrants:
                racers = hold_race(settings, prepared, entrants)
                for racer in racers:
                    racer.entrant.ask("write", folder / racer.entrant.name, racer.rates[0], racer.seeds)
                    racer.entrant.ask("leave")
            told = {racer.entrant.name: tell(racer) for racer in racers}
        else:
            told = {name: {"racing": False, "stopped": None, "dropped": []} for name in runs}
        for name, race in told.items():
            write_json(folder / name / "race.json", race)


def hold_race(settings: Params, prepared: Path, entrants: Sequence[Entrant]) -> list[Racer]:
    """Return every entrant as it came out, with one rate left to each."""
    seeds, racers = settings.study.seeds, [Racer(entrant, entrant.rates) for entrant in entrants]
    groups = list_validation_groups(prepared, seeds)
    raced = choose_worth_racing(racers)
    for racer in raced:
        if len(racer.rates) < 2:
            continue
        racer.seeds = seeds[:1]
        train_rates(racer, seeds[0], (racer.entrant.epochs + 1) // 2)
        drop_rates(racer, better_half(racer.losses))
    reached = 0
    for count in rungs(len(seeds)):
        running = [racer for racer in racers if racer.stop is None]
        for racer in running:
            racer.seeds = seeds[:count]
            for seed in seeds[reached:count]:
                train_rates(racer, seed, None)
        reached = count
        if count < len(seeds):
            for racer in running:
                if racer in raced:
                    drop_rates(racer, better_half(racer.losses))
            standings = [make_standing(racer, settings.advice.cost) for racer in running]
            shown = np.concatenate([groups[seed] for seed in seeds[:count]])
            stops = find_stops(standings, shown, settings.advice.margin / 100)
            for racer in running:
                racer.stop = stops.get(racer.entrant.name) if racer in raced else None
                if racer.stop is not None:
                    print(f"{racer.entrant.name} stops after {count} of {len(seeds)} seeds")
    for racer in racers:
        racer.rates = keep_best(racer.losses)
        if not isfinite(racer.losses[racer.rates[0]]):
            got = f"{', '.join(map(format_rates, racer.entrant.rates))} on {racer.entrant.name}, none of which does"
            raise InputError.of(
                "learning_rates", "hold one at which training goes on to the end", got, "Try lower ones."
            )
    return racers


def choose_worth_racing(racers: Sequence[Racer]) -> list[Racer]:
    """Return those of which to stop a fit saves what counts beside one of the dearest, prefixes left out."""
    most = max(racer.entrant.flops for racer in racers)
    return [racer for racer in racers if racer.entrant.flops > SPARED * most]


def train_rates(racer: Racer, seed: int, most: int | None) -> None:
    """Train the seed at every rate that goes on, to the end or up to so many epochs."""
    for rates in racer.rates:
        lap = racer.laps[rates, seed] = racer.entrant.ask("train", rates, seed, most)
        told = f"learning rate {format_rates(rates)}, seed {seed}, {lap.epochs} epochs"
        print(f"{racer.entrant.name}: {told}: validation loss {lap.val_loss:.3f}, accuracy {fmean(lap.hits):.3f}")


def keep_best(losses: Mapping[Rates, float]) -> list[Rates]:
    """Return the rates of the lowest loss."""
    rates = list(losses)
    while len(rates) > 1:
        rates = better_half({each: losses[each] for each in rates})
    return rates


def drop_rates(racer: Racer, kept: list[Rates]) -> None:
    """Let these rates alone go on, and note for the others when they were dropped and what they had come to."""
    losses = racer.losses
    best = min(losses[rates] for rates in kept)
    for rates in racer.rates:
        if rates not in kept:
            epochs = sum(lap.epochs for (mine, _), lap in racer.laps.items() if mine == rates)
            reached = {"seeds": len(racer.seeds), "epochs": epochs, "val_loss": losses[rates], "kept_val_loss": best}
            racer.dropped.append({"learning_rate": flatten_rates(rates), **reached})
    racer.rates = kept


def make_standing(racer: Racer, cost: str) -> Standing:
    """Return how the run stands, at the best of its rates so far."""
    (rates,) = keep_best(racer.losses)
    hits = np.concatenate([np.array(racer.laps[rates, seed].hits, np.int64) for seed in racer.seeds])
    return Standing(racer.entrant.name, float(racer.entrant.ask("costs")[cost]), hits)


def list_validation_groups(prepared: Path, seeds: Sequence[int]) -> dict[int, NDArray[np.int64]]:
    """Return the group of each of a seed's validation images, in the order of their rows."""
    data, groups = read_prepared(prepared), read_csv(prepared / "images.csv").group.to_numpy(np.int64)
    return {seed: groups[data.list_rows("validation", [seed])] for seed in seeds}


def tell(racer: Racer) -> dict[str, Any]:
    """Return what race.json tells: the rates that were dropped, and why the run was stopped, if it was."""
    epochs = sum(lap.epochs for lap in racer.laps.values())
    stopped = None if racer.stop is None else {"seeds": len(racer.seeds), "epochs": epochs, **asdict(racer.stop)}
    return {"racing": True, "stopped": stopped, "dropped": racer.dropped}


if __name__ == "__main__":
    run_command(main)
