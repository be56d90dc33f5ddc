"""What the hardware is asked."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from frostline import hardware
from frostline.hardware import measure_bfloat16_speed, measure_memory, resolve_precision
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


@pytest.fixture
def _other_processor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    measure_bfloat16_speed.cache_clear()
    yield
    measure_bfloat16_speed.cache_clear()


CPU = torch.device("cpu")


@pytest.mark.usefixtures("_other_processor")
def test_where_flags_do_not_tell_products_are_measured_once() -> None:
    speed = measure_bfloat16_speed(CPU)
    assert speed is not None
    assert 0.01 < speed < 100
    assert measure_bfloat16_speed(CPU) == speed
    assert resolve_precision("auto", CPU) == ("bfloat16" if speed >= hardware.CLEARLY_FASTER else "float32")


@pytest.mark.parametrize(("speed", "expected"), [(2.1, "bfloat16"), (1.1, "float32"), (0.3, "float32")])
def test_auto_is_bfloat16_where_it_was_measured_to_be_clearly_faster(
    speed: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "measure_bfloat16_speed", lambda _: speed)
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("float32", CPU) == "float32"


def test_where_flags_tell_nothing_is_measured() -> None:
    assert (measure_bfloat16_speed(CPU) is None) == (platform.machine() in ("x86_64", "AMD64"))
    assert measure_bfloat16_speed(torch.device("cuda")) is None


@pytest.mark.parametrize("capability", ["AVX2", "DEFAULT"])
def test_a_processor_that_computes_as_an_older_one_has_no_bfloat16(
    capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a study gives, on a newer processor that is told so, what it gives on the older one."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert hardware.has_native_bfloat16(CPU)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert not hardware.has_native_bfloat16(CPU)
