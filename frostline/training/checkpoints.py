"""Checkpoints: a fit's state after each epoch, from which it goes on where it was killed, and what it was at its end.

Each fit lies under the fingerprint of all that it follows from, whichever run asks for it. So a study that asks for
more repeats trains only what is new.
"""

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from frostline.constants import Rates
from frostline.files import find_project_root, hash_file, hold_lock, open_whole_file
from frostline.training.loop import Epoch, Fit
from frostline.training.optimizer import get_named_state, restore_state

PACKAGE = Path(__file__).parents[1]
CODE = (PACKAGE, PACKAGE.parent / "stages")
"""The folders whose code a fit may depend on: a change to any file in them makes older checkpoints stale."""


@dataclass(frozen=True)
class Trained:
    """A fit that has ended: its epochs, how many frozen tensors its audit found as they were, and what it took.

    `prefix_seconds` is its share of the seconds that the outputs of its prefix took, which are kept in `cache`.
    """

    rates: Rates
    replicate: int
    history: list[Epoch]
    audited: int
    peak_memory_bytes: int
    prefix_seconds: float
    cache: str
    cache_bytes: int


def locate_scratch() -> Path:
    """Return the scratch folder, in dvc's own temporary folder.

    It lies there because dvc clears a stage's outputs before it starts it, and because experiments in temporary
    workspaces share it.
    """
    return find_project_root() / ".dvc" / "tmp" / "frostline"


def fingerprint(*inputs: object) -> str:
    """Return a name for what follows from these inputs, in JSON's types, this code and this torch."""
    return hashlib.sha256(json.dumps([torch.__version__, hash_code(*CODE), *inputs]).encode()).hexdigest()[:32]


@cache
def hash_code(*folders: Path) -> str:
    """Return the SHA-256 of all Python files in the folders, as this process found them first."""
    hashed = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            part = path.read_text(encoding="utf-8")
            hashed.update(f"{path.relative_to(folder)}:{len(part)}:{part}".encode())
    return hashed.hexdigest()


def hold(checkpoint: Path) -> AbstractContextManager[None]:
    """Wait until no other process trains the fit, and keep the others waiting."""
    return hold_lock(checkpoint.with_suffix(".lock"))


def save_fit(path: Path, fit: Fit) -> None:
    """Write all that the fit needs to go on: history, tensors now and at their best, and the optimizer's state.

    Of a team the first process does.
    """
    if not fit.team.is_first:
        return
    state = {
        "history": [asdict(epoch) for epoch in fit.history],
        "suffix": fit.suffix.state_dict(),
        "optimizer": get_named_state(fit.optimizer, fit.suffix),
        "best": fit.best,
    }
    with open_whole_file(path) as unfinished:
        torch.save(state | {"sha256": hash_state(state)}, unfinished)


def hash_state(state: Any) -> str:
    """Return the SHA-256 of nested dictionaries and lists of tensors and plain values: torch looks at no sums."""
    hashed = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, Tensor):
            flat = value.detach().cpu().contiguous().reshape(-1)
            hashed.update(f"{value.dtype}{tuple(value.shape)}".encode())
            hashed.update(flat.view(torch.uint8).numpy().data)
        elif isinstance(value, dict):
            for key, each in value.items():
                hashed.update(f"{key!r}:".encode())
                feed(each)
        elif isinstance(value, list | tuple):
            hashed.update(f"{len(value)} of".encode())
            for each in value:
                feed(each)
        else:
            hashed.update(f"{value!r};".encode())

    feed(state)
    return hashed.hexdigest()


def keep_best(path: Path, fit: Fit) -> None:
    """Write what is left of a fit that nothing goes on from: its history, and the tensors of its best epoch."""
    kept = {"history": [asdict(epoch) for epoch in fit.history], "best": fit.best}
    with open_whole_file(path) as unfinished:
        torch.save(kept | {"sha256": hash_state(kept)}, unfinished)


def restore_fit(path: Path, fit: Fit) -> None:
    """Bring a fresh fit to where it was when it was saved; leave it as it is if it never was.

    Of one of which the best is left, that is where it was. One that has changed since is taken away: of a team, by the
    first process, before the others look.
    """
    for is_turn_of_first in (True, False):
        if fit.team.is_first == is_turn_of_first:
            _restore(path, fit)
        fit.team.wait()


def _restore(path: Path, fit: Fit) -> None:
    if not path.exists():
        return
    state = load_state(path)
    if state is None:
        print(f"{path}: a byte of this unfinished fit has changed, so it is trained from its start", flush=True)
        path.unlink()
        return
    fit.history = [Epoch(**epoch) for epoch in state["history"]]
    fit.suffix.load_state_dict(state.get("suffix", state["best"]))
    if "optimizer" in state:
        restore_state(fit.optimizer, fit.suffix, state["optimizer"])
    fit.best = state["best"]


def load_state(path: Path) -> dict[str, Any] | None:
    """Return what was saved there, or None if it is not as it was saved."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        wanted = state.pop("sha256")
    except (RuntimeError, UnpicklingError, ValueError, LookupError, EOFError, AttributeError, TypeError):
        return None
    return state if hash_state(state) == wanted else None


def write_trained(checkpoint: Path, trained: Trained) -> None:
    """Write beside the checkpoint that the fit has ended, and what it took."""
    told = asdict(trained) | {"rates": list(trained.rates)}
    with open_whole_file(checkpoint.with_suffix(".json")) as unfinished:  # the loss of a fit may be no number
        content = {"trained": told, "sha256": hash_trained(told, checkpoint)}
        unfinished.write_text(json.dumps(content), encoding="utf-8")


def hash_trained(told: Any, checkpoint: Path) -> str:
    """Return one SHA-256 of what is told of a fit and of its checkpoint."""
    return hashlib.sha256((json.dumps(told) + hash_file(checkpoint)).encode()).hexdigest()


def read_trained(checkpoint: Path) -> Trained | None:
    """Return what the fit came to, if it has ended; from then on it counts as used.

    What has changed since it was written is taken away, so that it is trained again.
    """
    path = checkpoint.with_suffix(".json")
    if not path.exists() or not checkpoint.exists():
        return None
    for each in (path, checkpoint):
        each.touch()
    try:
        content = json.loads(path.read_bytes())
        told, is_whole = content["trained"], content["sha256"] == hash_trained(content["trained"], checkpoint)
    except (ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        print(f"{checkpoint}: a byte of this finished fit has changed, so it is trained again", flush=True)
        path.unlink()
        checkpoint.unlink()
        return None
    history = [Epoch(**epoch) for epoch in told.pop("history")]
    return Trained(rates=tuple(told.pop("rates")), history=history, **told)


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


def read_best(path: Path) -> dict[str, Tensor]:
    """Return the tensors of the saved fit's best epoch."""
    best: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["best"]
    return best


def drop_oldest(scratch: Path, budget: int) -> None:
    """Delete the checkpoints that were used longest ago, until those that stay take at most so many bytes.

    One that a process is training on stays.
    """
    kept = 0
    for checkpoint in sorted(scratch.glob("*.pt"), key=lambda path: -path.stat().st_mtime_ns):
        kept += checkpoint.stat().st_size
        if kept > budget:
            lock = FileLock(checkpoint.with_suffix(".lock"), timeout=0)
            try:
                with lock:
                    for suffix in (".json", ".pt", ".lock"):
                        checkpoint.with_suffix(suffix).unlink(missing_ok=True)
            except Timeout:
                continue
