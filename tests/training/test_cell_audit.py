"""A cell in which something frozen moves is refused by the audit."""

import gc
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from frostline.backbones.audit import AuditError, digest_frozen
from frostline.backbones.inference import Images, LiveInputs
from frostline.networks.catalog import ARCHITECTURES
from frostline.training.grid import (
    Feed,
    audit_prefix,
    build_parts,
    load_prefix,
    make_feed,
)
from frostline.training.loop import Fit
from tests import toys
from tests.toys import CPU, plan, start, train, training

pytestmark = pytest.mark.usefixtures("vision_transformer")


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "vit"])
def test_a_cell_that_passes_the_audit_has_looked_at_every_tensor_that_is_frozen(name: str, tmp_path: Path) -> None:
    weights = toys.resnet18_weights(tmp_path) if name == "resnet18" else "pretrained"
    job = toys.job(name, plan("stage4", weights=weights), tmp_path, training(epochs=1))
    fit = train(job, make_feed(job))
    whole = nn.Sequential(*build_parts(job, 0)).state_dict()
    learned = {key for key in whole if "stage4" in key}
    assert fit.audited == len(whole) - len(learned)


Meddling = Callable[[Feed, Fit], None]
"""Something done to a cell, before its first epoch or after its last, that ought not to be."""


def prefix_weight(feed: Feed) -> nn.Parameter:
    return next(feed.prefix.parameters())


def frozen_head(fit: Fit) -> nn.Linear:
    return fit.suffix.get_submodule("head.0.classifier")


def move_a_prefix_weight(feed: Feed, _fit: Fit) -> None:
    prefix_weight(feed).add_(1.0)


def move_a_statistic(feed: Feed, _fit: Fit) -> None:
    next(tensor for key, tensor in feed.prefix.named_buffers() if key.endswith("running_mean")).add_(1.0)


def wake_the_prefix(feed: Feed, _fit: Fit) -> None:
    for module in feed.prefix.modules():
        module.training = True


def thaw_the_prefix(feed: Feed, _fit: Fit) -> None:
    prefix_weight(feed).requires_grad_(True)


def leave_a_gradient(feed: Feed, _fit: Fit) -> None:
    prefix_weight(feed).grad = torch.zeros_like(prefix_weight(feed))


def reshape_a_prefix_weight(feed: Feed, _fit: Fit) -> None:
    prefix_weight(feed).data = prefix_weight(feed).data[None]


def take_a_statistic_away(feed: Feed, _fit: Fit) -> None:
    norm = next(module for module in feed.prefix.modules() if isinstance(module, nn.BatchNorm2d))
    del norm.running_var


def optimize_the_frozen_head(_feed: Feed, fit: Fit) -> None:
    fit.optimizer.add_param_group({"params": [frozen_head(fit).weight], "part": "head", "share": 1.0})


def decay_the_frozen_head(_feed: Feed, fit: Fit) -> None:
    """Leave it in the optimizer with a gradient of zeros, as who freezes in mid-run does: it decays all the same."""
    weight = frozen_head(fit).weight
    fit.optimizer.add_param_group({"params": [weight], "weight_decay": 0.1, "part": "head", "share": 1.0})
    fit.optimizer.register_step_pre_hook(lambda *_: setattr(weight, "grad", torch.zeros_like(weight)))


def thaw_the_frozen_head(_feed: Feed, fit: Fit) -> None:
    frozen_head(fit).bias.requires_grad_(True)


def freeze_what_learns(_feed: Feed, fit: Fit) -> None:
    next(p for p in fit.suffix.parameters() if p.requires_grad).requires_grad_(False)


IN_THE_PREFIX = r"stem\.0\.\S*conv\S*\.weight"
WITH_NORMS, A_NORM = "densenet121", r"stage1\.\S*norm1"
"""A backbone whose norms come before its convolutions, so that they cannot be folded, and the first of them."""


MEDDLING: list[tuple[Meddling, str]] = [
    (move_a_prefix_weight, rf"{IN_THE_PREFIX} moved, although it is frozen"),
    (thaw_the_prefix, rf"{IN_THE_PREFIX} learns, although it is frozen"),
    (leave_a_gradient, rf"{IN_THE_PREFIX} has a gradient, although it is frozen"),
    (optimize_the_frozen_head, r"head\.0\.classifier\.weight is in the optimizer, although it is frozen"),
    (decay_the_frozen_head, r"head\.0\.classifier\.weight moved, although it is frozen"),
    (thaw_the_frozen_head, r"head\.0\.classifier\.bias has a gradient, although it is frozen"),
    (freeze_what_learns, r"stage4\.\S+ neither learns nor was frozen when training began"),
]


@pytest.mark.parametrize(("meddle", "found"), MEDDLING)
def test_a_cell_in_which_something_frozen_is_meddled_with_is_refused_by_the_audit(
    meddle: Meddling, found: str, tmp_path: Path
) -> None:
    job = toys.job("efficientnet_lite0", plan("stage4"), tmp_path, training(epochs=2))
    feed = make_feed(job)
    cell = start(job, feed)
    fit = next(cell)
    meddle(feed, fit)
    with pytest.raises(AuditError, match=f"^the audit found that {found}$"):
        list(cell)
    assert fit.audited is None


@pytest.mark.parametrize(
    ("meddle", "found"),
    [
        (move_a_statistic, rf"{A_NORM}\.running_mean moved"),
        (reshape_a_prefix_weight, rf"{IN_THE_PREFIX} moved"),
        (take_a_statistic_away, rf"{A_NORM}\.running_var is gone"),
    ],
)
def test_a_frozen_tensor_that_another_has_replaced_by_the_end_or_none_is_refused_by_the_audit(
    meddle: Meddling, found: str, tmp_path: Path
) -> None:
    job = toys.job(WITH_NORMS, plan("stage2", weights="none"), tmp_path, training(epochs=1))
    feed = make_feed(job)
    cell = start(job, feed)
    for fit in cell:
        if fit.history:
            meddle(feed, fit)
            break
    with pytest.raises(AuditError, match=f"^the audit found that {found}, although it is frozen$"):
        list(cell)


def test_a_prefix_that_wakes_while_it_runs_live_moves_its_statistics_and_is_refused_by_the_audit(
    tmp_path: Path,
) -> None:
    job = toys.job(WITH_NORMS, plan("stage2", weights="none"), tmp_path, training(epochs=1, cache_bytes=0))
    feed = make_feed(job)
    cell = start(job, feed)
    wake_the_prefix(feed, next(cell))
    with pytest.raises(AuditError, match=rf"{A_NORM}\.running_mean moved, although it is frozen"):
        list(cell)


@pytest.mark.parametrize(
    ("meddle", "found"),
    [
        (move_a_prefix_weight, rf"{IN_THE_PREFIX} moved"),
        (thaw_the_prefix, rf"{IN_THE_PREFIX} learns"),
        (leave_a_gradient, rf"{IN_THE_PREFIX} has a gradient"),
        (reshape_a_prefix_weight, rf"{IN_THE_PREFIX} moved"),
    ],
)
def test_a_folded_prefix_that_is_meddled_with_is_refused_by_the_audit(
    meddle: Meddling, found: str, tmp_path: Path
) -> None:
    job = toys.job("efficientnet_lite0", plan("stage4"), tmp_path, training(epochs=1), precision="bfloat16")
    feed = make_feed(job)
    cell = start(job, feed)
    meddle(feed, next(cell))
    with pytest.raises(AuditError, match=f"^the audit found that {found}, although it is frozen$"):
        list(cell)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("frozen", ["conv1.weight", "layer4.1.bn2.running_var", "layer1.0.conv2.weight"])
def test_a_cell_whose_frozen_weights_are_loaded_otherwise_than_the_feeds_is_refused_before_any_epoch(
    frozen: str, precision: str, tmp_path: Path
) -> None:
    """In the prefix or in the suffix: here stage2 learns, and stage4 is frozen behind it."""
    asked = plan("stage2", "head", weights=toys.resnet18_weights(tmp_path))
    job = toys.job("resnet18", asked, tmp_path, training(epochs=1), precision=precision)
    feed = make_feed(job)
    tensors = load_file(asked.weights)
    tensors[frozen].view(-1)[0] += 1.0
    save_file(tensors, asked.weights)
    with pytest.raises(AuditError, match=r"^the audit found that \S+ is not what it was when it was loaded first$"):
        next(start(job, feed))


def test_of_what_was_loaded_for_a_folded_prefix_nothing_is_kept_but_what_runs(tmp_path: Path) -> None:
    weights = toys.resnet18_weights(tmp_path)
    job = toys.job("resnet18", plan("head", weights=weights), tmp_path, precision="bfloat16")
    gc.collect()
    gc.disable()  # memory must not wait for Python to look for cycles
    try:
        others = [each for each in gc.get_objects() if type(each) is nn.Parameter]
        prefix, _ = load_prefix(job, 1)
        known = {id(each) for each in others}
        parameters = [each for each in gc.get_objects() if type(each) is nn.Parameter and id(each) not in known]
        kept = sum(each.nbytes for each in parameters)
    finally:
        gc.enable()
    assert kept == sum(parameter.nbytes for parameter in prefix.parameters())


def test_a_prefix_that_had_moved_before_the_cell_began_is_refused_by_the_audit(tmp_path: Path) -> None:
    job = toys.job("efficientnet_lite0", plan("head"), tmp_path, training(epochs=1))
    feed = make_feed(job)
    prefix_weight(feed).add_(1.0)
    with pytest.raises(AuditError, match=f"{IN_THE_PREFIX} moved, although it is frozen"):
        train(job, feed)


@pytest.mark.parametrize(("name", "awake"), [("efficientnet_lite0", nn.BatchNorm2d), ("vit_dropout", nn.Dropout)])
def test_a_prefix_that_looks_at_batch_mates_is_refused_before_any_training(
    name: str, awake: type[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "vit_dropout", toys.small_vision_transformer(dropout=0.5))
    job = toys.job(name, plan("head"), tmp_path)
    prefix, _ = build_parts(job, 0)
    live = LiveInputs(Images.hold(job.data.images, CPU), name)
    audit_prefix(job, prefix, live)
    module_name, module = next((key, each) for key, each in prefix.named_modules() if isinstance(each, awake))
    before = digest_frozen(prefix)
    module.training = True
    found = (
        f"what the prefix makes of an image depends on its batch mates: {re.escape(module_name)} is where it begins$"
    )
    with pytest.raises(AuditError, match=found):
        audit_prefix(job, prefix, live)
    assert (digest_frozen(prefix) == before) == (awake is nn.Dropout)
