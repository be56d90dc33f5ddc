"""A simulated cluster: what its scheduler, its failures and the one disk that all fits hand over to make of a study."""

import heapq
from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Setting:
    """Nodes of so many cores, fits of so many epochs, and what fails and is handed over; times in seconds.

    A node fails once in `between_failures` on average, and is back after `repair`. What a fit came to is
    `handed_bytes` after each epoch, of which the machine that asks keeps `bytes_per_second`.
    """

    nodes: int
    cores: int
    fits: int
    epochs: int
    epoch_seconds: float
    handed_bytes: float
    bytes_per_second: float
    between_failures: float
    repair: float


@dataclass(frozen=True)
class Outcome:
    """When the last fit ended, the least that it could take, and what was lost; `waited` is a share of core time."""

    seconds: float
    least_seconds: float
    failures: int
    lost_epochs: int
    lost_share: float
    waited: float


def simulate(setting: Setting, seed: int = 0) -> Outcome:
    """Return what becomes of the study: each fit is sent to a core that is free, and waits until its epoch is kept."""
    rng = np.random.default_rng(seed)
    waiting = deque([0] * setting.fits)  # the epochs of each that are kept
    free = [(node, core) for node in range(setting.nodes) for core in range(setting.cores)]
    running: dict[tuple[int, int], tuple[int, float]] = {}  # by core: epochs kept, and when the next began
    came: dict[tuple[int, int], int] = {}  # by core: which of its events counts
    up, kept_until = [True] * setting.nodes, 0.0
    events = [(float(rng.exponential(setting.between_failures)), "fails", node, 0, 0) for node in range(setting.nodes)]
    heapq.heapify(events)
    done, failures, lost_epochs, lost_seconds, waited, now = 0, 0, 0, 0.0, 0.0, 0.0
    took = setting.handed_bytes / setting.bytes_per_second

    def begin(core: tuple[int, int], epochs: int, at: float) -> None:
        running[core] = epochs, at
        came[core] = came.get(core, 0) + 1
        heapq.heappush(events, (at + setting.epoch_seconds, "epoch", *core, came[core]))

    while done < setting.fits:
        while waiting and free:
            core = free.pop()
            if up[core[0]]:
                begin(core, waiting.popleft(), now)
        now, what, node, place, number = heapq.heappop(events)
        core = node, place
        if what == "epoch" and core in running and came[core] == number:
            kept_until = max(kept_until, now) + took
            waited += kept_until - now
            came[core] += 1
            heapq.heappush(events, (kept_until, "kept", node, place, came[core]))
        elif what == "kept" and core in running and came[core] == number:
            epochs = running.pop(core)[0] + 1
            if epochs == setting.epochs:
                done += 1
                free.append(core)
            else:
                begin(core, epochs, now)
        elif what == "fails":
            failures, up[node] = failures + 1, False
            heapq.heappush(events, (now + setting.repair, "back", node, 0, 0))
            for each in [core for core in running if core[0] == node]:
                epochs, began = running.pop(each)
                lost_epochs, lost_seconds = lost_epochs + 1, lost_seconds + max(0.0, now - began)
                waiting.append(epochs)
            free = [core for core in free if core[0] != node]
        elif what == "back":
            up[node] = True
            free += [(node, place) for place in range(setting.cores)]
            heapq.heappush(events, (now + float(rng.exponential(setting.between_failures)), "fails", node, 0, 0))
    cores = setting.nodes * setting.cores
    least = -(-setting.fits // cores) * setting.epochs * setting.epoch_seconds
    of_all = now * cores
    return Outcome(now, least, failures, lost_epochs, lost_seconds / of_all, waited / of_all)
