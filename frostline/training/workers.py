"""Workers: processes that train a phase's fits side by side, each with its share of the cores.

A step of a small network is hundreds of small kernels, in which a second thread helps little, and threads of one step
wait for each other, longer still where the processor has other work. Fits wait for nobody. On two cores of an EPYC with
AVX2 two fits of one thread each took 0.60 (EfficientNet-Lite0 from stage4 at 72 px) to 0.88 (ResNet18 at 224 px) of the
time of one after the other with two threads.
"""

import copy
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch
from torch import Tensor, nn

from frostline.backbones.audit import audit, check_loaded
from frostline.backbones.freezing import apply_plan
from frostline.backbones.inference import split_batches
from frostline.backbones.precision import compute_deterministically
from frostline.constants import Rates
from frostline.distributed.processes import check_devices, end_with_parent, open_team
from frostline.distributed.team import ALONE, Team
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
    after the other, and so do devices that train each fit together.
    """
    if job.device.type == "cuda" or job.training.devices_per_fit > 1:
        return share_devices(job)
    by_memory = int(SHARE_OF_MEMORY * measure_memory()) // estimate_bytes(job, frozen)
    side_by_side = min(count_all_fits(job, len(job.phases)), max(1, by_memory))
    return replace(job, threads=max(1, torch.get_num_threads() // side_by_side))


def share_devices(job: Job) -> Job:
    """Return the job with as many threads as each of the devices that train a fit together has for itself.

    Raises `InputError` if there are not so many, or a batch has not an image for each.
    """
    size = job.training.devices_per_fit
    if size == 1:
        return job
    if job.training.workers == "local":
        check_devices(size, job.device.type)
    rows = (job.data.list_rows("train", [replicate]) for replicate in job.replicates)
    least = min(len(batch) for its in rows for batch in split_batches(its, job.training.batch_size))
    if size > least:
        must = f"be at most {least}, the images of a batch"
        raise InputError.of("training.devices_per_fit", must, str(size), "A larger training.batch_size has more.")
    return job if job.device.type == "cuda" else replace(job, threads=max(1, torch.get_num_threads() // size))


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
    at_once = -(-job.training.batch_size // job.training.devices_per_fit)
    of_images = 2 * at_once * run_without_data(prefix, suffix, measure)
    return OF_A_PROCESS + 5 * of_tensors + of_images


def count_all_fits(job: Job, phase: int) -> int:
    """Return how many fits the phase has in all replicates."""
    return sum(job.count_fits(phase, replicate) for replicate in job.replicates)


def count_workers(job: Job, frozen: nn.Sequential, phase: int) -> int:
    """Return how many fits of the phase are trained at once."""
    if job.training.devices_per_fit > 1:
        return 1
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
    labels = torch.from_numpy(job.data.labels).to(job.device)
    with compute_in(job.threads), gather_team(job, feed, cells) as team:
        for rates, replicate in cells:
            yield _train(job, feed, labels, rates, replicate, tell, team)


@contextmanager
def compute_in(threads: int) -> Iterator[None]:
    """Let torch compute in so many threads, and in as many as before when it is over."""
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


@contextmanager
def gather_team(job: Job, feed: Feed, cells: Sequence[tuple[Rates, int]], most: int | None = None) -> Iterator[Team]:
    """Yield this process's place among those that train the cells, one after the other, up to so many epochs in all.

    The others train them beside it, and whatever it does with a cell's epochs, it must take all of them.
    """
    size = job.training.devices_per_fit
    given = job, hand_over(feed) if size > 1 else None, feed.phase, feed.pretrained, cells, most
    with open_team(size, job.device.type, _follow, *given) as team:
        yield team


def _follow(
    team: Team,
    device: torch.device,
    job: Job,
    feed: Feed | None,
    phase: int,
    pretrained: dict[str, str],
    cells: Sequence[tuple[Rates, int]],
    most: int | None,
) -> None:
    job = settle_on(device, job)
    feed = feed or make_own_feed(job, phase, pretrained)
    labels = torch.from_numpy(job.data.labels).to(device)
    for rates, replicate in cells:
        for fit in train_cell(job, feed, labels, rates, replicate, team):
            if most is not None and len(fit.history) >= most:
                break


def settle_on(device: torch.device, job: Job) -> Job:
    """Return the job as this process does it on the device; from then on it computes as the job says."""
    keep_freed_memory()
    compute_deterministically(device)
    torch.set_num_threads(job.threads)
    return replace(job, device=device)


def make_own_feed(job: Job, phase: int, pretrained: Mapping[str, str]) -> Feed:
    """Return the feed of a process to which none could be handed, once it is found to be fed by the same tensors.

    A GPU keeps the outputs of its prefix for itself.
    """
    budget = job.training.cache_bytes if job.device.type == "cuda" else 0
    training = job.training.model_copy(update={"cache_bytes": budget})
    feed = make_feed(replace(job, training=training), phase)
    check_loaded(pretrained, feed.pretrained)
    return feed


def _train(
    job: Job,
    feed: Feed,
    labels: Tensor,
    rates: Rates,
    replicate: int,
    tell: Callable[[int], object],
    team: Team = ALONE,
) -> Trained:
    done, most = 0, job.phases[feed.phase - 1].epochs
    for fit in train_cell(job, feed, labels, rates, replicate, team):
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
            self.feed = make_own_feed(self.job, self.phase, self.pretrained)
        return self.feed


_here: list[_Here] = []


def _begin(*opened: Any) -> None:
    end_with_parent()
    here = _Here(*opened)
    settle_on(here.job.device, here.job)
    _here.append(here)


def _train_here(rates: Rates, replicate: int) -> Trained:
    here = _here[0]
    labels = torch.from_numpy(here.job.data.labels).to(here.job.device)
    return _train(here.job, here.get_feed(), labels, rates, replicate, here.told.put)
