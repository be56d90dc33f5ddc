"""Seconds of one training step: the engine's own, on one batch, without images, validation or checkpoints."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import torch

from benchmarks.machine import DEVICE, wait
from benchmarks.task import Task
from benchmarks.this_project import make_job
from frostline.backbones.precision import autocast, compute_deterministically
from frostline.hardware import keep_freed_memory
from frostline.training.grid import build_parts
from frostline.training.loop import start_fit, take_step

WARM_UP = 3
SECONDS = 4
"""So long that processes which start a moment apart take most of their steps side by side."""


def measure_step_seconds(task: Task) -> float:
    """Return the seconds of a step where the task's fits take theirs side by side, each in a process of its own."""
    with ProcessPoolExecutor(task.fits, multiprocessing.get_context("forkserver")) as pool:
        return median(pool.map(time_steps, [task] * task.fits)) / task.fits


def time_steps(task: Task) -> float:
    """Return the median of the seconds of a step, taken over and over on one batch of noise."""
    keep_freed_memory()
    compute_deterministically(DEVICE)
    job = make_job(task, Path(task.folder))
    torch.set_num_threads(job.threads)
    prefix, suffix = build_parts(job, task.seed)
    pixels = torch.randn(task.batch_size, 3, task.image_px, task.image_px).to(DEVICE)
    pixels = pixels.to(memory_format=torch.channels_last)
    with torch.no_grad(), autocast(job.precision, DEVICE):
        inputs = prefix.eval()(pixels)
    labels = torch.arange(task.batch_size, device=DEVICE) % task.classes
    fit = start_fit(suffix.train(), task.learning_rate, job.training.weight_decay, task.seed)
    taken: list[float] = []
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(taken) < 2 * WARM_UP:
        began = time.perf_counter()
        take_step(fit, inputs.clone(), labels, job.precision)
        wait()
        taken.append(time.perf_counter() - began)
    return median(taken[WARM_UP:])
