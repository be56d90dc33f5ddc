"""Kept outputs are the live ones bit for bit, lie where they fit, and leave no trace."""

import itertools
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from frostline.backbones.cuts import ARCHITECTURES
from frostline.backbones.freezing import apply_plan, cut_at_boundary
from frostline.backbones.inference import Images, Inputs, LiveInputs, PrefixedInputs, split_batches
from frostline.backbones.registry import build_backbone
from frostline.constants import BACKBONES
from frostline.data.augmentation import Augmenter
from frostline.data.images import Rows
from frostline.params import Plan
from frostline.training.grid import make_feed
from frostline.training.prefix_cache import cache_inputs, choose_place
from tests import toys
from tests.project import ROOT
from tests.toys import CPU, assert_same, differing, plan, timeless, train, train_whole, training

BUDGETS = {"memory": 2_000_000_000, "scratch": 1, "off": 0}
"""A `training.cache_bytes` that leads to each place, for outputs that are neither of one byte nor of terabytes."""

linux = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into Linux's /proc")
kept_places = pytest.mark.parametrize("place", ["memory", "scratch"])


def count_up(batches: Sequence[Rows], view: int | None) -> Iterator[Tensor]:
    """Yield inputs by which a row can be told: a hundred times the view, plus the row."""
    for rows in batches:
        yield torch.from_numpy(rows).float().view(-1, 1) + 100.0 * (view or 0)


def counted(place: str, scratch: Path, **wanted: list[int]) -> Inputs:
    """Return the kept inputs of `count_up`: these rows of these views ("plain" is none)."""
    rows = {None if view == "plain" else int(view[1:]): np.array(rows) for view, rows in wanted.items()}
    cache = cache_inputs(count_up, rows, BUDGETS[place], scratch, CPU)
    assert cache.place == place
    return cache.inputs


# --- What is kept is what came ----------------------------------------------------------------------------------


@kept_places
def test_kept_rows_come_batch_by_batch_in_the_order_in_which_they_are_asked_for(place: str, tmp_path: Path) -> None:
    inputs = counted(place, tmp_path, plain=[0, 1, 2], v0=[1, 3, 6], v2=[1, 3, 6])
    batches = [batch.flatten().tolist() for batch in inputs([np.array([6, 1, 6, 3]), np.array([3])], 2)]
    assert batches == [[206.0, 201.0, 206.0, 203.0], [203.0]]
    assert [batch.flatten().tolist() for batch in inputs([np.array([2, 0])], None)] == [[2.0, 0.0]]


@kept_places
@pytest.mark.parametrize("row", [0, 2, 7])
def test_a_row_that_is_not_kept_is_refused(row: int, place: str, tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        list(counted(place, tmp_path, v0=[1, 3, 6])([np.array([1, row])], 0))


@kept_places
def test_a_view_that_is_not_kept_is_refused(place: str, tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        list(counted(place, tmp_path, v0=[1, 3, 6])([np.array([1, 3])], 1))


@kept_places
def test_who_writes_into_what_they_were_given_does_not_change_what_is_kept(place: str, tmp_path: Path) -> None:
    inputs = counted(place, tmp_path, v0=[1, 3])
    for _ in range(2):
        (batch,) = inputs([np.array([1, 3])], 0)
        assert batch.flatten().tolist() == [1.0, 3.0]
        batch.zero_()


LAYOUTS = {
    "N x C x H x W in channels_last": lambda count: torch.rand(count, 5, 3, 2).to(memory_format=torch.channels_last),
    "N x C x H x W": lambda count: torch.rand(count, 5, 3, 2),
    "one pixel in channels_last": lambda count: torch.rand(count, 5, 1, 1).to(memory_format=torch.channels_last),
    "N x H x W x C": lambda count: torch.rand(count, 3, 2, 5),
    "tokens": lambda count: torch.rand(count, 4, 5),
    "vectors": lambda count: torch.rand(count, 5),
    "numbers": lambda count: torch.rand(count),
}


@kept_places
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_and_type_is_kept_as_it_came(layout: str, dtype: torch.dtype, place: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    drawn = LAYOUTS[layout](20).to(dtype)

    def source(batches: Sequence[Rows], _view: int | None) -> Iterator[Tensor]:
        for rows in batches:
            yield drawn[torch.from_numpy(rows)]

    cache = cache_inputs(source, {0: np.arange(20)}, BUDGETS[place], tmp_path, CPU)
    batches = split_batches(np.random.default_rng(0).permutation(20), 7)
    assert (cache.place, cache.bytes) == (place, drawn.nbytes)
    for kept, live in zip(cache.inputs(batches, 0), source(batches, 0), strict=True):
        assert (kept.dtype, kept.shape, kept.stride()) == (live.dtype, live.shape, live.stride())
        assert torch.equal(kept, live)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "vit_b_16" else ()) for name in (*ARCHITECTURES, "vit")],
)
def test_what_each_architecture_hands_over_at_its_boundaries_is_kept_as_it_came(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "vit", toys.small_vision_transformer())
    side = max(32, BACKBONES[name][0]) if name in BACKBONES else 32
    backbone = build_backbone(name, "none", 2).to(memory_format=torch.channels_last)
    live = LiveInputs(
        Images.hold(toys.pictures(side)[:20], CPU), name, Augmenter.of(toys.prepared().ids, toys.FLIPPED, 0)
    )
    batches = split_batches(np.random.default_rng(0).permutation(20), 7)
    for first, precision in itertools.product(("stage1", "stage3", "head"), ("float32", "bfloat16")):
        apply_plan(backbone, plan(from_=first))
        prefixed = PrefixedInputs(cut_at_boundary(backbone)[0], live, side, precision, CPU)
        expected = list(prefixed(batches, 1))
        for place in ("memory", "scratch"):
            cache = cache_inputs(prefixed, {1: np.arange(20)}, BUDGETS[place], tmp_path, CPU)
            assert cache.place == place
            for kept, fresh in zip(cache.inputs(batches, 1), expected, strict=True):
                assert (kept.dtype, kept.stride()) == (fresh.dtype, fresh.stride()), (first, precision)
                assert torch.equal(kept, fresh), (first, precision)


# --- A fit ends the same ----------------------------------------------------------------------------------------


@pytest.fixture
def asked_plan(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Plan]:
    """Return a backbone and a plan of it with real, or at least not trivial, weights."""
    name, first = request.param
    monkeypatch.setitem(ARCHITECTURES, "vit", toys.small_vision_transformer())
    weights = toys.resnet18_weights(tmp_path) if name == "resnet18" else "pretrained"
    return name, plan(from_=first, weights=weights)


def fit_in_each_place(name: str, asked: Plan, folder: Path, **changes: object) -> dict[str, toys.Fit]:
    """Return the fit of the first cell with its prefix's outputs kept in memory, in scratch, and not at all."""
    fits = {}
    for place, cache_bytes in BUDGETS.items():
        job = toys.job(name, asked, folder / place, training(cache_bytes=cache_bytes, **changes))
        feed = make_feed(job)
        assert feed.cache.place == place
        fits[place] = train(job, feed)
    return fits


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(
    "asked_plan",
    [
        *(("efficientnet_lite0", "head"), ("efficientnet_lite0", "stage4")),
        *(("resnet18", "head"), ("resnet18", "stage4.1")),
        *(("vit", "head"), ("vit", "stage3")),
    ],
    indirect=True,
    ids="-".join,
)
@pytest.mark.parametrize("changes", [{"views": 1, "batch_size": 24}, {"views": 4, "batch_size": 17, "epochs": 5}])
def test_weights_and_history_are_those_of_training_the_whole_backbone_wherever_the_prefix_is_kept(
    asked_plan: tuple[str, Plan], changes: dict[str, int], tmp_path: Path
) -> None:
    fits = fit_in_each_place(*asked_plan, tmp_path, **changes)
    assert_same(fits["scratch"], fits["memory"])
    assert_same(fits["off"], fits["memory"])
    whole = train_whole(toys.job(*asked_plan, tmp_path, training(**changes)))
    assert timeless(whole) == timeless(fits["memory"])
    learned = fits["memory"].suffix.state_dict()
    ends = {name: tensor for name, tensor in whole.suffix.state_dict().items() if name in learned}
    assert differing(ends, learned) == set()


@pytest.mark.parametrize(
    "asked_plan", [("efficientnet_lite0", "head"), ("resnet18", "stage4.1"), ("vit", "stage3")], indirect=True,
    ids="-".join,
)  # fmt: skip
def test_weights_and_history_are_the_same_wherever_the_prefix_is_kept_even_in_small_batches(
    asked_plan: tuple[str, Plan], tmp_path: Path
) -> None:
    fits = fit_in_each_place(*asked_plan, tmp_path, batch_size=7, views=2)
    assert_same(fits["scratch"], fits["memory"])
    assert_same(fits["off"], fits["memory"])


@pytest.mark.parametrize(
    "changed",
    [
        {"crop": "padding", "policy": "randaugment"},
        {"crop": "resized", "flips": "both", "policy": "trivialaugment", "colour": 0.4},
    ],
)
@pytest.mark.parametrize("asked_plan", [("efficientnet_lite0", "stage4")], indirect=True, ids="-".join)
def test_cropped_and_recoloured_views_too_are_those_of_training_the_whole_backbone_wherever_the_prefix_is_kept(
    asked_plan: tuple[str, Plan], changed: dict[str, object], tmp_path: Path
) -> None:
    changes = {"augmentation": toys.AS_THEY_ARE.model_copy(update=changed), "views": 3}
    fits = fit_in_each_place(*asked_plan, tmp_path, **changes)
    assert_same(fits["scratch"], fits["memory"])
    assert_same(fits["off"], fits["memory"])
    whole = train_whole(toys.job(*asked_plan, tmp_path, training(**changes)))
    assert timeless(whole) == timeless(fits["memory"])
    flipped = fit_in_each_place(*asked_plan, tmp_path / "flipped", views=3)
    assert timeless(flipped["memory"]) != timeless(whole)


@pytest.mark.slow
def test_the_same_holds_for_a_real_vision_transformer_at_224_px(tmp_path: Path) -> None:
    torch.manual_seed(0)
    toys.save_file(ARCHITECTURES["vit_b_16"].original().state_dict(), tmp_path / "vit.safetensors")
    asked = plan(from_="stage4.2", weights=str(tmp_path / "vit.safetensors"))
    fits = {}
    for place, cache_bytes in BUDGETS.items():
        job = toys.job("vit_b_16", asked, tmp_path / place, training(cache_bytes=cache_bytes, epochs=2), side=224)
        fits[place] = train(job, make_feed(job))
    assert_same(fits["scratch"], fits["memory"])
    assert_same(fits["off"], fits["memory"])
    whole = train_whole(job)
    assert timeless(whole) == timeless(fits["memory"])


# --- Where it is kept -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needed", "budget", "place"),
    [(100, 100, "memory"), (100, 1_000, "memory"), (101, 100, "scratch"), (100, 1, "scratch"), (1, 0, "off")],
)
def test_what_the_budget_holds_is_kept_in_memory_the_rest_in_scratch_and_a_budget_of_0_keeps_nothing(
    needed: int, budget: int, place: str, tmp_path: Path
) -> None:
    assert choose_place(needed, budget, tmp_path / "new") == place


def test_scratch_takes_at_most_half_of_the_free_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_place(shutil.disk_usage(tmp_path).total, 1, tmp_path) == "off"
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1_000, 800, 200))
    assert [choose_place(needed, 1, tmp_path) for needed in (99, 100, 101)] == ["scratch", "scratch", "off"]


def test_what_is_kept_nowhere_is_computed_each_time(tmp_path: Path) -> None:
    cache = cache_inputs(count_up, {0: np.arange(5)}, 0, tmp_path, CPU)
    assert cache.inputs is count_up
    assert (cache.place, cache.bytes) == ("off", 0)


@kept_places
def test_the_bytes_of_a_cache_are_those_of_its_numbers(place: str, tmp_path: Path) -> None:
    cache = cache_inputs(count_up, {None: np.arange(3), 0: np.arange(5)}, BUDGETS[place], tmp_path, CPU)
    assert (cache.place, cache.bytes) == (place, (3 + 5) * 4)


def in_a_process(folder: Path, code: str, *, ends: bool = True) -> subprocess.Popen[str]:
    """Run code that may use `keep(rows, numbers)`: so many float32 numbers for each row, kept in `folder`."""
    begun = f"""
import resource, sys, time
from pathlib import Path
import numpy as np, torch
from frostline.training.prefix_cache import cache_inputs
from frostline.errors import end_in_one_line
def keep(rows, numbers, budget=1):
    def source(batches, view):
        return (torch.ones(len(batch), numbers) for batch in batches)
    return cache_inputs(source, {{0: np.arange(rows)}}, budget, Path({str(folder)!r}), torch.device("cpu"))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", begun + code], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    if ends:
        process.wait()
    return process


@pytest.mark.parametrize(("numbers", "limit"), [(1000, 4_000_100), (1, 7_000)], ids=["large outputs", "small outputs"])
def test_a_disk_that_fills_up_under_the_cache_ends_the_run_in_one_line_and_leaves_nothing(
    numbers: int, limit: int, tmp_path: Path
) -> None:
    """A limit on the size of files stands for the disk: it fails in the same way, in the midst of a write."""
    code = f"""
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
with end_in_one_line():
    keep(2000, {numbers})
"""
    process = in_a_process(tmp_path, code)
    told = process.stderr.read()
    assert told == (
        f"{tmp_path} must have room for the prefix cache ({8000 * numbers} bytes). Got File too large instead. "
        "Free some, or set training.cache_bytes to 0 to do without the cache.\n"
    )
    assert process.returncode == 1
    assert list(tmp_path.iterdir()) == []


@linux
@pytest.mark.parametrize(("budget", "least", "most"), [(10**9, 0.7, 1.2), (1, -0.1, 0.1)], ids=["memory", "scratch"])
def test_filling_takes_the_bytes_of_the_cache_once_in_memory_and_next_to_none_in_scratch(
    budget: int, least: float, most: float, tmp_path: Path
) -> None:
    code = f"""
def peak():
    told = dict(line.split(":") for line in open("/proc/self/status"))
    return 1024 * int(told["VmHWM"].split()[0])
keep(16, 1000, {budget})
before = peak()
cache = keep(50_000, 1000, {budget})
print((peak() - before) / cache.bytes)
"""
    assert least < float(in_a_process(tmp_path, code).stdout.read()) < most


@linux
def test_a_file_in_scratch_has_no_name_and_is_gone_with_its_process_however_that_ends(
    tmp_path: Path,
) -> None:
    code = "cache = keep(2000, 1000)\nprint(cache.place, flush=True)\ntime.sleep(600)"
    process = in_a_process(tmp_path, code, ends=False)
    assert process.stdout.readline() == "scratch\n"
    mapped = [line for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines() if str(tmp_path) in line]
    assert len(mapped) == 1
    assert mapped[0].endswith("(deleted)")  # the disk is free again when nothing maps it
    assert list(tmp_path.iterdir()) == []
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_no_file_descriptor_is_held_for_scratch(tmp_path: Path) -> None:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    caches = [cache_inputs(count_up, {0: np.arange(4)}, 1, tmp_path, CPU) for _ in range(min(soft, 2_000) + 1)]
    assert all(cache.place == "scratch" for cache in caches)


# --- How often the prefix runs ----------------------------------------------------------------------------------


class Counter:
    """Counts the images that come past the first convolution of any model."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...], _output: object) -> None:
        """Count a batch."""
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            self.images += len(given[0])


@pytest.fixture
def counter() -> Iterator[Counter]:
    counts = Counter()
    hook = register_module_forward_hook(counts)
    yield counts
    hook.remove()


@pytest.mark.parametrize(("first", "views"), [("head", 1), ("stage4", 3)])
@kept_places
def test_a_kept_prefix_runs_once_for_each_image_and_view_whatever_the_number_of_cells(
    place: str, first: str, views: int, counter: Counter, tmp_path: Path
) -> None:
    asked = training(cache_bytes=BUDGETS[place], views=views, epochs=4, patience=4)
    job = toys.job("efficientnet_lite0", plan(from_=first), tmp_path, asked)
    feed = make_feed(job)
    looked = 16 + 16 + 16  # the audit's two looks at batch mates, and one batch to learn the shape
    once = 32 + views * 70  # both seeds together validate on 32 images, and train on all 70
    assert counter.images == once + looked
    for (rate,), seed in job.list_cells(1):
        train(job, feed, rate, seed)
    assert len(job.list_cells(1)) == 4
    assert counter.images == once + looked


def test_a_prefix_that_is_not_kept_runs_in_every_epoch_of_every_cell(counter: Counter, tmp_path: Path) -> None:
    asked = training(cache_bytes=0, epochs=2)
    job = toys.job("efficientnet_lite0", plan("head"), tmp_path, asked)
    feed = make_feed(job)
    before = counter.images
    for (rate,), seed in job.list_cells(1):
        train(job, feed, rate, seed)
    assert counter.images - before == 4 * 2 * (50 + 16)
