"""The hardware: which device computes, by which name, in which number format, and what memory it took and keeps."""

import ctypes
import os
import platform
import re
import resource
import sys
import time
from functools import cache
from pathlib import Path
from statistics import median

import torch


def name_processor(device: torch.device) -> str:
    """Return the name of the device's processor as the system tells it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    told = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", told.read_text(), re.MULTILINE) if told.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def tell_kind(device: torch.device) -> str:
    """Return the device's type, with the machine's and the instructions that are computed with."""
    return f"{device.type} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def measure_peak_memory() -> int:
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


def keep_freed_memory() -> None:
    """Let the C library keep memory that is freed, instead of handing it back and being given it anew, zeroed.

    Every large tensor of a training step is else a mapping of its own: a step of EfficientNet-Lite0 at 160 px took 1.3
    to 1.5 times as long. The most memory that a process holds grows by 1 to 5 %. Only glibc can be told.
    """
    libc = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(libc, "mallopt"):
        for setting, value in GLIBC_KEEPS.items():
            libc.mallopt(setting, value)


GLIBC_KEEPS = {-3: 2**30, -1: 2**31 - 1, -2: 2**26}
"""glibc's M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD: bytes beyond which it maps, and trims, and grows by."""


def measure_memory() -> int:
    """Return the bytes of RAM that this process may use: the machine's, or those that its container grants."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    granted = Path("/sys/fs/cgroup/memory.max")
    told = granted.read_text(encoding="utf-8").strip() if granted.exists() else "max"
    return pages if told == "max" else min(pages, int(told))


def resolve_precision(wanted: str, device: torch.device) -> str:
    """Return "float32" or "bfloat16". "auto" is bfloat16 where that is faster."""
    if wanted != "auto":
        return wanted
    measured = measure_bfloat16_speed(device)
    is_faster = has_native_bfloat16(device) if measured is None else measured >= CLEARLY_FASTER
    return "bfloat16" if is_faster else "float32"


CLEARLY_FASTER = 1.25
"""Between what is native, at about 2, and what is emulated, below 1: no noise turns the one into the other."""
TRIES = 5


@cache
def measure_bfloat16_speed(device: torch.device) -> float | None:
    """Return how many times as fast as float32's bfloat16's matrix products are, or None where the flags tell.

    Those of x86 and of GPUs do. Products are of 512 rows, columns and depth: a few milliseconds.
    """
    if device.type == "cuda" or platform.machine().lower() in ("x86_64", "amd64", "i386", "i686"):
        return None
    seconds = []
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.full((512, 512), 0.5, dtype=dtype, device=device)
        taken = []
        for _ in range(1 + TRIES):
            began = time.perf_counter()
            torch.mm(matrix, matrix)
            taken.append(time.perf_counter() - began)
        seconds.append(median(taken[1:]))
    return seconds[0] / seconds[1]


def has_native_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in hardware. Where it does not, it is slower than float32.

    A processor that is told to compute as an older one (`ATEN_CPU_CAPABILITY=avx2`, with `ONEDNN_MAX_CPU_ISA=AVX2`), so
    that a study gives what it gives there, has no more than that one.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX2"):
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def choose_device() -> torch.device:
    """Return the GPU if there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
