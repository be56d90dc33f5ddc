"""What a study will take at most: seconds, from steps that are measured here, and bytes that stay on the disk."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from frostline.backbones.folding import prepare_prefix
from frostline.backbones.freezing import count_parameters
from frostline.backbones.inference import SMALLEST_PREFIX_BATCH, Images, LiveInputs
from frostline.backbones.precision import autocast, compute_deterministically
from frostline.constants import name_run
from frostline.data.images import Prepared, read_prepared
from frostline.hardware import keep_freed_memory
from frostline.params.schema import Params
from frostline.training.grid import build_parts, list_wanted_rows
from frostline.training.job import Job, make_job
from frostline.training.loop import start_fit, take_step
from frostline.training.results import build_frozen_backbone
from frostline.training.workers import count_workers, share_cores

TIMES = 3
"""Measured are so many steps, after one that is not."""


@dataclass(frozen=True)
class Estimate:
    """What a run takes: seconds if each fit has all its epochs, and bytes of what its replicates learned."""

    run: str
    fits: int
    seconds: float
    bytes: int


def estimate(settings: Params, prepared: Path) -> list[Estimate]:
    """Return an estimate for each run of the study on the prepared images."""
    keep_freed_memory()
    data = read_prepared(prepared)
    return [
        estimate_run(settings, data, backbone, plan) for backbone in settings.backbones for plan in settings.study.plans
    ]


def estimate_run(settings: Params, data: Prepared, backbone: str, plan: str) -> Estimate:
    """Return the estimate for one run, of which a step of each phase is measured, with as many threads as fits have."""
    job = make_job(settings, data, backbone, plan)
    compute_deterministically(job.device)
    frozen = build_frozen_backbone(job, plan)
    job, usual = share_cores(job, frozen), torch.get_num_threads()
    try:
        phases = range(1, len(job.phases) + 1)
        seconds = sum(estimate_phase(job, phase, count_workers(job, frozen, phase), usual) for phase in phases)
    finally:
        torch.set_num_threads(usual)
    fits = sum(job.count_fits(phase, replicate) for phase in phases for replicate in job.replicates)
    learned = 4 * count_parameters(frozen)[0]
    return Estimate(name_run(backbone, plan), fits, seconds, learned * len(job.replicates))


def estimate_phase(job: Job, phase: int, workers: int, threads: int) -> float:
    """Return the seconds of the phase: its prefix on all that is kept of it, and every epoch of every fit."""
    prefix, suffix = build_parts(job, job.replicates[0], phase)
    prefix = prepare_prefix(prefix, job.precision, job.image_px)
    live = LiveInputs(Images.hold(job.data.images, job.device), job.backbone)
    rows = job.data.list_rows("train", job.replicates[:1])
    (images,) = live([rows[:SMALLEST_PREFIX_BATCH]], None)

    @torch.no_grad()
    def pass_prefix() -> torch.Tensor:
        with autocast(job.precision, job.device):
            return prefix(images).float() if len(prefix) else images

    torch.set_num_threads(threads)
    in_prefix = measure(pass_prefix) / len(images) if len(prefix) else 0.0
    batch = pass_prefix()[: job.training.batch_size]
    labels = torch.from_numpy(job.data.labels[rows[: len(batch)]]).to(job.device)
    fit = start_fit(suffix, 1e-6, job.training.weight_decay, job.replicates[0])
    suffix.train()
    torch.set_num_threads(job.threads)
    in_step = measure(lambda: take_step(fit, batch, labels, job.precision)) / len(batch)
    shown = sum(
        len(job.data.list_rows("train", [replicate])) * job.count_fits(phase, replicate) for replicate in job.replicates
    )
    kept = sum(len(wanted) for wanted in list_wanted_rows(job, phase, job.replicates).values())
    beside = workers * job.training.devices_per_fit
    return in_prefix * kept + in_step * shown * job.phases[phase - 1].epochs / beside


def measure(step: Callable[[], object]) -> float:
    """Return the median seconds of a step."""
    step()
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        step()
        took.append(time.perf_counter() - began)
    return median(took)
