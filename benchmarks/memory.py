"""Peak memory of one script on one plan. It takes a process of its own: a peak never goes down again."""

import subprocess
import sys

from benchmarks.scripts import get_script
from benchmarks.task import Task
from frostline.hardware import measure_peak_memory

STEPS = 4
"""Batches of an epoch, of training and of validation: from the second on memory no longer grows."""


def measure_script_memory(script: str, task: Task) -> int:
    """Return the bytes that a fresh process held at most, its loaders' workers not counted."""
    command = [sys.executable, "-m", "benchmarks.memory", script, task.write_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {script} failed:\n{done.stderr}")
    return int(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    get_script(sys.argv[1])(Task.read_json(sys.argv[2]))
    print(measure_peak_memory())
