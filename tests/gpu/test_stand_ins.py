"""What runs on a GPU goes where it should and never waits, as far as stand-ins for its tensors can tell."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException

from frostline import hardware
from frostline.backbones.folding import prepare_prefix
from frostline.backbones.freezing import apply_plan, cut_at_boundary
from frostline.backbones.inference import Images, LiveInputs, PrefixedInputs, predict, size_prefix_batch
from frostline.backbones.precision import compute_deterministically
from frostline.backbones.registry import build_backbone
from frostline.data.augmentation import Augmenter
from frostline.training import loop
from frostline.training.grid import Feed, hand_over
from frostline.training.loop import Batches, score, start_fit, take_step, train_one_epoch
from frostline.training.prefix_cache import Cache, StoredInputs, cache_inputs
from frostline.training.workers import share_cores, share_devices
from tests import toys
from tests.gpu.conftest import GPU_BYTES, put_on, teach

WANTED = {None: np.arange(50, 66), 0: np.arange(50), 1: np.arange(50)}
EVERY_PRECISION = pytest.mark.parametrize("precision", ["float32", "bfloat16"])


def cut(gpu: torch.device, precision: str) -> tuple[nn.Module, nn.Sequential]:
    """Return a prefix as it runs and a suffix that learns, both on the GPU."""
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        backbone = build_backbone("efficientnet_lite0", "none", 2).to(memory_format=torch.channels_last)
        apply_plan(backbone, toys.plan(from_="stage4"))
        prefix, suffix = cut_at_boundary(backbone)
        prefix = prepare_prefix(prefix, precision)
    for part in (prefix, suffix):
        put_on(gpu, part)
    return prefix, suffix


def feed(gpu: torch.device, precision: str, folder: Path, budget: int = 2**40) -> tuple[Cache, nn.Sequential]:
    """Return what the prefix makes of pictures, kept, and the suffix."""
    prefix, suffix = cut(gpu, precision)
    augmented = Augmenter.of([str(image) for image in range(70)], toys.FLIPPED, 0)
    live = LiveInputs(Images.hold(toys.pictures(), gpu), "efficientnet_lite0", augmented)
    return cache_inputs(PrefixedInputs(prefix, live, 32, precision, gpu), WANTED, budget, folder, gpu), suffix


def batches_of(inputs: Any, gpu: torch.device) -> Batches:
    return Batches(inputs, torch.zeros(70, dtype=torch.int64, device=gpu), np.arange(50), np.arange(50, 66))


@pytest.mark.parametrize(("images", "is_held"), [(70, True), (2_000, False)])
def test_images_that_take_half_of_its_memory_lie_there_and_others_cross_batch_by_batch(
    gpu: torch.device, images: int, is_held: bool
) -> None:
    stored = np.zeros((images, 32, 32, 3), np.uint8)
    assert (stored.nbytes <= GPU_BYTES // 2) == is_held
    held = Images.hold(stored, gpu)
    assert isinstance(held.stored, Tensor) == is_held
    pixels = held(np.array([3, 1]))
    assert (pixels.device.type, pixels.dtype, tuple(pixels.shape)) == ("cuda", torch.uint8, (2, 32, 32, 3))


@EVERY_PRECISION
def test_the_outputs_of_a_prefix_stay_there_in_its_number_format(
    gpu: torch.device, precision: str, tmp_path: Path
) -> None:
    cache, _ = feed(gpu, precision, tmp_path)
    assert isinstance(cache.inputs, StoredInputs)
    assert cache.place == "memory"
    assert cache.inputs.store.file is None
    assert {outputs.device.type for outputs in cache.inputs.store.outputs} == {"cuda"}
    (shown,) = cache.inputs([np.arange(5)], 1)
    assert isinstance(shown, Tensor)
    assert (shown.device.type, shown.dtype) == ("cuda", getattr(torch, precision))


def test_outputs_for_which_it_has_no_room_are_not_put_there(
    gpu: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled: list[str] = []
    monkeypatch.setattr("frostline.training.prefix_cache._fill_memory", lambda *_: filled.append("memory"))
    monkeypatch.setattr("frostline.training.prefix_cache._fill_scratch", lambda *_: filled.append("scratch"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device=None: (1_000, 1_000))
    for budget in (2**40, 1):
        feed(gpu, "float32", tmp_path, budget)
    assert filled == ["memory", "scratch"]


def test_what_a_gpu_keeps_is_handed_to_no_other_process(gpu: torch.device, tmp_path: Path) -> None:
    cache, _ = feed(gpu, "float32", tmp_path)
    assert hand_over(Feed(1, cache, nn.Sequential(), {}, {}, 0.0, [0])) is None


@EVERY_PRECISION
def test_a_step_learns_there_from_logits_in_float32(gpu: torch.device, precision: str, tmp_path: Path) -> None:
    cache, suffix = feed(gpu, precision, tmp_path)
    fit = start_fit(suffix, 0.001, 0.01, 0)
    teach(suffix)
    (batch,) = cache.inputs([np.arange(5)], 0)
    loss, logits = take_step(fit, batch, torch.zeros(5, dtype=torch.int64, device=gpu), precision)
    assert (loss.device.type, loss.dtype, logits.dtype) == ("cuda", torch.float32, torch.float32)
    learned = {parameter for parameter in suffix.parameters() if parameter.requires_grad}
    assert set(fit.optimizer.state) == learned
    for parameter, state in fit.optimizer.state.items():
        assert state["exp_avg"].stride() == parameter.stride()  # as the weight lies, so that none is copied
        assert {value.device.type for value in state.values()} == {"cuda"}


@EVERY_PRECISION
def test_nothing_of_an_epoch_is_read_before_its_last_step(
    gpu: torch.device, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def count(*arguments: Any) -> tuple[Tensor, Tensor]:
        steps.append(len(arguments[2]))
        return take_step(*arguments)

    monkeypatch.setattr(loop, "take_step", count)
    cache, suffix = feed(gpu, precision, tmp_path)
    fit = start_fit(suffix, 0.001, 0.01, 0)
    teach(suffix)
    with pytest.raises(DataDependentOutputException):  # the epoch's figures, to which a stand-in has no values
        train_one_epoch(fit, batches_of(cache.inputs, gpu), toys.TRAINING, precision, 1)
    assert sum(steps) == 50


def test_validation_reads_its_two_figures_and_nothing_before(gpu: torch.device, tmp_path: Path) -> None:
    cache, suffix = feed(gpu, "bfloat16", tmp_path)
    logits = predict(suffix, cache.inputs, [np.arange(50, 58), np.arange(58, 66)], "bfloat16", gpu)
    assert (logits.device.type, logits.dtype, tuple(logits.shape)) == ("cuda", torch.float32, (16, 2))
    with pytest.raises(DataDependentOutputException):
        score(start_fit(suffix, 0.001, 0.01, 0), batches_of(cache.inputs, gpu), toys.TRAINING, "bfloat16")


def test_a_gpu_gets_larger_batches_of_a_prefix_than_a_processor() -> None:
    for px in (32, 72, 224, 500):
        cuda, cpu = (size_prefix_batch(px, torch.device(kind)) for kind in ("cuda", "cpu"))
        assert 16 <= cpu <= cuda <= 256


def test_a_gpu_takes_one_fit_after_the_other_with_all_threads(tmp_path: Path) -> None:
    job = toys.job("cnn3", toys.plan(from_="head", weights="none"), tmp_path)
    on_gpu = replace(job, device=torch.device("cuda"), threads=16)
    assert share_cores(on_gpu, nn.Sequential()) is on_gpu
    together = replace(on_gpu, training=toys.training(devices_per_fit=2, workers="ray"))
    assert share_devices(together).threads == 16


def test_what_a_gpu_is_and_took_is_asked_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "a GPU")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 123)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: not including_emulation)
    assert hardware.choose_device() == gpu
    assert hardware.name_processor(gpu) == "a GPU"
    assert hardware.tell_kind(gpu).startswith("cuda (")
    assert hardware.measure_peak_memory() == 123
    assert hardware.measure_bfloat16_speed(gpu) is None
    assert hardware.resolve_precision("auto", gpu) == "bfloat16"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: including_emulation)
    assert hardware.resolve_precision("auto", gpu) == "float32"


def test_where_a_gpu_kernel_has_no_deterministic_form_torch_warns_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        compute_deterministically(torch.device("cuda"))
        assert torch.get_deterministic_debug_mode() == 1
        compute_deterministically(torch.device("cpu"))
        assert torch.get_deterministic_debug_mode() == 2
    finally:
        torch.set_deterministic_debug_mode("default")


@pytest.mark.parametrize(
    ("gpu_bytes", "fit_bytes", "devices", "share"),
    [(80e9, 4e9, 1, 1 / 8), (80e9, 20e9, 1, 1 / 2), (80e9, 70e9, 1, 1.0), (80e9, 4e9, 2, 2.0), (0, 4e9, 1, 0.0)],
)
def test_of_a_cluster_s_gpu_a_fit_takes_the_share_that_its_memory_needs(
    gpu_bytes: float, fit_bytes: float, devices: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = pytest.importorskip("frostline.cluster.fits")
    monkeypatch.setattr(fits, "estimate_bytes", lambda *_: int(fit_bytes))
    nodes = [SimpleNamespace(gpu_bytes=int(gpu_bytes)), SimpleNamespace(gpu_bytes=0)]
    cluster = fits.Cluster(nodes, None, None, None)
    job = SimpleNamespace(training=toys.training(devices_per_fit=devices))
    assert cluster.share_gpu(job, nn.Sequential()) == pytest.approx(share)
