"""Race the study's plans and learning rates: train where it decides, and stop what can no longer be advised.

Without `study.racing` nothing is trained here, and every plan will be trained with all its rates and replicates.

Reads: the prepared images and splits, and the study in params.yaml.
Writes: a folder for each run, with `race.json` (what was stopped, when and why) and, after a race, the run itself.
"""

from pathlib import Path
from typing import Any

from frostline.constants import name_run
from frostline.errors import run_command
from frostline.files import check_sums, open_whole_folder, write_json
from frostline.params.loading import load_params


def main(*, params: Path, prepared: Path, out: Path) -> None:
    """Hold the race of the study into the folder `out`, if it is one."""
    settings = load_params(params)
    runs = {
        name_run(backbone, plan): (backbone, plan) for backbone in settings.backbones for plan in settings.study.plans
    }
    told: dict[str, Any] = {name: {"racing": False, "stopped": None, "dropped": []} for name in runs}
    with open_whole_folder(out) as folder:
        for name in runs:
            (folder / name).mkdir(parents=True)  # names of backbones may have slashes in them
        if settings.study.racing:
            from frostline.rounds import race  # which takes four seconds

            check_sums(prepared)
            told = race(settings, params, prepared, runs, folder)
        for name, each in told.items():
            write_json(folder / name / "race.json", each)


if __name__ == "__main__":
    run_command(main)
