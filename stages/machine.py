"""The machine: what computes, by its name."""

import platform
import re
from pathlib import Path

import torch


def processor(device: torch.device) -> str:
    """Return the name of the device's processor as the system tells it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    told = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", told.read_text(), re.MULTILINE) if told.exists() else []
    return names[0] if names else platform.processor() or platform.machine()
