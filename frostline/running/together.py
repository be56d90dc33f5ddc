"""Together: all runs of a study at once, each fit of them a task on a cluster."""

from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from frostline.backbones.precision import compute_deterministically
from frostline.cluster.fits import Run, open_cluster
from frostline.constants import Rates
from frostline.data.images import read_prepared
from frostline.errors import InputError
from frostline.hardware import choose_device, keep_freed_memory
from frostline.params.schema import Params
from frostline.running.trainer import Trainer
from frostline.training.checkpoints import Trained, drop_oldest, read_trained
from frostline.training.job import locate_checkpoint, make_job
from frostline.training.results import Cell, build_frozen_backbone
from frostline.training.workers import share_cores


@contextmanager
def open_runs(settings: Params, prepared: Path, runs: Mapping[str, tuple[str, str]]) -> Iterator[dict[str, Run]]:
    """Yield a run on the cluster for each backbone and plan, by name; they share `training.cache_bytes` of a node."""
    keep_freed_memory()
    compute_deterministically(choose_device())
    with open_cluster(prepared) as cluster:
        opened = {}
        for name, (backbone, plan) in runs.items():
            job = make_job(settings, read_prepared(prepared), backbone, plan)
            frozen = build_frozen_backbone(job, plan)  # refuses what does not fit, before anything is trained
            job = cluster.suit(share_cores(job, frozen))
            share = {"cache_bytes": job.training.cache_bytes // len(runs)}
            job = replace(job, training=job.training.model_copy(update=share))
            opened[name] = Run(cluster, name, job, cluster.share_gpu(job, frozen))
            for phase, asked in enumerate(job.phases, 1):
                fits = sum(job.count_fits(phase, replicate) for replicate in job.replicates)
                cluster.progress.expect(fits, asked.epochs)
        yield opened


@dataclass
class ClusterTrainer(Trainer):
    """A trainer whose new fits are tasks of a run on a cluster."""

    run: Run = field(kw_only=True)

    def train_new(self, phase: int, cells: list[Cell]) -> dict[Cell, Trained]:
        """Train these cells on the cluster, telling of each when it ends."""
        trained = {}
        for cell, _ in self.run.train(phase, cells, self.list_served(cells)):
            ended = read_trained(locate_checkpoint(self.job, *cell))
            if ended is None:
                got = "a fit that is gone"
                raise InputError.of(str(self.job.scratch), "keep what is trained there", got, "Run it again.")
            trained[cell] = ended
            self.note_end(cell, ended)
            tqdm.write(f"{self.tell_of(phase, ended)} ({self.run.cluster.progress})")
        return {cell: trained[cell] for cell in cells}

    def note_end(self, cell: Cell, fit: Trained) -> None:
        """Count the fit as done, and let the board have what is known of it."""
        self.run.note(cell)
        super().note_end(cell, fit)


def train_together(settings: Params, prepared: Path, runs: Mapping[str, tuple[str, str]], out: Path) -> dict[str, Any]:
    """Train all runs on the cluster, write each into its folder in `out`, and return what race.json tells of each."""
    with open_runs(settings, prepared, runs) as opened:
        trainers = [
            ClusterTrainer(run.job, build_frozen_backbone(run.job, runs[name][1]), name, run=run)
            for name, run in opened.items()
        ]
        chosen = train_beside(trainers)
    for trainer, rates in zip(trainers, chosen, strict=True):
        trainer.write(out / trainer.name, runs[trainer.name][1], rates)
    drop_oldest(trainers[0].job.scratch, settings.training.keep_bytes)
    return {name: {"racing": False, "stopped": None, "dropped": []} for name in runs}


def train_beside(trainers: list[ClusterTrainer]) -> list[Rates]:
    """Train all fits of all runs, and return each run's rates. What one run meets ends the others."""

    def train(trainer: ClusterTrainer) -> Rates:
        rates = trainer.train_all()
        trainer.run.end()
        return rates

    with ThreadPoolExecutor(len(trainers)) as pool:
        ended = [pool.submit(train, trainer) for trainer in trainers]
        try:
            done, _ = wait(ended, return_when=FIRST_EXCEPTION)
            for each in done:
                each.result()
        finally:
            trainers[0].run.cluster.stopped.set()
    return [each.result() for each in ended]
