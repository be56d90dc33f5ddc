"""The trainer: a run's fits phase by phase, from where the phase before left each, and what came of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn
from tqdm import tqdm

from frostline.constants import Rates
from frostline.training.checkpoints import Trained, read_trained
from frostline.training.grid import Feed, make_feed
from frostline.training.job import Job, locate_checkpoint, name_cell
from frostline.training.loop import open_board
from frostline.training.results import (
    Cell,
    Phased,
    choose_rates,
    describe_history,
    format_rates,
    summarize_phase,
    write_outcome,
)
from frostline.training.workers import count_workers, train_fits


@dataclass
class Trainer:
    """Trains a run's cells phase by phase, and has what came of them.

    A phase's feed is made when there is something to train, and serves all that is trained after that.
    """

    job: Job
    frozen: nn.Sequential
    name: str
    trained: dict[int, dict[Cell, Trained]] = field(default_factory=dict)
    feeds: dict[int, Feed] = field(default_factory=dict)

    def train_all(self) -> Rates:
        """Train every cell: those that tune at all rates, the others at the best of them, which are returned."""
        phases = range(1, len(self.job.phases) + 1)
        for phase in phases:
            self.train(
                phase, [(rates, replicate) for rates in self.job.list_rates(phase) for replicate in self.job.tuned]
            )
        chosen = choose_rates({cell: fit.history for cell, fit in self.trained[len(phases)].items()})
        others = [replicate for replicate in self.job.replicates if replicate not in self.job.tuned]
        for phase in phases:
            self.train(phase, [(chosen[:phase], replicate) for replicate in others])
        return chosen

    def write(self, folder: Path, plan: str, chosen: Rates) -> None:
        """Write the run into the folder."""
        write_outcome(folder, self.job, plan, self.summarize(), chosen, self.job.replicates)

    def train(self, phase: int, cells: Sequence[Cell]) -> None:
        """Train these cells of the phase, but for those that were trained before."""
        found = {cell: read_trained(locate_checkpoint(self.job, *cell)) for cell in cells}
        known = {cell: fit for cell, fit in found.items() if fit is not None}
        self.trained.setdefault(phase, {}).update(known)
        for cell, fit in known.items():
            self.note_end(cell, fit)
        new = [cell for cell in cells if cell not in known]
        if known:
            fits = f"{len(known)} fit{'' if len(known) == 1 else 's'}"
            print(f"{self.name}: {fits} found, trained before; {len(new)} to train", flush=True)
        if new:
            self.trained[phase] |= self.train_new(phase, new)

    def note_end(self, cell: Cell, fit: Trained) -> None:
        """Let the board have what is known of a fit that has ended."""
        with open_board(self.job.logs and self.job.logs / name_cell(*cell), fit.history):
            pass  # which writes what it knows

    def train_new(self, phase: int, cells: list[Cell]) -> dict[Cell, Trained]:
        """Train these cells, telling of each when it ends, on a terminal with a bar of epochs."""
        feed, workers, trained = self.get_feed(phase, cells), self.count_workers(phase), {}
        most = self.job.phases[phase - 1].epochs
        with tqdm(total=len(cells) * most, desc=self.name_phase(phase), unit="epoch", disable=None) as bar:
            for fit in train_fits(self.job, feed, cells, min(workers, len(cells)), bar.update):
                trained[fit.rates, fit.replicate] = fit
                tqdm.write(self.tell_of(phase, fit))
        return {cell: trained[cell] for cell in cells}

    def name_phase(self, phase: int) -> str:
        """Return what the phase of the run is called."""
        return f"{self.name}, phase {phase} of {len(self.job.phases)}" if len(self.job.phases) > 1 else self.name

    def tell_of(self, phase: int, fit: Trained) -> str:
        """Return a line about a fit that has ended its phase."""
        outcome = describe_history([epoch for epoch in fit.history if epoch.phase == phase])
        rates = format_rates(fit.rates)
        return f"{self.name_phase(phase)}: learning rate {rates}, replicate {fit.replicate}: {outcome}"

    def list_served(self, cells: Sequence[Cell]) -> list[int]:
        """Return the replicates that a feed for these cells serves: theirs, and those that will follow them."""
        tuned, asked = set(self.job.tuned), {replicate for _, replicate in cells}
        return [each for each in self.job.replicates if each in asked or (asked <= tuned and each not in tuned)]

    def get_feed(self, phase: int, cells: Sequence[Cell]) -> Feed:
        """Return the phase's feed. If there is none, one is made for these cells and those that will follow them."""
        if phase not in self.feeds:
            feed = self.feeds[phase] = make_feed(self.job, phase, self.list_served(cells))
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
