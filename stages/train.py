"""Train one plan: every learning rate of its lists with every seed, then keep the rates that validated best.

Where the study is a race, the plan was trained in it, and this takes what came of it.

Reads: the prepared images and splits (train and validation only), the plan in params.yaml, and the race.
Writes: `seed-<seed>.safetensors` (what the seed learned), `history.csv` (a row per learning rate, seed and epoch),
`run.json` (what was chosen), `costs.json` (what was counted and measured) and `race.json` (what was stopped, if
anything was), into one folder.
"""

import shutil
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from frostline.backbones.precision import compute_deterministically
from frostline.constants import name_run
from frostline.errors import run_command
from frostline.files import open_whole_folder
from frostline.hardware import choose_device
from frostline.params import load_params
from frostline.training.checkpoints import remove_checkpoints
from frostline.training.grid import Feed, Job, make_feed, make_job, train_cell
from frostline.training.results import (
    Histories,
    Phased,
    build_frozen_backbone,
    choose_rates,
    describe_history,
    format_rates,
    summarize_phase,
    write_outcome,
)


def main(*, params: Path, prepared: Path, race: Path, backbone: str, plan: str, out: Path) -> None:
    """Train `plan` on `backbone` into the folder `out`; go on where a killed run stopped."""
    if (race / "run.json").exists():
        with open_whole_folder(out) as folder:
            shutil.copytree(race, folder, dirs_exist_ok=True)
        return
    compute_deterministically(choose_device())
    job = make_job(load_params(params), prepared, backbone, plan)
    build_frozen_backbone(job, plan)  # refuses what does not fit, before anything is trained

    phases = [train_phase(job, name_run(backbone, plan), number) for number in range(1, len(job.phases) + 1)]

    with open_whole_folder(out) as folder:
        write_outcome(folder, job, plan, phases, choose_rates(phases[-1].histories), job.seeds)
        shutil.copy(race / "race.json", folder)
    remove_checkpoints(job.scratch)


def train_phase(job: Job, name: str, phase: int) -> Phased:
    """Train every cell of the phase, each from where the phase before left it."""
    feed = make_feed(job, phase)
    told = f"{name}, phase {phase} of {len(job.phases)}" if len(job.phases) > 1 else name
    print(f"{told}: prefix cache: {feed.cache.place}, {feed.cache.bytes:,} bytes")
    labels = torch.from_numpy(job.data.labels).to(job.device)
    return summarize_phase(feed, job, *train_grid(job, feed, labels, told))


def train_grid(job: Job, feed: Feed, labels: Tensor, name: str) -> tuple[Histories, int]:
    """Train every cell, telling of each when it ends, on a terminal with a bar of epochs.

    Return their histories, and how many frozen tensors the audit of each found as they were.
    """
    cells, most = job.list_cells(feed.phase), job.phases[feed.phase - 1].epochs
    histories: Histories = {}
    audited = 0
    with tqdm(total=len(cells) * most, desc=name, unit="epoch", disable=None) as bar:
        for number, (rates, seed) in enumerate(cells):
            for fit in train_cell(job, feed, labels, rates, seed):
                histories[rates, seed] = fit.history
                bar.update(number * most + len(fit.of_phase) - bar.n)
            audited = fit.audited or 0
            outcome = describe_history(fit.of_phase)
            tqdm.write(f"{name}: learning rate {format_rates(rates)}, seed {seed}: {outcome}")
    return histories, audited


if __name__ == "__main__":
    run_command(main)
