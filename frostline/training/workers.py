"""Workers: processes that train a phase's fits side by side, each with its share of the cores.

A step of a small network is hundreds of small kernels, in which a second thread helps little, and threads of one step
wait for each other, longer still where the processor has other work. Fits wait for nobody. On two cores of an EPYC with
AVX2 two fits of one thread each took 0.60 (EfficientNet-Lite0 from stage4 at 72 px) to 0.88 (ResNet18 at 224 px) of the
time of one after the other with two threads.
"""

import copy
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch
from torch import Tensor, nn

from frostline.backbones.audit import audit, check_loaded
from frostline.backbones.freezing import apply_plan
from frostline.backbones.precision import compute_deterministically
from frostline.constants import Rates
from frostline.errors import InputError
from frostline.hardware import keep_freed_memory, measure_memory
from frostline.training.checkpoints import Trained, read_trained
from frostline.training.costs import measure_saved_bytes, run_without_data
from frostline.training.grid import Feed, cut_for_phase, hand_over, make_feed, train_cell
from frostline.training.job import Job, locate_checkpoint
from frostline.training.results import count_phases

WORTH_A_PROCESS = 3e11
"""FLOPs of a phase's fits, all together, from which on it pays to start processes: they take seconds to start."""
SHARE_OF_MEMORY = 0.7
"""Of the machine's, for all workers together."""
OF_A_PROCESS = 500_000_000
"""Bytes that a process with torch holds before it trains anything."""
TICK = 0.2
"""Seconds between two looks at what the workers tell."""


def share_cores(job: Job, frozen: nn.Sequential) -> Job:
    """Return the job with as many threads for each fit as let all cores work, as far as memory takes so many fits.

    That depends on what is asked and on the machine alone, so that a run computes the same again. A GPU takes one fit
    after the other.
    """
    if job.device.type == "cuda":
        return job
    by_memory = int(SHARE_OF_MEMORY * measure_memory()) // estimate_bytes(job, frozen)
    side_by_side = min(count_all_fits(job, len(job.phases)), max(1, by_memory))
    return replace(job, threads=max(1, torch.get_num_threads() // side_by_side))


def estimate_bytes(job: Job, frozen: nn.Sequential) -> int:
    """Return about how many bytes a process takes that trains a fit, from a backbone without values."""
    backbone, side = copy.deepcopy(frozen).to("meta"), job.data.images.shape[1]
    apply_plan(backbone, job.plan.model_copy(update={"phases": job.phases[:1]}))
    prefix, suffix = cut_for_phase(job, backbone, 1)

    def measure(prefix: nn.Sequential, suffix: nn.Sequential, device: str) -> int:
        def step(images: int) -> None:
            features = prefix.eval()(torch.zeros(images, 3, side, side, device=device))
            suffix.train()(features).sum().backward()

        return measure_saved_bytes(step)

    of_tensors = sum(tensor.nbytes for tensor in suffix.parameters() if tensor.requires_grad)
    of_images = 2 * job.training.batch_size * run_without_data(prefix, suffix, measure)
    return OF_A_PROCESS + 5 * of_tensors + of_images


def count_all_fits(job: Job, phase: int) -> int:
    """Return how many fits the phase has in all replicates."""
    return sum(job.count_fits(phase, replicate) for replicate in job.replicates)


def count_workers(job: Job, frozen: nn.Sequential, phase: int) -> int:
    """Return how many fits of the phase are trained at once."""
    shown = sum(
        len(job.data.list_rows("train", [replicate])) * job.count_fits(phase, replicate) for replicate in job.replicates
    )
    worth = count_phases(job, frozen)[phase - 1].training * shown * job.phases[phase - 1].epochs
    at_most = min(count_all_fits(job, phase), max(1, torch.get_num_threads() // job.threads))
    return at_most if worth >= WORTH_A_PROCESS else 1


def train_fits(
    job: Job, feed: Feed, cells: Sequence[tuple[Rates, int]], workers: int, tell: Callable[[int], object]
) -> Iterator[Trained]:
    """Train the cells, so many at once, and yield each when it has ended. `tell` hears of epochs that have.

    One at a time is trained here. Raises the `InputError` that a worker met.
    """
    if workers > 1:
        yield from _train_beside(job, feed, cells, workers, tell)
        return
    labels, usual = torch.from_numpy(job.data.labels).to(job.device), torch.get_num_threads()
    torch.set_num_threads(job.threads)
    try:
        for rates, replicate in cells:
            yield _train(job, feed, labels, rates, replicate, tell)
    finally:
        torch.set_num_threads(usual)


def _train(
    job: Job, feed: Feed, labels: Tensor, rates: Rates, replicate: int, tell: Callable[[int], object]
) -> Trained:
    done, most = 0, job.phases[feed.phase - 1].epochs
    for fit in train_cell(job, feed, labels, rates, replicate):
        tell(len(fit.of_phase) - done)
        done = len(fit.of_phase)
    tell(most - done)
    trained = read_trained(locate_checkpoint(job, rates, replicate))
    if trained is None:
        raise InputError.of(str(job.scratch), "keep what is trained there", "a fit that is gone", "Run it again.")
    return trained


def _train_beside(
    job: Job, feed: Feed, cells: Sequence[tuple[Rates, int]], workers: int, tell: Callable[[int], object]
) -> Iterator[Trained]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once, by the process from which workers are forked
    told = context.SimpleQueue()
    with ProcessPoolExecutor(
        workers, context, _begin, (job, hand_over(feed), feed.phase, feed.pretrained, told)
    ) as pool:
        try:
            waiting = {pool.submit(_train_here, rates, replicate) for rates, replicate in cells}
            while waiting:
                ended, waiting = wait(waiting, timeout=TICK, return_when=FIRST_COMPLETED)
                while not told.empty():
                    tell(told.get())
                for answer in ended:
                    yield answer.result()
        except BaseException as error:
            for process in multiprocessing.active_children():
                process.terminate()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise InputError.of("memory", "hold the fits that are trained at once", ENDED, MEND) from None
            raise
    audit(feed.prefix, feed.before)


ENDED = "a process that the system ended"
MEND = "No epoch is lost: OMP_NUM_THREADS=1 goes on with one fit at a time; a smaller training.batch_size begins anew."


@dataclass
class _Here:
    """In a worker's process: what it trains, and the feed once it is there."""

    job: Job
    feed: Feed | None
    phase: int
    pretrained: dict[str, str]
    told: SimpleQueue[int]

    def get_feed(self) -> Feed:
        """Return the feed; where nothing is kept of the prefix, it is made when it is needed first."""
        if self.feed is None:
            uncached = self.job.training.model_copy(update={"cache_bytes": 0})
            self.feed = make_feed(replace(self.job, training=uncached), self.phase)
            check_loaded(self.pretrained, self.feed.pretrained)
        return self.feed


_here: list[_Here] = []


def _begin(*opened: Any) -> None:
    end_with_parent()
    here = _Here(*opened)
    keep_freed_memory()
    compute_deterministically(here.job.device)
    torch.set_num_threads(here.job.threads)
    _here.append(here)


def _train_here(rates: Rates, replicate: int) -> Trained:
    here = _here[0]
    labels = torch.from_numpy(here.job.data.labels).to(here.job.device)
    return _train(here.job, here.get_feed(), labels, rates, replicate, here.told.put)


def end_with_parent() -> None:
    """Let this process end when the one that started it is interrupted, or gone."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
