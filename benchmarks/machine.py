"""What the machine can do at best, and what it is called."""

import platform
import re
import time
from importlib.metadata import PackageNotFoundError, version
from statistics import median

import torch
from torch import nn

from frostline.hardware import choose_device, has_native_bfloat16, name_processor

DEVICE = choose_device()
"""What every script computes on."""
IS_GPU = DEVICE.type == "cuda"

SIDE = 8192 if IS_GPU else 2048
"""Of the square matrices: large enough that a larger product is no faster."""

PRODUCTS = 7
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PACKAGES = ("torch", "torchvision", "lightning", "timm")


def measure_product_rates() -> dict[str, float]:
    """Return by precision how many FLOPs a second matrix products reach, as the median of several.

    Where bfloat16 is emulated nobody computes in it, and its products would take minutes.
    """
    native = PRECISIONS if has_native_bfloat16(DEVICE) else {"float32": torch.float32}
    return {name: measure_product_rate(dtype) for name, dtype in native.items()}


def measure_product_rate(dtype: torch.dtype) -> float:
    """Return the FLOPs a second of products of two square matrices."""
    drawn = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIDE, SIDE, generator=drawn).to(DEVICE, dtype) for _ in range(2))
    torch.mm(left, right)
    wait()
    seconds = []
    for _ in range(PRODUCTS):
        began = time.perf_counter()
        torch.mm(left, right)
        wait()
        seconds.append(time.perf_counter() - began)
    return 2 * SIDE**3 / median(seconds)


def wait() -> None:
    """Return when the device has done what it was told: a GPU is told ahead."""
    if IS_GPU:
        torch.cuda.synchronize(DEVICE)


def place(model: nn.Module) -> nn.Module:
    """Return the model where it computes: on a GPU in channels_last, as who knows GPUs would have it."""
    return model.to(DEVICE).to(memory_format=torch.channels_last) if IS_GPU else model


def describe_machine() -> dict[str, object]:
    """Return the processor, the threads that torch uses, and the versions that matter."""
    return {
        "processor": name_processor(DEVICE),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := find_version(name))},
    }


def name_kind() -> str:
    """Return what kind of processor this is to torch, such as "avx2" or "avx512-bf16", or the name of the GPU.

    Figures of two differ.
    """
    if IS_GPU:
        return re.sub(r"[^a-z0-9]+", "-", name_processor(DEVICE).lower()).strip("-")
    kind = torch.backends.cpu.get_cpu_capability().lower()
    return f"{kind}-bf16" if has_native_bfloat16(DEVICE) else kind


def find_version(package: str) -> str:
    """Return the package's version, or nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
