"""Look inside the advised run's first replicate: what it looks for, finds and goes by, and how far it moved.

Reads: the advice, that run and its predictions, the prepared images, and in params.yaml whether TensorBoard is to show
the pictures too. Nothing is chosen by what is seen here.
Writes: `filters`, `maps`, `gradcam` and `moved` (as SVG and PNG) and `look.json` (numbers, and what each picture shows
in words), into one folder. A network that keeps no places has fewer pictures, and look.json says so.
"""

from pathlib import Path

import pandas as pd

from frostline.constants import name_run
from frostline.data.images import read_prepared
from frostline.errors import run_command
from frostline.files import check_sums, locate_logs, read_json
from frostline.interpret.inspection import choose_cases, look_inside, open_run
from frostline.interpret.output import post_pictures, write_look
from frostline.params.loading import load_params

CASES = 4
"""So many worst mistakes, and so many confident hits, where there are as many."""


def main(*, params: Path, advice: Path, prepared: Path, runs: Path, scores: Path, out: Path) -> None:
    """Look inside the run that the file `advice` names, into the folder `out`."""
    check_sums(advice.parent, [advice.name])
    settings, advised, data = load_params(params), read_json(advice), read_prepared(prepared)
    name = name_run(advised["backbone"], advised["plan"])
    for folder in (runs / name, scores / name):
        check_sums(folder)
    predictions = pd.read_parquet(scores / name / "predictions.parquet")
    opened = open_run(runs / name)
    mistakes, hits = choose_cases(data, predictions, opened.replicate, CASES)
    groups = {"Worst mistakes": mistakes, "Confident hits": hits}
    there = {group: cases for group, cases in groups.items() if cases}
    inside = look_inside(opened, there, mapped=(hits or mistakes)[0])
    write_look(out, inside)
    if settings.logging.tensorboard:
        post_pictures(locate_logs(name) / "pictures", inside)
    print(f"{name}, replicate {opened.replicate}: {out}")


if __name__ == "__main__":
    run_command(main)
