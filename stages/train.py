"""Train one plan: find its learning rates on validation, and train every replicate at those that validated best.

A fit that was trained before, by whichever run, is found again: more repeats train only what is new. Where the study is
a race, or its workers are a cluster, the plan was trained in `race`, and this takes what came of it.

Reads: the prepared images and splits (train and validation only), the plan in params.yaml, and the race.
Writes: `replicate-<replicate>.safetensors` (what the replicate learned), `history.csv` (a row per learning rate,
replicate and epoch), `run.json` (what was chosen), `costs.json` (what was counted and measured) and `race.json` (what
was stopped, if anything was), into one folder.
"""

import shutil
from pathlib import Path

from frostline.backbones.precision import compute_deterministically
from frostline.constants import name_run
from frostline.data.images import read_prepared
from frostline.errors import run_command
from frostline.files import check_sums, open_whole_folder
from frostline.hardware import choose_device, keep_freed_memory
from frostline.params.loading import load_params
from frostline.running.trainer import Trainer
from frostline.training.checkpoints import drop_oldest
from frostline.training.job import make_job
from frostline.training.results import build_frozen_backbone
from frostline.training.workers import share_cores


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
    chosen = trainer.train_all()
    with open_whole_folder(out) as folder:
        trainer.write(folder, plan, chosen)
        shutil.copy(race / "race.json", folder)
    drop_oldest(job.scratch, job.training.keep_bytes)


if __name__ == "__main__":
    run_command(main)
