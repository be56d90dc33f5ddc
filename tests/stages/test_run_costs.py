"""A run tells what it was shown, what it cost and that it passed the audit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from frostline.backbones.audit import AuditError
from frostline.backbones.freezing import apply_plan, cut_at_boundary
from frostline.backbones.registry import build_backbone
from frostline.backbones.runs import load_backbone, read_run
from frostline.data.images import take_share
from frostline.files import hash_file, read_yaml, write_yaml
from frostline.params.schema import Plan
from frostline.training import grid
from frostline.training.checkpoints import save_fit
from frostline.training.costs import Work, count_work
from frostline.training.loop import Fit, start_fit
from stages import evaluate
from tests import toys
from tests.project import dump_yaml, load_yaml


def test_a_plan_is_trained_on_its_share_of_the_training_images_and_says_so(toy: Path) -> None:
    params = read_yaml(toy / "params.yaml")
    params["plans"]["head"]["train_percent"] = 20
    write_yaml(toy / "params.yaml", params)
    run = read_run(toys.train_toy(toy, "head"))
    assert [each["train_images"] for each in run.replicates.values()] == [10, 10]
    assert run.definition["train_percent"] == 20


@settings(deadline=None)
@given(small=st.floats(0.5, 100), large=st.floats(0.5, 100))
def test_a_smaller_share_is_a_part_of_a_larger_one_and_holds_every_class(small: float, large: float) -> None:
    small, large = sorted((small, large))
    data = toys.prepared()
    few, many = (take_share(data, percent).list_rows("train", [1]) for percent in (small, large))
    assert set(few) <= set(many) <= set(data.list_rows("train", [1]))
    assert set(data.labels[few]) == set(data.labels)
    for split in ("validation", "test"):
        assert take_share(data, small).list_rows(split, [0, 1]).tolist() == data.list_rows(split, [0, 1]).tolist()


def scalars_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard would show of the folder: steps and values, by name."""
    events = EventAccumulator(str(folder)).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


@pytest.mark.long
def test_tensorboard_is_told_what_history_tells_and_changes_nothing(toy: Path) -> None:
    plain = toys.train_toy(toy, "gradual")
    kept = {path.name: hash_file(path) for path in plain.glob("replicate-*")}
    shutil.rmtree(toy / ".dvc" / "tmp")  # so that it is trained again, not found
    toys.set_params(toy, logging__tensorboard=True, logging__log_every=2)
    told = toys.train_toy(toy, "gradual")
    assert {path.name: hash_file(path) for path in told.glob("replicate-*")} == kept
    history = pd.read_csv(told / "history.csv")
    folders = [*(toy / "logs" / "efficientnet_lite0-gradual").iterdir()]
    assert len(folders) == 4  # two phases of one rate each, with two replicates
    for folder in folders:
        shown = scalars_of(folder)["loss/validation"]
        replicate = history[
            (history.replicate == int(folder.name[-1])) & history.epoch.isin([step for step, _ in shown])
        ]
        assert [value for _, value in shown] == pytest.approx(replicate.val_loss.tolist(), rel=1e-5)
    assert sorted(len(scalars_of(folder)["loss/validation"]) for folder in folders) == [1, 1, 2, 2]


def test_every_so_many_steps_are_logged_too_and_their_mean_is_the_loss_of_the_epoch(toy: Path) -> None:
    toys.set_params(toy, logging__tensorboard=True, logging__log_every=1)
    toys.train_toy(toy, "head")
    for folder in (toy / "logs" / "efficientnet_lite0-head").iterdir():
        scalars = scalars_of(folder)
        steps, losses = zip(*scalars["loss/step"], strict=True)
        epochs = [value for _, value in scalars["loss/train"]]
        each = len(steps) // len(epochs)
        assert list(steps) == list(range(1, len(steps) + 1))
        sizes = [len(part) for part in np.array_split(np.arange(50), each)]
        first = np.average(losses[:each], weights=sizes)
        assert first == pytest.approx(epochs[0], rel=0.02)


def test_without_being_asked_nothing_is_written_for_tensorboard(toy: Path) -> None:
    toys.train_toy(toy, "head")
    assert not (toy / "logs").exists()


def test_inference_is_measured_in_test_images_by_the_second() -> None:
    each = [evaluate.Predicted(pd.DataFrame(index=range(4)), 0.5, pd.DataFrame())] * 2
    assert evaluate.measure_costs(each) == {"inference_images_per_second": 8.0}


@pytest.mark.parametrize("plan", ["block", "surgical", "biases"])
def test_a_run_that_passes_the_audit_says_so_and_how_many_tensors_it_looked_at(plan: str, toy: Path) -> None:
    folder = toys.train_toy(toy, plan)
    run = read_run(folder)
    whole = load_backbone(folder, 0)
    learned = {name for name, parameter in whole.named_parameters() if parameter.requires_grad}
    awake = {
        f"{name}.{statistic}"
        for name, module in whole.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.weight.requires_grad
        for statistic in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert run.audit == "passed"
    assert run.audited_tensors == len(whole.state_dict()) - len(learned | awake)


@pytest.mark.parametrize(
    ("plan", "cache_bytes", "place"),
    [("head", 10**9, "memory"), ("head", 1_000, "scratch"), ("head", 0, "off"), ("all", 10**9, "no prefix")],
)
def test_a_run_records_where_its_prefix_was_kept_and_the_bytes_that_it_took(
    plan: str, cache_bytes: int, place: str, toy: Path
) -> None:
    costs = json.loads((toys.train_toy(toy, plan, cache_bytes=cache_bytes) / "costs.json").read_text())
    kept = (
        (32 + 2 * 70) * 1280 * 4
    )  # both replicates' validation, and two views of all, in float32 of the last 1,280 maps
    assert (costs["cache"], costs["cache_bytes"]) == (place, kept if place in ("memory", "scratch") else 0)


@pytest.mark.long
def test_a_plan_of_one_view_is_shown_one_and_every_run_says_how_many_it_had(toy: Path) -> None:
    params = load_yaml((toy / "params.yaml").read_text())
    params["plans"]["one_view"] = params["plans"]["head"] | {"views": 1}
    (toy / "params.yaml").write_text(dump_yaml(params))
    kept = {}
    for plan in ("head", "one_view"):
        folder = toys.train_toy(toy, plan)
        kept[read_run(folder).definition["views"]] = json.loads((folder / "costs.json").read_text())["cache_bytes"]
    assert kept == {views: (32 + views * 70) * 1280 * 4 for views in (2, 1)}
    same = [toys.train_toy(toy, plan, views=1) / "replicate-0.safetensors" for plan in ("head", "one_view")]
    assert same[0].read_bytes() == same[1].read_bytes()


def work_of(plan: str) -> Work:
    backbone = build_backbone("efficientnet_lite0", "none", 2).to("meta")
    apply_plan(backbone, Plan(**toys.PLANS[plan] | {"weights": "pretrained", "learning_rates": [0.003]}))
    return count_work(*cut_at_boundary(backbone), 32)


@pytest.mark.parametrize(
    ("plan", "cache_bytes", "through_prefix"),
    [
        ("head", 10**9, 2 * 70),  # both views of all that any replicate trains on, once
        ("part", 1_000, 2 * 70),
        ("part", 0, 2 * 2 * 50),  # each replicate's training images in each of two epochs
        ("all", 10**9, 0),
        ("edges", 10**9, 0),
    ],
)
def test_flops_are_those_of_what_went_through_the_prefix_and_of_what_every_fit_was_shown(
    plan: str, cache_bytes: int, through_prefix: int, toy: Path
) -> None:
    costs = json.loads((toys.train_toy(toy, plan, cache_bytes=cache_bytes) / "costs.json").read_text())
    work, shown = work_of(plan), 2 * 2 * 50
    assert costs["train_flops"] == work.prefix * through_prefix + work.training * shown
    assert costs["train_flops_per_image"] == costs["train_flops"] / shown
    assert costs["train_flops_per_image_live"] == work.prefix + work.training
    assert (costs["train_flops_per_image"] < costs["train_flops_per_image_live"]) == (0 < through_prefix < shown)


def test_a_fit_that_ends_early_costs_the_epochs_that_it_had(toy: Path) -> None:
    folder = toys.train_toy(toy, "block", epochs=6, patience=1, views=3)
    costs, epochs = json.loads((folder / "costs.json").read_text()), len(pd.read_csv(folder / "history.csv"))
    assert 2 <= costs["epochs"] == epochs < 12
    work = work_of("block")
    assert costs["train_flops"] == work.prefix * 3 * 70 + work.training * 50 * epochs


COUNTED = (
    *("train_flops", "train_flops_per_image", "train_flops_per_image_live", "saved_activation_bytes"),
    *("optimizer_bytes", "learned_bytes", "epochs", "cache", "cache_bytes"),
)


@pytest.mark.long
@pytest.mark.parametrize("plan", ["block", "norms"])
def test_a_run_that_was_killed_and_goes_on_ends_with_the_same_files_and_the_same_counted_costs(
    plan: str, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left() -> tuple[dict[str, object], list[bytes]]:
        folder = toy / "runs" / plan
        costs = json.loads((folder / "costs.json").read_text())
        names = ("run.json", "replicate-0.safetensors", "replicate-1.safetensors")
        return {name: costs[name] for name in COUNTED}, [(folder / name).read_bytes() for name in names]

    toys.train_toy(toy, plan)
    expected, saves = left(), []

    def killed(path: Path, fit: Fit) -> None:
        save_fit(path, fit)
        saves.append(path)
        if len(saves) == 3:  # the first cell has ended, the second has had one epoch of two
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(grid, "save_fit", killed)
        with pytest.raises(KeyboardInterrupt):
            toys.train_toy(toy, plan)
    assert len(toys.list_checkpoints(toy)) == 2
    toys.train_toy(toy, plan)
    assert left() == expected


@pytest.mark.long
def test_a_run_is_the_same_wherever_its_prefix_was_kept(toy: Path) -> None:
    weights, histories = [], []
    for cache_bytes in (10**9, 1_000, 0):
        folder = toys.train_toy(toy, "head", cache_bytes=cache_bytes)
        weights.append((folder / "replicate-1.safetensors").read_bytes() + (folder / "run.json").read_bytes())
        histories.append(pd.read_csv(folder / "history.csv").drop(columns="seconds"))
    assert weights[0] == weights[1] == weights[2]
    assert histories[0].equals(histories[1])
    assert histories[0].equals(histories[2])


@pytest.mark.parametrize("cache_bytes", [10**9, 1_000, 0])
def test_a_run_that_ends_well_leaves_nothing_in_scratch(cache_bytes: int, toy: Path) -> None:
    toys.train_toy(toy, "head", cache_bytes=cache_bytes)
    assert toys.left_in_scratch(toy) == []


def careless(suffix: nn.Sequential, *asked: float) -> Fit:
    """Start a fit whose optimizer is given what is frozen as well."""
    fit = start_fit(suffix, *asked)
    frozen = [p for p in suffix.parameters() if not p.requires_grad]
    fit.optimizer.add_param_group({"params": frozen, "part": "frozen", "share": 1.0})
    return fit


def sleepless(backbone: nn.Sequential, image_px: int, at: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Cut the backbone, and wake a norm of its prefix."""
    prefix, suffix = cut_at_boundary(backbone, image_px, at)
    prefix.get_submodule("stem.0.bn1").training = True
    return prefix, suffix


@pytest.mark.parametrize(
    ("name", "mistaken", "found"),
    [
        ("start_fit", careless, r"stage3\.2\.\S+ is in the optimizer, although it is frozen"),
        ("cut_at_boundary", sleepless, r"depends on its batch mates: stem\.0\.bn1 is where it begins"),
    ],
)
def test_a_run_whose_audit_fails_fails_and_leaves_no_results(
    name: str, mistaken: object, found: str, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, name, mistaken)
    with pytest.raises(AuditError, match=found):
        toys.train_toy(toy, "surgical", cache_bytes=1_000)
    assert not (toy / "runs" / "surgical").exists()
    assert all(path.suffix in (".pt", ".json", ".lock") for path in toys.left_in_scratch(toy))  # and none of the cache


def test_a_plan_that_names_a_block_that_the_backbone_lacks_is_refused_by_name(toy: Path) -> None:
    params = load_yaml((toy / "params.yaml").read_text())
    params["plans"]["block"]["from"] = "stage4.99"
    (toy / "params.yaml").write_text(dump_yaml(params))
    with pytest.raises(ValueError, match=r"^plans\.block on efficientnet_lite0 must name .*Got 'stage4\.99' instead"):
        toys.train_toy(toy, "block")
