"""Train the advised plan once more, on all images, and leave a model that others can run and trust.

Reads: the advice, the advised run and what it predicted of the images that it never saw, the comparison's figures of
it, the prepared images, and in params.yaml which plan instead, or that there shall be none.
Writes: `model.safetensors`, `model.json`, `model.onnx`, `model-int8.onnx`, `calibration.csv` and the card, `README.md`,
into one folder; without a model, model.json says so.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from frostline.backbones.precision import compute_deterministically
from frostline.backbones.runs import read_run
from frostline.constants import name_run
from frostline.data.images import read_prepared
from frostline.errors import run_command
from frostline.files import check_sums, hash_file, open_whole_folder, read_csv, read_json, write_csv, write_json
from frostline.hardware import choose_device, keep_freed_memory
from frostline.model.about import describe_data, describe_measured, describe_run
from frostline.model.calibration import calibrate, describe_calibration, find_doubt
from frostline.model.card import write_card
from frostline.model.fitting import fit_on_all, make_job_of_all, read_course
from frostline.model.forms import Folds, write_forms
from frostline.model.network import save_weights
from frostline.model.saved import ABOUT, CERTAIN, WEIGHTS
from frostline.params.loading import load_params
from frostline.params.schema import ADVISED, Finish


def main(*, params: Path, prepared: Path, source: Path, runs: Path, scores: Path, reports: Path, out: Path) -> None:
    """Leave the model of the advised plan in the folder `out`."""
    settings = load_params(params)
    if settings.finish is None:
        with open_whole_folder(out) as folder:
            write_json(folder / ABOUT, {"made": False})
        print("finish: no model, as params.yaml says finish: false")
        return
    check_sums(reports, ["advice.json", "plans.csv"])
    backbone, plan = choose_run(settings.finish, read_json(reports / "advice.json"))
    name = name_run(backbone, plan)
    for folder in (runs / name, scores / name, source.parent):
        check_sums(folder)
    run, predictions = read_run(runs / name), pd.read_parquet(scores / name / "predictions.parquet")
    keep_freed_memory()
    compute_deterministically(choose_device())

    data = read_prepared(prepared)
    job = make_job_of_all(settings, data, run)
    fitted = fit_on_all(job, read_course(run, read_csv(runs / name / "history.csv"), job.plan, len(job.phases)))
    groups = read_csv(prepared / "images.csv").group.to_numpy(np.int64)
    calibration, certain = calibrate(predictions, groups, run.classes)
    doubt = find_doubt(certain, groups[predictions.image.to_numpy()])
    plans = read_csv(reports / "plans.csv")
    figures = plans[(plans.backbone == backbone) & (plans["plan"] == plan)].iloc[0]
    images = read_json(prepared / "prepared.json")
    about: dict[str, Any] = {
        **describe_run(run, fitted, job),
        "measured": describe_measured(figures, images),
        "data": describe_data(read_json(source), images),
        **describe_calibration(calibration, doubt),
    }
    with open_whole_folder(out) as folder:
        save_weights(fitted.backbone, about, folder / WEIGHTS)
        replicates = [int(replicate) for replicate in run.replicates]
        folds = Folds(runs / name, backbone, data, groups, replicates)
        about |= write_forms(folder, folds.serve(fitted.backbone, calibration.temperature), folds)
        about["sha256"] = {path.name: hash_file(path) for path in sorted(folder.iterdir())}
        write_csv(folder / CERTAIN, certain)
        write_json(folder / ABOUT, about)
        (folder / "README.md").write_text(write_card(about, predictions), encoding="utf-8")
    print(f"finish: {name} on all {fitted.images:,} images, in {out.resolve()}")


def choose_run(asked: Finish, advice: dict[str, Any]) -> tuple[str, str]:
    """Return the backbone and the plan that were asked for; of those that were not, the advised ones."""
    backbone = advice["backbone"] if asked.backbone == ADVISED else asked.backbone
    return str(backbone), str(advice["plan"] if asked.plan == ADVISED else asked.plan)


if __name__ == "__main__":
    run_command(main)
