"""The benchmark's command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.published import PUBLISHED
from benchmarks.scripts import COMPARED, SCRIPTS
from frostline.constants import PARTS
from frostline.errors import InputError

ROOT = Path(__file__).parent.parent
QUICK_IMAGES, QUICK_PLANS = 32, ["stem", "stage4", "head"]


@dataclass(frozen=True)
class Options:
    """What is measured, and how long."""

    images: int | None
    folder: Path | None
    px: int
    batch: int
    rounds: int
    plans: list[str]
    backbone: str
    weights: str
    scripts: list[str]
    out: Path
    memory: bool
    accuracy: bool
    epochs: int
    seeds: int
    learning_rate: float
    quick: bool


def parse(arguments: Sequence[str]) -> Options:
    """Return the options, or raise an `InputError` about the first that is out of range."""
    options = Options(**vars(make_parser().parse_args(arguments)))
    if options.quick:
        options = replace(options, images=QUICK_IMAGES, rounds=1, plans=QUICK_PLANS, memory=False)
    least = {"px": 16, "batch": 3, "rounds": 1, "epochs": 1, "seeds": 1}
    if options.images is not None:
        least["images"] = 2 * options.batch
    for name, bound in least.items():
        if (got := getattr(options, name)) < bound:
            raise InputError.of(f"--{name}", f"be at least {bound}", str(got))
    for name in ("plans", "scripts"):
        values = getattr(options, name)
        if len(set(values)) < len(values):
            raise InputError.of(f"--{name}", "name each once", " ".join(values))
    if "project" not in options.scripts:
        raise InputError.of("--scripts", "hold project, with which the others are compared", " ".join(options.scripts))
    return options


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.freezing", description=__doc__)
    add = made.add_argument
    add("--images", type=int, help="how many images to train on, stratified by class; all without it")
    add("--folder", type=Path, help="of class folders, or splits of them; the cells of elpv-dataset without it")
    add("--px", type=int, default=224, help="side of the square images")
    add("--batch", type=int, default=16, help="images in a batch")
    add("--rounds", type=int, default=2, help="trainings that are measured of every script and plan")
    add("--plans", nargs="+", default=list(PARTS), choices=PARTS, help="first parts that learn")
    add("--backbone", default="resnet18", choices=tuple(PUBLISHED))
    add("--weights", default="auto", choices=("auto", "pretrained", "none"), help="auto: pretrained where they are")
    add("--scripts", nargs="+", default=list(COMPARED), choices=tuple(SCRIPTS))
    add("--out", type=Path, default=ROOT / "benchmarks", help="folder for the results")
    add("--memory", action="store_true", help="measure peak memory too")
    add("--accuracy", action="store_true", help="instead of speed, train to the end and compare accuracies")
    add("--epochs", type=int, default=5, help="with --accuracy")
    add("--seeds", type=int, default=3, help="with --accuracy")
    add("--learning-rate", type=float, default=1e-4)
    add(
        "--quick",
        action="store_true",
        help="the same columns in about three minutes; writes nothing",
    )
    return made
