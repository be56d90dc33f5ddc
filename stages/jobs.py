"""Jobs: a run as params.yaml asks for it, with the images to do it with."""

import json
from pathlib import Path

from stages.checkpoints import checkpoint_folder
from stages.grid import Job
from stages.mistakes import listed, mistake
from stages.outputs import sha256_of
from stages.params import Params
from stages.places import logs_of
from stages.precision import resolve_precision, usable_device
from stages.prepared import Prepared, read_prepared, with_share
from stages.vocabulary import run_name


def make_job(settings: Params, prepared: Path, backbone: str, plan: str) -> Job:
    """Return what training `plan` on `backbone` takes, its scratch folder included."""
    device, asked_plan, seeds = usable_device(), settings.plans[plan], settings.study.seeds
    most = sum(phase.epochs for phase in asked_plan.as_phases(settings.training.epochs))
    views = {"views": min(asked_plan.views or settings.training.views, most)}  # an epoch shows one of them
    chosen, training = asked_plan.model_copy(update=views), settings.training.model_copy(update=views)
    precision = resolve_precision(training.precision, device)
    inputs = (prepared / "prepared.json").read_text(encoding="utf-8")
    weights = sha256_of(Path(chosen.weights)) if Path(chosen.weights).is_file() else ""
    asked = json.dumps([backbone, chosen.model_dump(), training.model_dump(), seeds, precision, weights])
    data, scratch = read_prepared(prepared), checkpoint_folder(inputs, asked)
    check_seeds(data, seeds)
    if chosen.train_percent is not None:
        data = with_share(data, chosen.train_percent)
    logs = logs_of(run_name(backbone, plan)) if training.tensorboard else None
    return Job(data, backbone, chosen, training, seeds, precision, device, scratch, logs)


def check_seeds(data: Prepared, seeds: list[int]) -> None:
    """Raise a `Mistake` about the first seed for which nothing is prepared: the images may be somebody else's."""
    known = sorted(set(data.splits.seed))
    for seed in seeds:
        if seed not in known:
            raise mistake("study.seeds", f"be seeds of data/prepared: {listed(map(str, known))}", str(seed))
