"""Train one plan: find its learning rates on validation, and train every replicate at those that validated best.

A fit that was trained before, by whichever run, is found again: more repeats train only what is new. Where the study is
a race, the plan was trained in it, and this takes what came of it.

Reads: the prepared images and splits (train and validation only), the plan in params.yaml, and the race.
Writes: `replicate-<replicate>.safetensors` (what the replicate learned), `history.csv` (a row per learning rate,
replicate and epoch), `run.json` (what was chosen), `costs.json` (what was counted and measured) and `race.json` (what
was stopped, if anything was), into one folder.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn
from tqdm import tqdm

from frostline.backbones.precision import compute_deterministically
from frostline.constants import name_run
from frostline.data.images import read_prepared
from frostline.errors import run_command
from frostline.files import check_sums, open_whole_folder
from frostline.hardware import choose_device, keep_freed_memory
from frostline.params.loading import load_params
from frostline.training.checkpoints import Trained, drop_oldest, read_trained
from frostline.training.grid import Feed, make_feed
from frostline.training.job import Job, locate_checkpoint, make_job, name_cell
from frostline.training.loop import open_board
from frostline.training.results import (
    Cell,
    Phased,
    build_frozen_backbone,
    choose_rates,
    describe_history,
    format_rates,
    summarize_phase,
    write_outcome,
)
from frostline.training.workers import count_workers, share_cores, train_fits


def main(*, params: Path, prepared: Path, race: Path, backbone: str, plan: str, out: Path) -> None:
    """Train `plan` on `backbone` into the folder `out`; go on where a killed run stopped."""
    check_sums(race)
    if (race / "run.json").exists():
        with open_whole_folder(out) as folder:
            shutil.copytree(race, folder, dirs_exist_ok=True)
        return
    keep_freed_memory()
    compute_deterministically(choose_device())
    job = make_job(load_params(params), read_prepared(prepared), backbone, plan)
    frozen = build_frozen_backbone(job, plan)  # refuses what does not fit, before anything is trained
    trainer = Trainer(share_cores(job, frozen), frozen, name_run(backbone, plan))

    last = len(job.phases)
    for phase in range(1, last + 1):
        trainer.train(phase, [(rates, replicate) for rates in job.list_rates(phase) for replicate in job.tuned])
    chosen = choose_rates({cell: fit.history for cell, fit in trainer.trained[last].items()})
    for phase in range(1, last + 1):
        others = [replicate for replicate in job.replicates if replicate not in job.tuned]
        trainer.train(phase, [(chosen[:phase], replicate) for replicate in others])
    phases = trainer.summarize()

    with open_whole_folder(out) as folder:
        write_outcome(folder, trainer.job, plan, phases, chosen, job.replicates)
        shutil.copy(race / "race.json", folder)
    drop_oldest(job.scratch, job.training.keep_bytes)


@dataclass
class Trainer:
    """Trains a run's cells phase by phase, from where the phase before left each, and has what came of them.

    A phase's feed is made when there is something to train, and serves all that is trained after that.
    """

    job: Job
    frozen: nn.Sequential
    name: str
    trained: dict[int, dict[Cell, Trained]] = field(default_factory=dict)
    feeds: dict[int, Feed] = field(default_factory=dict)

    def train(self, phase: int, cells: Sequence[Cell]) -> None:
        """Train these cells of the phase, but for those that were trained before."""
        found = {cell: read_trained(locate_checkpoint(self.job, *cell)) for cell in cells}
        known = {cell: fit for cell, fit in found.items() if fit is not None}
        self.trained.setdefault(phase, {}).update(known)
        for (rates, replicate), fit in known.items():
            with open_board(self.job.logs and self.job.logs / name_cell(rates, replicate), fit.history):
                pass  # which writes what it knows
        new = [cell for cell in cells if cell not in known]
        if known:
            fits = f"{len(known)} fit{'' if len(known) == 1 else 's'}"
            print(f"{self.name}: {fits} found, trained before; {len(new)} to train", flush=True)
        if new:
            self.trained[phase] |= self.train_new(phase, new)

    def train_new(self, phase: int, cells: list[Cell]) -> dict[Cell, Trained]:
        """Train these cells, telling of each when it ends, on a terminal with a bar of epochs."""
        feed, workers, trained = self.get_feed(phase, cells), self.count_workers(phase), {}
        name = f"{self.name}, phase {phase} of {len(self.job.phases)}" if len(self.job.phases) > 1 else self.name
        most = self.job.phases[phase - 1].epochs
        with tqdm(total=len(cells) * most, desc=name, unit="epoch", disable=None) as bar:
            for fit in train_fits(self.job, feed, cells, min(workers, len(cells)), bar.update):
                trained[fit.rates, fit.replicate] = fit
                outcome = describe_history([epoch for epoch in fit.history if epoch.phase == phase])
                tqdm.write(f"{name}: learning rate {format_rates(fit.rates)}, replicate {fit.replicate}: {outcome}")
        return {cell: trained[cell] for cell in cells}

    def get_feed(self, phase: int, cells: Sequence[Cell]) -> Feed:
        """Return the phase's feed. If there is none, one is made for these cells and those that will follow them."""
        if phase not in self.feeds:
            tuned = set(self.job.tuned)
            asked = {replicate for _, replicate in cells}
            served = [each for each in self.job.replicates if each in asked or (asked <= tuned and each not in tuned)]
            feed = self.feeds[phase] = make_feed(self.job, phase, served)
            kept = f"prefix cache: {feed.cache.place}, {feed.cache.bytes:,} bytes"
            print(f"{self.name}: {kept}; fits at once: {self.count_workers(phase)}", flush=True)
        return self.feeds[phase]

    def count_workers(self, phase: int) -> int:
        """Return how many fits of the phase are trained at once."""
        return count_workers(self.job, self.frozen, phase)

    def summarize(self) -> list[Phased]:
        """Return what became of each phase."""
        return [
            summarize_phase(
                self.feeds.get(phase) or make_feed(self.job, phase, []), self.job, trained, self.count_workers(phase)
            )
            for phase, trained in self.trained.items()
        ]


if __name__ == "__main__":
    run_command(main)
