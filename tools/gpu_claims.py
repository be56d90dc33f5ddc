"""What must hold on a GPU: each claim is a function that returns what it found, and fails by `Wrong`.

A claim that this machine cannot try says so by `NotTried`.
"""

import contextlib
import io
import multiprocessing
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from statistics import median

import torch
from torch import Tensor

from benchmarks.machine import measure_product_rate
from frostline.backbones.inference import predict
from frostline.backbones.precision import compute_deterministically
from frostline.files import read_json
from frostline.hardware import has_native_bfloat16, name_processor
from frostline.training.costs import count_work
from frostline.training.grid import build_parts, load_suffix, make_feed, train_cell
from frostline.training.prefix_cache import StoredInputs
from frostline.training.workers import train_fits
from tools.gpu_trials import (
    RATE,
    REPLICATE,
    Bench,
    NotTried,
    Wrong,
    begin,
    fit,
    require_gpu,
    train_run,
)

DEPTHS = ("head", "stage4", "stem")
AT_ONCE = 3
"""Fits on one GPU."""
STEPS = 30
NEAR_LIMIT = 1.3
"""Times the seconds of a step's FLOPs as one matrix product, that a step of a deep plan should take at most."""
NEAR = 0.02
"""Of the largest logit: float32 on a GPU may multiply in TF32, which has 10 bits."""


def must_be_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> str:
    """Return how many tensors are bit for bit the same: all of them, or the claim is wrong."""
    if differing := [name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])]:
        raise Wrong(f"{len(differing)} of {len(ours)} tensors differ, such as {differing[0]}")
    return f"{len(ours)} tensors"


def tells_what_it_is(bench: Bench) -> str:
    """Frostline finds the device and knows whether it has bfloat16."""
    native = "native" if has_native_bfloat16(bench.device) else "no"
    return f"{name_processor(bench.device)}, {native} bfloat16, torch {torch.__version__}"


def agrees_with_the_processor(bench: Bench) -> str:
    """Logits in float32 are the processor's, to the digits that are left."""
    logits = []
    for device in (bench.device, torch.device("cpu")):
        job = replace(bench.make_job("agrees", "head", "float32"), device=device)
        feed = make_feed(job)
        suffix = load_suffix(job, feed, REPLICATE)
        rows = job.data.list_rows("validation", [REPLICATE])[:32]
        logits.append(predict(suffix, feed.cache.inputs, [rows], "float32", device).cpu())
    apart = float((logits[0] - logits[1]).abs().max() / logits[1].abs().max())
    if apart > NEAR:
        raise Wrong(f"they differ by {apart:.2%} of the largest")
    return f"by {apart:.2e} of the largest"


def keeps_outputs_where_it_computes(bench: Bench) -> str:
    """A prefix's outputs are kept on the device, and are those of the prefix that computes anew."""  # noqa: D401 - it is a claim
    kept, live = (make_feed(bench.make_job("kept", cache_bytes=size)).cache for size in (2**40, 0))
    if not isinstance(kept.inputs, StoredInputs):
        raise Wrong(f"they are kept nowhere ({kept.place})")
    places = {str(outputs.device.type) for outputs in kept.inputs.store.outputs}
    if places != {bench.device.type}:
        raise Wrong(f"they lie on {', '.join(places)}")
    rows = bench.make_job("kept").data.list_rows("train", [REPLICATE])[:16]
    for ours, theirs in zip(kept.inputs([rows], 0), live.inputs([rows], 0), strict=True):
        if not isinstance(ours, Tensor) or not isinstance(theirs, Tensor) or not torch.equal(ours, theirs):
            raise Wrong("they differ from those that are computed anew")
    return f"{kept.bytes / 1e6:,.1f} MB"


def repeats_itself(bench: Bench) -> str:
    """The same fit has the same bytes a second time, however deep."""  # noqa: D401 - it is a claim
    return ", ".join(
        f"{depth}: {must_be_same(*(fit(bench.make_job(f'{name}-{depth}', depth)) for name in 'ab'))}"
        for depth in DEPTHS
    )


def goes_on_where_it_was_killed(bench: Bench) -> str:
    """A fit that ended after an epoch comes out as one that did not."""  # noqa: D401 - it is a claim
    job, whole = bench.make_job("killed"), bench.make_job("whole")
    fit(job, 1)
    return must_be_same(fit(job), fit(whole))


def freezes(bench: Bench) -> str:
    """Nothing that is frozen moves while the rest learns."""
    found = []
    for depth in DEPTHS:
        job = bench.make_job("frozen", depth)
        feed, labels = make_feed(job), torch.from_numpy(job.data.labels).to(job.device)
        *_, ended = train_cell(job, feed, labels, (RATE,), REPLICATE)  # whose end is the audit
        fresh = dict(load_suffix(job, feed, REPLICATE).named_parameters())
        learning = {name: each for name, each in ended.suffix.named_parameters() if each.requires_grad}
        still = [name for name, each in learning.items() if torch.equal(each, fresh[name])]
        if still or (depth != DEPTHS[-1] and not ended.audited):
            raise Wrong(f"{depth}: {len(still)} tensors learned nothing, {ended.audited} were audited")
        found.append(f"{depth}: {ended.audited} stood still, {len(learning)} learned")
    return ", ".join(found)


def learns_alike_in_bfloat16(bench: Bench) -> str:
    """In bfloat16 the first losses are those of float32, to its digits."""
    if not has_native_bfloat16(bench.device):
        raise NotTried("it has no bfloat16")
    losses = []
    for precision in ("float32", "bfloat16"):
        _, step = begin(bench.make_job(precision, "stem", precision))
        losses.append(float(step()))
    if abs(losses[0] - losses[1]) > 0.05 * losses[0]:
        raise Wrong(f"{losses[0]:.4f} and {losses[1]:.4f}")
    return f"{losses[0]:.4f} and {losses[1]:.4f}"


def waits_for_nothing_between_steps(bench: Bench) -> str:
    """However many batches an epoch has, the processor reads its figures at its end alone."""
    require_gpu(bench, "a processor waits for nobody")
    waits = []
    for batch_size in (32, 8):
        job = bench.make_job(f"waits-{batch_size}", batch_size=batch_size)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                fit(job, 1)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        waits.append(sum("synchronizing" in str(each.message) for each in told))
    if waits[1] > waits[0] + 2:
        raise Wrong(f"it waited {waits[0]} times, and {waits[1]} times with four times the batches")
    return f"{waits[0]} and {waits[1]} waits, with four times the batches"


def tells_its_peak(bench: Bench) -> str:
    """A deeper plan needs more of the GPU's memory."""  # noqa: D401 - it is a claim
    require_gpu(bench, "a process's memory never goes down")
    peaks = []
    for depth in DEPTHS:
        _, step = begin(bench.make_job("peak", depth))
        torch.cuda.reset_peak_memory_stats()
        step()
        peaks.append(torch.cuda.max_memory_allocated())
    told = ", ".join(f"{depth} {peak / 1e6:,.0f} MB" for depth, peak in zip(DEPTHS, peaks, strict=True))
    if peaks != sorted(peaks):
        raise Wrong(told)
    return told


def trains_several_at_once(bench: Bench) -> str:
    """Fits that share the GPU have the bytes of those that have it alone."""
    alone = [bench.make_job(f"alone-{number}") for number in range(AT_ONCE)]
    began = time.perf_counter()
    expected = [fit(job) for job in alone]
    in_turn = time.perf_counter() - began
    beside = [replace(job, scratch=bench.folder / f"beside-{number}") for number, job in enumerate(alone)]
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_settle, [bench.device] * AT_ONCE))  # processes and kernels are there before it begins
        began = time.perf_counter()
        found = list(pool.map(fit, beside))
        at_once = time.perf_counter() - began
    for ours, theirs in zip(found, expected, strict=True):
        must_be_same(ours, theirs)
    return f"{AT_ONCE} at once took {at_once / in_turn:.2f} of the time of one after the other"


def _settle(device: torch.device) -> None:
    compute_deterministically(device)
    torch.zeros(1, device=device)


def steps_near_the_limit(bench: Bench) -> str:
    """A step of a deep plan takes little more than its FLOPs as one matrix product would."""  # noqa: D401 - it is a claim
    found, near = [], True
    for depth in DEPTHS[1:]:
        job = bench.make_job("limit", depth)
        _, step = begin(job)
        taken = []
        for _ in range(STEPS):
            began = time.perf_counter()
            step()
            if bench.device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - began)
        flops = count_work(*build_parts(job, REPLICATE), job.image_px).train(0, job.training.batch_size)
        times = median(taken[STEPS // 3 :]) * measure_product_rate(getattr(torch, job.precision)) / flops
        near = near and times <= NEAR_LIMIT
        found.append(f"{depth}: {times:.2f} times in {job.precision}")
    told = ", ".join(found)
    if bench.device.type == "cuda" and not near:
        raise Wrong(f"{told}, of {NEAR_LIMIT} times at most")
    return told


def trains_a_fit_on_two(bench: Bench) -> str:
    """Two devices that share every batch come to the losses of one."""
    if bench.device.type == "cuda" and torch.cuda.device_count() < 2:
        raise NotTried("there is one GPU")
    losses = []
    for devices in (1, 2):
        job = bench.make_job(f"on-{devices}", precision="float32", devices_per_fit=devices)
        (trained,) = train_fits(job, make_feed(job), [((RATE,), REPLICATE)], 1, lambda _: None)
        losses.append(trained.history[0].train_loss)
    if abs(losses[0] - losses[1]) > NEAR * losses[0]:
        raise Wrong(f"{losses[0]:.4f} and {losses[1]:.4f}")
    return f"{losses[0]:.4f} and {losses[1]:.4f}"


def leaves_a_run_that_is_scored(bench: Bench) -> str:
    """The stages that train and score leave a run, which says what it was trained on."""  # noqa: D401 - it is a claim
    run = train_run(bench, "local")
    told = read_json(run / "run.json")
    if not told["device"].startswith(bench.device.type):
        raise Wrong(f"it was trained on {told['device']}")
    from stages import evaluate

    where = {"params": bench.folder / "params.yaml", "prepared": bench.folder / "prepared"}
    with contextlib.redirect_stdout(io.StringIO()):
        evaluate.main(**where, run=run, out=bench.folder / "scores")
    return f"{told['device']}, {told['precision']}, {told['audited_tensors']} tensors audited"


def has_rays_fits_share_it(bench: Bench) -> str:
    """Ray's fits share the device by its memory, and have the bytes of those without Ray."""
    if find_spec("ray") is None:
        raise NotTried("Ray is not installed")
    here, there = (train_run(bench, workers) for workers in ("local", "ray"))
    files = sorted(path.name for path in here.glob("*.safetensors"))
    differing = [name for name in files if (here / name).read_bytes() != (there / name).read_bytes()]
    if differing or not files:
        raise Wrong(f"{len(differing)} of {len(files)} replicates differ")
    return f"{len(files)} replicate{'' if len(files) == 1 else 's'}"


CLAIMS: list[Callable[[Bench], str]] = [
    tells_what_it_is,
    agrees_with_the_processor,
    keeps_outputs_where_it_computes,
    repeats_itself,
    goes_on_where_it_was_killed,
    freezes,
    learns_alike_in_bfloat16,
    waits_for_nothing_between_steps,
    tells_its_peak,
    trains_several_at_once,
    steps_near_the_limit,
    trains_a_fit_on_two,
    leaves_a_run_that_is_scored,
    has_rays_fits_share_it,
]
"""In the order in which they are tried."""
