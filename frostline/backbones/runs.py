"""Runs: what training one plan leaves behind, and how a trained backbone comes back from it.

A run holds only what learned. All else is the pretrained backbone's, known by its name and hash.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from frostline.backbones.audit import frozen_digests
from frostline.backbones.freezing import apply_plan
from frostline.backbones.registry import build_backbone, logits_of
from frostline.errors import listed, mistake
from frostline.files import read_json, sha256_of, write_json
from frostline.params import Plan


@dataclass(frozen=True)
class Run:
    """One backbone trained by one plan: what was chosen and counted. The same for the same inputs and machine.

    `backbone_sha256` is of all tensors that no seed learned, `weights_sha256` of each seed's file, with the others.
    """

    backbone: str
    plan: str
    definition: dict[str, Any]
    learned: list[str]
    classes: list[str]
    trainable_parameters: int
    parameters: int
    backbone_sha256: str
    weights_sha256: dict[str, str]
    learning_rate: float | str
    seeds: dict[str, dict[str, float]]
    precision: str
    device: str
    processor: str
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


def write_learned(folder: Path, seed: int, tensors: Mapping[str, Tensor]) -> str:
    """Write what a seed learned; return the SHA-256 of the file."""
    path = learned_path(folder, seed)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    return sha256_of(path)


def load_backbone(folder: Path, seed: int) -> nn.Sequential:
    """Return the run's whole backbone, stem to head, as trained with the seed: frozen by its plan, in eval mode.

    What did not learn is loaded from where it was then. Raises `Mistake` if it or the seed's file has another SHA-256.
    """
    run = read_run(folder)
    learned, plan = read_learned(folder, seed, run), Plan(**run.definition)
    # Where all of it learned, none of the pretrained tensors is left, and their file need not be there.
    weights = "none" if run.backbone_sha256 == combined_sha256({}) else plan.weights
    backbone = build_backbone(run.backbone, weights, len(run.classes))
    apply_plan(backbone, plan)
    pretrained = pretrained_digests(backbone)
    check_pretrained(folder, run, combined_sha256(pretrained))
    state = backbone.state_dict()
    backbone.load_state_dict(learned | {name: state[name] for name in pretrained if name in state})
    return backbone.eval()


def read_learned(folder: Path, seed: int, run: Run) -> dict[str, Tensor]:
    """Return what the seed learned, by name, or raise a `Mistake` if its file is not the one that was written."""
    if str(seed) not in run.weights_sha256:
        raise mistake(f"the seed of {folder}", f"be {listed(run.weights_sha256)}", str(seed))
    path, wanted = learned_path(folder, seed), run.weights_sha256[str(seed)]
    hint = "`dvc checkout` brings the file back, or `dvc repro` trains it again."
    if not path.exists():
        raise mistake(str(path), f"have the SHA-256 {wanted}", "no file", hint)
    if (found := sha256_of(path)) != wanted:
        raise mistake(str(path), f"have the SHA-256 {wanted}", found, hint)
    return load_file(path)


def check_pretrained(folder: Path, run: Run, found: str) -> None:
    """Raise a `Mistake` unless the tensors that did not learn are those with which the run was trained."""
    if found != run.backbone_sha256:
        weights = run.definition["weights"]
        where = f"the pretrained weights of {run.backbone}" if weights == "pretrained" else weights
        must = f"be what {folder} was trained with, whose frozen tensors have the SHA-256 {run.backbone_sha256}"
        raise mistake(where, must, found, "Put the former weights back, or train the run again.")


def pretrained_digests(backbone: nn.Module) -> dict[str, str]:
    """Return the SHA-256 of every tensor that a run does not store, by name. A plan must have been applied.

    These are the frozen ones but for the last layer, which is always new: its seed's, even where it is frozen.
    """
    new = logits_of(backbone)
    return {name: digest for name, digest in frozen_digests(backbone).items() if name not in new}


def combined_sha256(digests: Mapping[str, str]) -> str:
    """Return one SHA-256 of all these names and digests."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def learned_path(folder: Path, seed: int) -> Path:
    """Return the path of the file that holds what the seed learned."""
    return folder / f"seed-{seed}.safetensors"
