"""Jobs: a run as params.yaml asks for it, with the images to do it with."""

import json
from pathlib import Path

from stages.checkpoints import checkpoint_folder
from stages.grid import Job
from stages.params import Params
from stages.precision import resolve_precision, usable_device
from stages.prepared import read_prepared


def make_job(settings: Params, prepared: Path, backbone: str, plan: str) -> Job:
    """Return what training `plan` on `backbone` takes, its scratch folder included."""
    device, asked_plan, seeds = usable_device(), settings.plans[plan], settings.study.seeds
    views = {"views": asked_plan.views or settings.training.views}
    chosen, training = asked_plan.model_copy(update=views), settings.training.model_copy(update=views)
    precision = resolve_precision(training.precision, device)
    inputs = (prepared / "prepared.json").read_text(encoding="utf-8")
    asked = json.dumps([backbone, chosen.model_dump(), training.model_dump(), seeds, precision])
    scratch = checkpoint_folder(inputs, asked)
    return Job(read_prepared(prepared), backbone, chosen, training, seeds, precision, device, scratch)
