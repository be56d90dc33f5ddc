"""Measure how many images a second each architecture of a study takes, forward and in training, on this machine.

`make architectures` measures those of studies/architectures.yaml and makes their table.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.machine import describe_machine
from benchmarks.options import ROOT
from benchmarks.tables import Row, format_figure
from benchmarks.this_project import compute_exactly
from frostline.backbones.folding import prepare_prefix
from frostline.backbones.inference import (
    SMALLEST_PREFIX_BATCH,
    Images,
    LiveInputs,
    PrefixedInputs,
    predict,
    split_batches,
)
from frostline.backbones.registry import build_backbone
from frostline.constants import BACKBONES
from frostline.errors import InputError, end_in_one_line
from frostline.files import write_json
from frostline.hardware import choose_device, name_processor, resolve_precision
from frostline.laying.studies import load_study
from frostline.params.schema import Training
from frostline.training.loop import Batches, start_fit, train_one_epoch

CLASSES = 2
LEARNING_RATE = 1e-4
SEED = 0


@dataclass(frozen=True)
class Options:
    """What is measured, and how long."""

    study: str
    backbones: list[str] | None
    images: int
    batch: int
    px: int
    repeats: int
    out: Path


@dataclass(frozen=True)
class Setting:
    """On what every architecture is measured: uint8 images, N x H x W x 3, and how they are computed."""

    images: NDArray[np.uint8]
    training: Training
    precision: str
    device: torch.device
    repeats: int


def main(options: Options) -> None:
    """Measure the backbones one after the other, say what each took, and write all of it."""
    study = load_study(options.study, ROOT)
    device = choose_device()
    noise = np.random.default_rng(SEED).integers(0, 256, (options.images, options.px, options.px, 3), dtype=np.uint8)
    training = study.training.model_copy(update={"batch_size": options.batch, "views": 1})
    setting = Setting(noise, training, resolve_precision(training.precision, device), device, options.repeats)
    names = options.backbones or study.backbones
    refuse_unfit(names, options.px)
    measured: dict[str, Row] = {}
    with compute_exactly(device):
        for name in names:
            measured[name] = measure(name, setting)
            print(report_progress(name, measured[name], options.images), flush=True)
    write_json(options.out, describe(options, setting) | {"backbones": measured})


def refuse_unfit(names: Sequence[str], px: int) -> None:
    """Raise an `InputError` about the first backbone that cannot see images of that side."""
    for name in names:
        sides = BACKBONES[name]
        if px not in sides:
            only = f"{sides[0]}" if len(sides) == 1 else f"{sides[0]} to {sides[-1]}"
            raise InputError.of("--px", f"be what {name} takes, {only}", str(px))


def describe(options: Options, setting: Setting) -> Row:
    """Return what all architectures have in common."""
    counts = {"images": options.images, "repeats": options.repeats, "batch_size": options.batch}
    computed = {"image_px": options.px, "precision": setting.precision, "device": name_processor(setting.device)}
    return counts | computed | {"machine": describe_machine()}


def measure(name: str, setting: Setting) -> Row:
    """Return the seconds of all repeats, each over all images."""
    training = repeat(make_trainer(name, build_fresh(name, setting), setting), setting.repeats)
    return {"forward_seconds": repeat(make_predictor(name, setting), setting.repeats), "training_seconds": training}


def repeat(run: Callable[[], object], repeats: int) -> list[float]:
    """Return the seconds of each repeat, after one that is not counted: it starts kernels and the optimizer."""
    seconds = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def make_predictor(name: str, setting: Setting) -> Callable[[], object]:
    """Return what predicts all images as a study's test images are: all but the head as a frozen prefix."""
    backbone = build_fresh(name, setting)
    prefix, head = prepare_prefix(backbone[:-1], setting.precision), backbone[-1:]
    live = LiveInputs(Images.hold(setting.images, setting.device), name)
    inputs = PrefixedInputs(prefix.eval(), live, setting.images.shape[1], setting.precision, setting.device)
    batches = split_batches(np.arange(len(setting.images)), setting.training.batch_size)
    return lambda: predict(head, inputs, batches, setting.precision, setting.device).cpu()


def make_trainer(name: str, backbone: nn.Sequential, setting: Setting) -> Callable[[], object]:
    """Return what shows all images once to the backbone, all of which learns, as an epoch of training does."""
    rows = np.arange(len(setting.images))
    labels = torch.from_numpy(rows % CLASSES).to(setting.device)
    batches = Batches(LiveInputs(Images.hold(setting.images, setting.device), name), labels, rows, rows[:0])
    fit = start_fit(backbone, LEARNING_RATE, setting.training.weight_decay, SEED)
    return lambda: train_one_epoch(fit, batches, setting.training, setting.precision, 1)


def build_fresh(name: str, setting: Setting) -> nn.Sequential:
    """Return the backbone with random weights, which are as fast as trained ones, as the engine lays it out."""
    torch.manual_seed(SEED)
    backbone = build_backbone(name, "none", CLASSES).to(setting.device)
    return backbone.to(memory_format=torch.channels_last)


def report_progress(name: str, measured: Row, images: int) -> str:
    """Return a line about what was measured of a backbone."""
    forward, training = (
        format_figure(images / median(measured[f"{what}_seconds"])) for what in ("forward", "training")
    )
    return f"{name}: {forward} images a second forward, {training} in training"


def parse(arguments: Sequence[str]) -> Options:
    """Return the options, or raise an `InputError` about the first that is out of range."""
    made = argparse.ArgumentParser(prog="python -m docs.architectures.measure", description=__doc__)
    add = made.add_argument
    add("--study", default="architectures", help="a study by its name, whose backbones are measured")
    add("--backbones", nargs="+", choices=tuple(BACKBONES), help="these instead; the others then stay unmeasured")
    add("--images", type=int, default=64, help="in each repeat")
    add("--batch", type=int, default=16, help="images in a batch")
    add("--px", type=int, default=224, help="side of the square images")
    add("--repeats", type=int, default=5, help="of which the median counts, after one that does not")
    add("--out", type=Path, default=ROOT / "docs" / "architectures" / "measured.json", help="file for the results")
    options = Options(**vars(made.parse_args(arguments)))
    for option, least in {"batch": SMALLEST_PREFIX_BATCH, "images": 1, "px": 16, "repeats": 1}.items():
        if (got := getattr(options, option)) < least:
            raise InputError.of(f"--{option}", f"be at least {least}", str(got))
    if options.images % options.batch:  # smaller batches would be filled up to run through a prefix
        raise InputError.of("--images", f"be whole batches of {options.batch}", str(options.images))
    return options


if __name__ == "__main__":
    with end_in_one_line():
        main(parse(sys.argv[1:]))
