"""Checkpoints: a fit's state after each epoch, from which a killed run goes on as if nothing had happened."""

import hashlib
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from frostline.files import find_project_root, open_whole_file
from frostline.training.loop import Epoch, Fit
from frostline.training.optimizer import get_named_state, restore_state

PACKAGE = Path(__file__).parents[1]
CODE = (PACKAGE, PACKAGE.parent / "stages")
"""The folders whose code a fit may depend on: a change to any file in them makes older checkpoints stale."""


def locate_checkpoints(*inputs: str) -> Path:
    """Return the scratch folder of a run with these inputs and this code, in dvc's own temporary folder.

    It lies there because dvc clears a stage's outputs before it starts it, and because experiments in temporary
    workspaces share it. Other code, params or data have another folder, so that nothing stale is ever resumed.
    """
    code = sorted(path for folder in CODE for path in folder.rglob("*.py"))
    fingerprint = hashlib.sha256(torch.__version__.encode())
    for part in (*inputs, *(path.read_text(encoding="utf-8") for path in code)):
        fingerprint.update(f"{len(part)}:{part}".encode())
    return find_project_root() / ".dvc" / "tmp" / "frostline" / fingerprint.hexdigest()[:24]


def save_fit(path: Path, fit: Fit) -> None:
    """Write all that the fit needs to go on: history, tensors now and at their best, and the optimizer's state."""
    state = {
        "history": [asdict(epoch) for epoch in fit.history],
        "suffix": fit.suffix.state_dict(),
        "optimizer": get_named_state(fit.optimizer, fit.suffix),
        "best": fit.best,
        "best_hits": fit.best_hits,
    }
    with open_whole_file(path) as unfinished:
        torch.save(state, unfinished)


def restore_fit(path: Path, fit: Fit) -> None:
    """Bring a fresh fit to where it was when it was saved; leave it as it is if it never was."""
    if not path.exists():
        return
    state = torch.load(path, map_location="cpu", weights_only=True)
    fit.history = [Epoch(**epoch) for epoch in state["history"]]
    fit.suffix.load_state_dict(state["suffix"])
    restore_state(fit.optimizer, fit.suffix, state["optimizer"])
    fit.best, fit.best_hits = state["best"], state["best_hits"]


def take_over(path: Path, fit: Fit) -> None:
    """Let a fresh fit go on from the end of the phase before, which was saved there.

    It takes over what was learned, the history, the best epoch, and the optimizer's state of what goes on learning.
    The fit's suffix may begin further up than the one that was saved: what lies before that was then as loaded.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    fit.history = [Epoch(**epoch) for epoch in state["history"]]
    fit.suffix.load_state_dict(fit.suffix.state_dict() | state["suffix"])
    restore_state(fit.optimizer, fit.suffix, state["optimizer"])
    fit.best = {name: tensor.detach().clone() for name, tensor in fit.suffix.state_dict().items()} | state["best"]
    fit.best_hits = state["best_hits"]


def read_best(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the saved fit's best epoch."""
    best: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["best"]
    return best


def remove_checkpoints(folder: Path) -> None:
    """Delete the run's scratch folder: its outputs are whole now."""
    shutil.rmtree(folder, ignore_errors=True)
