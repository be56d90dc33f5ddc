"""Places: where lies what is neither input nor output of a stage."""

import os
from pathlib import Path


def project_root() -> Path:
    """Return where dvc was called, which may run an experiment in a folder of its own."""
    return Path(os.environ.get("DVC_ROOT", "."))


def logs_of(run: str) -> Path:
    """Return the folder in which TensorBoard finds the run's curves and pictures."""
    return project_root() / "logs" / run
