"""Boards: what TensorBoard shows of a fit while it is trained. They are nobody's input, and no stage's output."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from frostline.training.loop import Epoch


@contextmanager
def open_board(folder: Path | None, history: Sequence[Epoch]) -> Iterator[Callable[[Epoch], None]]:
    """Yield what writes an epoch's scalars into the folder, where those of `history` stand already; without, nothing.

    The folder is made anew: a fit that was killed may have written an epoch that it then trains again.
    """
    if folder is None:
        yield lambda _epoch: None
        return
    from torch.utils.tensorboard import SummaryWriter  # takes a second, which only those pay who asked for it

    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(folder) as writer:

        def log(epoch: Epoch) -> None:
            for name, value in list_scalars(epoch).items():
                writer.add_scalar(name, value, epoch.epoch)
            writer.flush()

        for epoch in history:
            log(epoch)
        yield log


def list_scalars(epoch: Epoch) -> dict[str, float]:
    """Return the epoch's losses (nats), accuracies (0 to 1) and learning rates by name."""
    rates = {f"learning_rate/{part}": rate for part, rate in epoch.learning_rates.items()}
    return {
        "loss/train": epoch.train_loss,
        "loss/validation": epoch.val_loss,
        "accuracy/train": epoch.train_accuracy,
        "accuracy/validation": epoch.val_accuracy,
        **rates,
    }
