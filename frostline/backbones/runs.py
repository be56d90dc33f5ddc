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

from frostline.backbones.adapters import build_for_plan, merge_adapters
from frostline.backbones.audit import digest_frozen
from frostline.backbones.freezing import apply_plan
from frostline.backbones.registry import name_logits
from frostline.errors import InputError, join_names
from frostline.files import hash_file, read_json, write_json
from frostline.params.schema import Plan


@dataclass(frozen=True)
class Run:
    """One backbone trained by one plan: what was chosen and counted. The same for the same inputs and machine.

    `bfloat16_speed` is how many times as fast as float32's its matrix products were, where that chose the precision.
    `image_px` is the side of the images that it was trained on, `preprocessing` what the library says of those that its
    weights were trained on: their side, interpolation and scaling, of which the scaling alone is used here.
    `backbone_sha256` is of all tensors that no replicate learned, `weights_sha256` of each replicate's file, which
    holds the others.
    """

    backbone: str
    plan: str
    definition: dict[str, Any]
    image_px: int
    preprocessing: dict[str, Any]
    learned: list[str]
    classes: list[str]
    trainable_parameters: int
    parameters: int
    backbone_sha256: str
    weights_sha256: dict[str, str]
    learning_rate: float | str
    replicates: dict[str, dict[str, float]]
    precision: str
    device: str
    processor: str
    threads: int
    versions: dict[str, str]
    audit: str
    audited_tensors: int
    bfloat16_speed: float | None = None


def write_run(folder: Path, run: Run) -> None:
    """Write run.json."""
    write_json(folder / "run.json", asdict(run))


def read_run(folder: Path) -> Run:
    """Return the run that run.json tells of."""
    return Run(**read_json(folder / "run.json"))


def write_learned(folder: Path, replicate: int, tensors: Mapping[str, Tensor]) -> str:
    """Write what a replicate learned; return the SHA-256 of the file."""
    path = locate_learned(folder, replicate)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    return hash_file(path)


def load_backbone(folder: Path, replicate: int) -> nn.Sequential:
    """Return the run's whole backbone, stem to head, as trained with the replicate: frozen by its plan, in eval mode.

    What did not learn is loaded from where it was then. Raises `InputError` if it or the replicate's file has
    another SHA-256.
    """
    run = read_run(folder)
    learned, plan = read_learned(folder, replicate, run), Plan(**run.definition)
    # Where all of it learned, none of the pretrained tensors is left, and their file need not be there.
    weights = "none" if run.backbone_sha256 == combine_digests({}) else plan.weights
    backbone = build_for_plan(run.backbone, weights, len(run.classes), run.image_px, plan)
    apply_plan(backbone, plan)
    pretrained = digest_pretrained(backbone)
    check_pretrained(folder, run, combine_digests(pretrained))
    state = backbone.state_dict()
    backbone.load_state_dict(learned | {name: state[name] for name in pretrained if name in state})
    return merge_adapters(backbone.eval())


def read_learned(folder: Path, replicate: int, run: Run) -> dict[str, Tensor]:
    """Return what the replicate learned, by name, or raise an `InputError` if its file is not the one once written."""
    if str(replicate) not in run.weights_sha256:
        raise InputError.of(f"the replicate of {folder}", f"be {join_names(run.weights_sha256)}", str(replicate))
    path, wanted = locate_learned(folder, replicate), run.weights_sha256[str(replicate)]
    hint = "`dvc checkout` brings the file back, or `dvc repro` trains it again."
    if not path.exists():
        raise InputError.of(str(path), f"have the SHA-256 {wanted}", "no file", hint)
    if (found := hash_file(path)) != wanted:
        raise InputError.of(str(path), f"have the SHA-256 {wanted}", found, hint)
    return load_file(path)


def check_pretrained(folder: Path, run: Run, found: str) -> None:
    """Raise an `InputError` unless the tensors that did not learn are those with which the run was trained."""
    if found != run.backbone_sha256:
        weights = run.definition["weights"]
        where = f"the pretrained weights of {run.backbone}" if weights == "pretrained" else weights
        must = f"be what {folder} was trained with, whose frozen tensors have the SHA-256 {run.backbone_sha256}"
        raise InputError.of(where, must, found, "Put the former weights back, or train the run again.")


def digest_pretrained(backbone: nn.Module) -> dict[str, str]:
    """Return the SHA-256 of every tensor that a run does not store, by name. A plan must have been applied.

    These are the frozen ones but for the last layer, which is always new: its replicate's, even where it is frozen.
    """
    new = name_logits(backbone)
    return {name: digest for name, digest in digest_frozen(backbone).items() if name not in new}


def combine_digests(digests: Mapping[str, str]) -> str:
    """Return one SHA-256 of all these names and digests."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def locate_learned(folder: Path, replicate: int) -> Path:
    """Return the path of the file that holds what the replicate learned."""
    return folder / f"replicate-{replicate}.safetensors"
