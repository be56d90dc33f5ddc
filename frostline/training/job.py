"""Jobs: what a run is asked to do, with which images, and where each of its fits lies by all that it follows from."""

import hashlib
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import torch

from frostline.constants import Rates, name_run
from frostline.data.images import Prepared, take_share
from frostline.files import hash_file, locate_logs
from frostline.hardware import choose_device, resolve_precision
from frostline.networks.own_networks import FOLDER
from frostline.params.schema import Params, Phase, Plan, Training
from frostline.training.checkpoints import fingerprint, locate_scratch


@dataclass(frozen=True)
class Job:
    """What a run is asked to do, and the images to do it with. Each fit computes in so many threads.

    `tune` says in which replicates every learning rate is tried: the "first", or "all". `weights_sha256` is of a file
    of weights that the plan names, `own_code` of each of one's own files that make the network; fits lie in `scratch`.
    `hardware` names the kind and the processor of what computes, where that is not this machine.
    """

    data: Prepared
    backbone: str
    plan: Plan
    training: Training
    replicates: list[int]
    precision: str
    device: torch.device
    scratch: Path
    logs: Path | None = None
    log_every: int = 0
    tune: str = "all"
    weights_sha256: str = ""
    own_code: dict[str, str] = field(default_factory=dict)
    threads: int = field(default_factory=torch.get_num_threads)
    hardware: tuple[str, str] | None = None

    @property
    def image_px(self) -> int:
        """The side of the images."""
        return int(self.data.images.shape[1])

    @property
    def phases(self) -> list[Phase]:
        """The plan's phases, one at least."""
        return self.plan.list_phases(self.training.epochs)

    @property
    def tuned(self) -> list[int]:
        """The replicates in which every learning rate is tried."""
        return self.replicates[:1] if self.tune == "first" else self.replicates

    def list_rates(self, phase: int) -> list[Rates]:
        """Return the learning rates that are tried in the phases up to this one. Phases are counted from 1."""
        return list(product(*(earlier.learning_rates for earlier in self.phases[:phase])))

    def count_fits(self, phase: int, replicate: int) -> int:
        """Return how many fits the phase has in the replicate."""
        return len(self.list_rates(phase)) if replicate in self.tuned else 1

    def select_training(self, phase: int) -> Training:
        """Return how the phase is trained: its epochs are those of the phase."""
        return self.training.model_copy(update={"epochs": self.phases[phase - 1].epochs})


def locate_checkpoint(job: Job, rates: Rates, replicate: int) -> Path:
    """Return where the cell's state is kept, by all that it follows from.

    The plan's name and how many replicates there are have no part in it, nor what only says where things are kept.
    """
    unasked = {"cache_bytes", "keep_bytes", "workers"}
    rows = [job.data.list_rows(split, [replicate]) for split in ("train", "validation")]
    return job.scratch / (
        fingerprint(
            job.data.sha256,
            [hashlib.sha256(of_split.tobytes()).hexdigest() for of_split in rows],
            job.backbone,
            job.plan.model_dump(by_alias=True, exclude={"learning_rates", "phases", "train_percent", "layer_decay"}),
            [phase.model_dump(by_alias=True, exclude={"learning_rates"}) for phase in job.phases[: len(rates)]],
            job.training.model_dump(exclude=unasked),
            job.weights_sha256,
            job.own_code,
            job.precision,
            rates,
            replicate,
        )
        + ".pt"
    )


def name_cell(rates: Rates, replicate: int) -> str:
    """Return what the cell's curves are called."""
    return f"learning-rates-{'-'.join(map(repr, rates))}-replicate-{replicate}"


def make_job(settings: Params, data: Prepared, backbone: str, plan: str) -> Job:
    """Return what training `plan` on `backbone` takes, with these images."""
    device, asked_plan = choose_device(), settings.plans[plan]
    most = sum(phase.epochs for phase in asked_plan.list_phases(settings.training.epochs))
    views = {"views": min(asked_plan.views or settings.training.views, most)}  # an epoch shows one of them
    chosen, training = asked_plan.model_copy(update=views), settings.training.model_copy(update=views)
    replicates = [int(replicate) for replicate in data.splits.replicate.unique()]
    if chosen.train_percent is not None:
        data = take_share(data, chosen.train_percent)
    return Job(
        data,
        backbone,
        chosen,
        training,
        replicates,
        resolve_precision(training.precision, device),
        device,
        locate_scratch(),
        locate_logs(name_run(backbone, plan)) if settings.logging.tensorboard else None,
        settings.logging.log_every,
        settings.study.tune,
        hash_file(Path(chosen.weights)) if Path(chosen.weights).is_file() else "",
        {str(path): hash_file(path) for path in sorted(FOLDER.glob("*.py"))} if backbone.startswith("models/") else {},
    )
