"""Train all plans together, where they race (`study.racing`) or have a cluster (`training.workers: ray`).

A race trains where it decides, and stops what can no longer be advised; a cluster takes the fits of all plans at once.
Else nothing is trained here, and every plan will be trained for itself.

Reads: the prepared images and splits, and the study in params.yaml.
Writes: a folder for each run, with `race.json` (what was stopped, when and why) and, if it was trained, the run itself.
"""

from pathlib import Path
from typing import Any

from frostline.constants import name_run
from frostline.errors import run_command
from frostline.files import check_sums, open_whole_folder, write_json
from frostline.params.loading import load_params


def main(*, params: Path, prepared: Path, out: Path) -> None:
    """Train the study's runs into the folder `out`, if it is here that they are trained."""
    settings = load_params(params)
    runs = {
        name_run(backbone, plan): (backbone, plan) for backbone in settings.backbones for plan in settings.study.plans
    }
    told: dict[str, Any] = {name: {"racing": False, "stopped": None, "dropped": []} for name in runs}
    with open_whole_folder(out) as folder:
        for name in runs:
            (folder / name).mkdir(parents=True)  # names of backbones may have slashes in them
        on_cluster = settings.training.workers == "ray"
        if on_cluster or settings.study.racing:
            check_sums(prepared)
        if on_cluster:
            from frostline.cluster.connecting import require_ray

            require_ray()
        if settings.study.racing:
            from frostline.running.rounds import race  # which takes four seconds

            told = race(settings, params, prepared, runs, folder)
        elif on_cluster:
            from frostline.running.together import train_together

            told = train_together(settings, prepared, runs, folder)
        for name, each in told.items():
            write_json(folder / name / "race.json", each)


if __name__ == "__main__":
    run_command(main)
