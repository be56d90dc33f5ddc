"""What the hardware is asked."""

import os
import subprocess
import sys

import pytest

from frostline.hardware import measure_memory
from tests.project import ROOT

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")


@linux
@pytest.mark.parametrize(("call", "least", "most"), [("", -0.1, 0.1), ("keep_freed_memory()", 0.9, 1.1)])
def test_memory_that_is_freed_is_kept_once_that_is_asked(call: str, least: float, most: float) -> None:
    code = f"""
import torch
from frostline.hardware import keep_freed_memory
def held():
    told = dict(line.split(":") for line in open("/proc/self/status"))
    return 1024 * int(told["VmRSS"].split()[0])
{call}
before = held()
tensor = torch.zeros(100_000_000, dtype=torch.uint8)
tensor += 1
del tensor
print((held() - before) / 100_000_000)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert least < float(done.stdout) < most


@linux
def test_memory_is_at_most_what_the_machine_has() -> None:
    assert 10**8 < measure_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
