"""Runs: what training one plan leaves behind, and how a trained backbone comes back from it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.backbones import build_backbone
from stages.freezing import apply_plan, cut_at_boundary
from stages.outputs import read_json, write_json
from stages.params import Plan


@dataclass(frozen=True)
class Run:
    """One backbone trained by one plan: what was chosen and counted. The same for the same inputs and machine."""

    backbone: str
    plan: str
    definition: dict[str, Any]
    learned: list[str]
    classes: list[str]
    trainable_parameters: int
    parameters: int
    learning_rate: float
    seeds: dict[str, dict[str, float]]
    precision: str
    device: str
    threads: int
    versions: dict[str, str]
    audit: str
    audited_tensors: int


def write_run(folder: Path, run: Run) -> None:
    """Write run.json."""
    write_json(folder / "run.json", asdict(run))


def read_run(folder: Path) -> Run:
    """Return the run that run.json tells of."""
    return Run(**read_json(folder / "run.json"))


def write_suffix(folder: Path, seed: int, tensors: dict[str, Tensor]) -> None:
    """Write a seed's suffix. The prefix is the pretrained one and need not be kept."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, _suffix_path(folder, seed))


def load_backbone(folder: Path, seed: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the prefix and the suffix of the run's backbone as trained with the seed, in eval mode."""
    run = read_run(folder)
    plan = Plan(**run.definition)
    backbone = build_backbone(run.backbone, plan.weights, len(run.classes))
    apply_plan(backbone, plan)
    prefix, suffix = cut_at_boundary(backbone)
    suffix.load_state_dict(load_file(_suffix_path(folder, seed)))
    return prefix.eval(), suffix.eval()


def _suffix_path(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed}.safetensors"
