"""Train one plan: every learning rate of its lists with every seed, then keep the rates that validated best.

Where the study is a race, the plan was trained in it, and this takes what came of it.

Reads: the prepared images and splits (train and validation only), the plan in params.yaml, and the race.
Writes: `seed-<seed>.safetensors` (what the seed learned), `history.csv` (a row per learning rate, seed and epoch),
`run.json` (what was chosen), `costs.json` (what was counted and measured) and `race.json` (what was stopped, if
anything was), into one folder.
"""

import shutil
from pathlib import Path

from torch import nn
from tqdm import tqdm

from frostline.backbones.precision import compute_deterministically
from frostline.constants import Rates, name_run
from frostline.errors import run_command
from frostline.files import open_whole_folder
from frostline.hardware import choose_device, keep_freed_memory
from frostline.params import load_params
from frostline.training.checkpoints import remove_checkpoints
from frostline.training.grid import Feed, Job, make_feed, make_job
from frostline.training.results import (
    Phased,
    build_frozen_backbone,
    choose_rates,
    describe_history,
    format_rates,
    summarize_phase,
    write_outcome,
)
from frostline.training.workers import Trained, count_workers, share_cores, train_fits


def main(*, params: Path, prepared: Path, race: Path, backbone: str, plan: str, out: Path) -> None:
    """Train `plan` on `backbone` into the folder `out`; go on where a killed run stopped."""
    if (race / "run.json").exists():
        with open_whole_folder(out) as folder:
            shutil.copytree(race, folder, dirs_exist_ok=True)
        return
    keep_freed_memory()
    compute_deterministically(choose_device())
    job = make_job(load_params(params), prepared, backbone, plan)
    frozen = build_frozen_backbone(job, plan)  # refuses what does not fit, before anything is trained
    job = share_cores(job, frozen)

    name = name_run(backbone, plan)
    phases = [train_phase(job, frozen, name, number) for number in range(1, len(job.phases) + 1)]

    with open_whole_folder(out) as folder:
        write_outcome(folder, job, plan, phases, choose_rates(phases[-1].histories), job.seeds)
        shutil.copy(race / "race.json", folder)
    remove_checkpoints(job.scratch)


def train_phase(job: Job, frozen: nn.Sequential, name: str, phase: int) -> Phased:
    """Train every cell of the phase, each from where the phase before left it."""
    feed, workers = make_feed(job, phase), count_workers(job, frozen, phase)
    told = f"{name}, phase {phase} of {len(job.phases)}" if len(job.phases) > 1 else name
    print(f"{told}: prefix cache: {feed.cache.place}, {feed.cache.bytes:,} bytes; fits at once: {workers}", flush=True)
    trained = train_grid(job, feed, workers, told)
    histories = {cell: trained[cell].history for cell in job.list_cells(phase)}
    audited = next(reversed(trained.values())).audited
    return summarize_phase(
        feed, job, histories, workers, audited, max(fit.peak_memory_bytes for fit in trained.values())
    )


def train_grid(job: Job, feed: Feed, workers: int, name: str) -> dict[tuple[Rates, int], Trained]:
    """Train every cell, telling of each when it ends, on a terminal with a bar of epochs."""
    cells, most = job.list_cells(feed.phase), job.phases[feed.phase - 1].epochs
    trained = {}
    with tqdm(total=len(cells) * most, desc=name, unit="epoch", disable=None) as bar:
        for fit in train_fits(job, feed, cells, workers, bar.update):
            trained[fit.rates, fit.seed] = fit
            outcome = describe_history([epoch for epoch in fit.history if epoch.phase == feed.phase])
            tqdm.write(f"{name}: learning rate {format_rates(fit.rates)}, seed {fit.seed}: {outcome}")
    return trained


if __name__ == "__main__":
    run_command(main)
