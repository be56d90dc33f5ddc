"""Seconds of every script on every plan, measured in turn, beside the least that this machine could need."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from statistics import median

from benchmarks.machine import measure_product_rates
from benchmarks.scripts import get_script
from benchmarks.task import MANY, Outcome, Task
from benchmarks.this_project import choose_precision, count_images, cut_parts
from frostline.constants import PARTS
from frostline.training.costs import Work, count_work


@dataclass
class Measured:
    """What was measured of one plan: each script's outcomes, a round each, and what the plan must compute."""

    plan: str
    work: Work
    images: tuple[int, int]
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    step_seconds: float = nan

    def get_epoch_seconds(self, script: str) -> float:
        """Return the script's seconds of one epoch, the first of a training left out."""
        return median(seconds for outcome in self.outcomes[script] for seconds in outcome.epoch_seconds[1:])

    def get_first_seconds(self, script: str) -> float:
        """Return the script's seconds of a training's first epoch, which also starts kernels and the optimizer."""
        return median(outcome.epoch_seconds[0] for outcome in self.outcomes[script])

    def get_start_seconds(self, script: str) -> float:
        """Return the script's seconds before, between and after epochs: the prefix is among them."""
        return median(outcome.start_seconds for outcome in self.outcomes[script])

    def get_prefix_seconds(self, script: str) -> float:
        """Return the script's seconds in the prefix, of those at the start."""
        return median(outcome.prefix_seconds for outcome in self.outcomes[script])

    def extrapolate_seconds(self, script: str) -> float:
        """Return the seconds of `MANY` epochs, extrapolated from those measured."""
        return (
            self.get_start_seconds(script)
            + self.get_first_seconds(script)
            + (MANY - 1) * self.get_epoch_seconds(script)
        )

    def count_flops(self, epochs: int) -> int:
        """Return the FLOPs that so many epochs cannot do without, the prefix once."""
        return self.work.count_once(*self.images) + epochs * self.work.count_epoch(*self.images)


def take_turns(scripts: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Yield (round, script), the scripts forwards and backwards by turns, so that no place in line is favoured."""
    for number in range(rounds):
        for script in scripts if number % 2 == 0 else reversed(scripts):
            yield number, script


def measure(tasks: Sequence[Task], scripts: Sequence[str], rounds: int) -> Iterator[Measured]:
    """Yield each task's measurement. Every round trains from a fresh start."""
    for task in tasks:
        measured = Measured(task.plan, count_work(*cut_parts(task), task.image_px), count_images(task))
        for number, script in take_turns(scripts, rounds):
            outcome = get_script(script)(task)
            measured.outcomes.setdefault(script, []).append(outcome)
            epochs = ", ".join(f"{seconds:.2f}" for seconds in outcome.epoch_seconds)
            spent = f"epochs {epochs} s, start {outcome.start_seconds:.2f} s"
            print(f"{task.plan}, round {number + 1}, {script}: {spent}", flush=True)
        yield measured


def warm_up(tasks: Sequence[Task], scripts: Sequence[str]) -> None:
    """Run two batches of the deepest plan: kernels are compiled and modules imported when they are first needed.

    What other plans run is a part of that.
    """
    deepest = min(tasks, key=lambda task: PARTS.index(task.plan))
    for script in scripts:
        get_script(script)(replace(deepest, steps=2, fits=1))


@dataclass
class Rates:
    """Rates of matrix products, by precision, as often as they were taken; the limit is at the project's precision."""

    taken: list[dict[str, float]] = field(default_factory=list)

    def take(self) -> None:
        """Measure once more."""
        self.taken.append(measure_product_rates())

    def get_rate(self, name: str) -> float:
        """Return the median of the rates taken at a precision."""
        return median(rates[name] for rates in self.taken)

    def limit_seconds(self, flops: float) -> float:
        """Return the seconds that so many FLOPs would take if all were matrix products in one go."""
        return flops / self.get_rate(choose_precision())
