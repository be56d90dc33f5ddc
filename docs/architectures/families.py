"""What each family of networks can serve: the smallest model of each of timm's, and all of torchvision's, are tried.

python -m docs.architectures.families       # some minutes; writes families.csv
"""

import itertools
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import timm
import torch
from timm.models import _registry
from torchvision import models

from frostline.backbones.freezing import apply_plan, cut_at_boundary
from frostline.backbones.registry import build_backbone
from frostline.errors import InputError, end_in_one_line
from frostline.files import write_csv
from frostline.networks.catalog import find_architecture
from frostline.params.schema import Plan

FOLDER = Path(__file__).parent
CLASSES = 2


@dataclass(frozen=True)
class Serves:
    """What a network can serve: "every" depth, "head and all", or "nothing"; and why, where it is not every depth.

    `blocks` are those at which it can be cut and its prefix's outputs kept, `crossing` the values that cross at most.
    """

    depths: str
    blocks: int
    crossing: int
    reason: str


def choose_smallest() -> dict[str, str]:
    """Return the model of fewest parameters of each module of timm.models, by the module's name."""
    families = defaultdict(list)
    for name in timm.list_models():
        families[_registry._model_to_module[name]].append(name)
    chosen = {}
    for family, names in sorted(families.items()):
        sizes = {}
        for name in names:
            try:
                with torch.device("meta"):
                    sizes[name] = sum(parameter.numel() for parameter in timm.create_model(name).parameters())
            except (NotImplementedError, RuntimeError):  # it reads values while it is made
                continue
        chosen[family] = min(sizes, key=lambda name: sizes[name]) if sizes else names[0]
    return chosen


def try_network(name: str) -> Serves:
    """Return what the network can serve, after it was cut at every block and gave the same each time, bit for bit."""
    try:
        parts = build_backbone(name, "none", CLASSES).eval()
    except InputError as error:
        return Serves("nothing", 0, 0, str(error))
    if reason := getattr(parts, "uncut", None):
        return Serves("head and all", 1, 1, str(reason))
    px = find_architecture(name).preprocessing().px
    apply_plan(parts, Plan.model_validate({"from": "head", "weights": "none", "learning_rates": [0.1]}))
    images = torch.randn(2, 3, px, px, generator=torch.Generator().manual_seed(0))
    blocks = [block for part in parts.children() for block in part.children()]
    crossings = [getattr(block, "crossing", None) for block in blocks[:-1]]
    places = [at for at, crossing in enumerate(crossings, 1) if crossing is not None]
    lengths = [len([*part.children()]) for part in parts.children()]
    firsts = list(itertools.accumulate(lengths[:-1]))
    with torch.no_grad():
        expected = parts.eval()(images)
        for at in [at for at in dict.fromkeys(firsts) if at in places]:
            prefix, suffix = cut_at_boundary(parts, px, at)
            if not torch.allclose(suffix.eval()(prefix(images)), expected, rtol=0, atol=0, equal_nan=True):
                return Serves("nothing", 0, 0, f"cut before block {at}, it gives something else")
    return Serves("every", len(places), max(len(crossing or ()) for crossing in crossings), "")


def main() -> None:
    """Try all, and write what they serve, family by family."""
    rows = []
    asked = {family: f"timm/{name}" for family, name in choose_smallest().items()}
    asked |= {f"torchvision {name}": f"torchvision/{name}" for name in models.list_models(module=models)}
    for family, name in asked.items():
        rows.append({"family": family, "model": name, **asdict(try_network(name))})
        print(*rows[-1].values(), flush=True)
    write_csv(FOLDER / "families.csv", pd.DataFrame(rows))


if __name__ == "__main__":
    with end_in_one_line():
        main()
