"""Make the table and the picture of the architectures that a study compares, from what is known and was measured.

Known: parameters and FLOPs are counted, top-1 is what the weights' publisher says of them. Measured, where it was:
speed, in `measured.json` (`python -m docs.architectures.measure`), and a frozen probe's accuracy, in `plans.csv`
(`make record STUDY=architectures`). `make architectures` measures speed and makes the table, `make readme` its page.
"""

import argparse
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import timm
from torch import nn
from torchvision import models

from docs.architectures.figure import draw
from docs.architectures.publications import find_publication
from frostline.backbones.registry import build_original_classifier, cut_into_parts
from frostline.errors import end_in_one_line
from frostline.files import read_csv, read_json, write_csv
from frostline.laying.studies import load_study
from frostline.plotting import save_figure, use_style
from frostline.training.costs import count_work

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
Row = dict[str, Any]

PROBE = "head"
"""The plan whose accuracy is a frozen probe's."""
INTEGERS = ("measured_px", "measured_batch", "probe_replicates")
"""Columns of whole numbers that may be empty."""


def main(study: str, folder: Path) -> None:
    """Write `architectures` as CSV, SVG and PNG into the folder, from the measurements that lie there."""
    table = tabulate(load_study(study, ROOT).backbones, *read_measurements(folder))
    write_csv(folder / "architectures.csv", table)
    with use_style():
        save_figure(draw(table), folder, "architectures")


def read_measurements(folder: Path) -> tuple[Row | None, pd.DataFrame | None]:
    """Return what the folder holds of measured speeds and of a recorded study's plans."""
    speeds, plans = folder / "measured.json", folder / "plans.csv"
    return read_json(speeds) if speeds.is_file() else None, read_csv(plans) if plans.is_file() else None


def tabulate(backbones: list[str], measured: Row | None, probes: pd.DataFrame | None) -> pd.DataFrame:
    """Return a row for each backbone; what was not measured is missing. Top-1 is in percent, a probe's a share."""
    rows = [collect_facts(name) | measure_speed(name, measured) | read_probe(name, probes) for name in backbones]
    return pd.DataFrame(rows).astype(dict.fromkeys(INTEGERS, "Int64"))


def collect_facts(name: str) -> Row:
    """Return what is known of the backbone with its 1,000 classes: FLOPs are of one image forward.

    Images are of the side that its top-1 was published for. A multiplication and its addition are two FLOPs.
    """
    publication = find_publication(name)
    parts = cut_into_parts(name, build_original_classifier(name, "none"))
    px, top1 = read_published(name)
    work = count_work(parts[:-1].requires_grad_(False), parts[-1:], px)
    return {
        "backbone": name,
        "year": publication.year,
        "paper": f"arXiv:{publication.arxiv}",
        "kind": describe_kind(parts),
        "parameters": sum(parameter.numel() for parameter in parts.parameters()),
        "flops": work.prefix + work.validation,
        "published_px": px,
        "published_top1": top1,
    }


def read_published(name: str) -> tuple[int, float | None]:
    """Return the side of the images for which the weights that Frostline loads were published, and their top-1.

    torchvision says both of its weights; timm's package has no accuracies.
    """
    if name not in models.list_models():
        size: Any = timm.get_pretrained_cfg_value(f"tf_{name}", "input_size")
        return size[-1], None
    weights = models.get_model_weights(name)["IMAGENET1K_V1"]  # as frostline/networks/weights.py takes them
    (px,) = weights.transforms().crop_size
    return px, weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]


def describe_kind(parts: nn.Module) -> str:
    """Return what most of the backbone's work is: attention, convolutions, or convolutions of single channels."""
    if any(isinstance(module, nn.MultiheadAttention) for module in parts.modules()):
        return "attention"
    grouped = (module.groups for module in parts.modules() if isinstance(module, nn.Conv2d))
    return "depthwise convolutions" if max(grouped) > 1 else "full convolutions"


def measure_speed(name: str, measured: Row | None) -> Row:
    """Return the backbone's images a second, medians over repeats, or nothing where it was not measured."""
    row: Row = dict.fromkeys(("forward_images_per_second", "training_images_per_second", *INTEGERS[:2]))
    if measured is None or name not in measured["backbones"]:
        return row
    for what in ("forward", "training"):
        seconds = median(measured["backbones"][name][f"{what}_seconds"])
        row[f"{what}_images_per_second"] = measured["images"] / seconds
    return row | {"measured_px": measured["image_px"], "measured_batch": measured["batch_size"]}


def read_probe(name: str, probes: pd.DataFrame | None) -> Row:
    """Return the accuracy of the backbone's frozen probe, its 95 % interval and its replicates, or nothing."""
    columns = {f"probe_{column}": column for column in ("accuracy", "accuracy_low", "accuracy_high", "replicates")}
    found = [] if probes is None else probes[(probes.backbone == name) & (probes.plan == PROBE)].to_dict("records")
    return {shown: found[0][column] if found else None for shown, column in columns.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m docs.architectures.build", description=__doc__)
    parser.add_argument("--study", default="architectures")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    with end_in_one_line():
        main(**vars(parser.parse_args()))
