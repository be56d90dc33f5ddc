"""Memory: the most of it that a process held."""

import resource
import sys
from pathlib import Path

import torch


def peak_memory_bytes() -> int:
    """Return the most memory that this process held: on the GPU if it uses one, else in RAM.

    Linux hands `ru_maxrss` on from the process that starts another, however large that was; VmHWM is of this one alone.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others kibibytes
