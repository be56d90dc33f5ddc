"""What a run keeps, refuses, and gives back."""

import json
import re
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from frostline.backbones.audit import AuditError
from frostline.backbones.freezing import apply_plan, count_parameters, cut_at_boundary
from frostline.backbones.inference import Images, LiveInputs, predict, split_batches
from frostline.backbones.registry import build_backbone, build_original_classifier
from frostline.backbones.runs import load_backbone, read_run
from frostline.data.images import read_prepared, take_share
from frostline.errors import InputError
from frostline.files import hash_file, read_yaml, write_yaml
from frostline.params import Plan
from frostline.stats.metrics import score_predictions
from frostline.training import grid, results
from frostline.training.checkpoints import read_best, save_fit
from frostline.training.costs import Work, count_work
from frostline.training.loop import Epoch, Fit, start_fit
from frostline.training.results import choose_rates
from stages import evaluate
from tests import toys
from tests.project import dump_yaml, load_yaml


def history(*losses: float) -> list[Epoch]:
    return [Epoch(number, 1, {}, 1.0, 0.5, loss, 0.5, 1.0) for number, loss in enumerate(losses, start=1)]


def test_the_rate_with_the_lowest_mean_of_best_losses_is_kept() -> None:
    histories = {
        ((0.1,), 0): history(0.9, 0.2), ((0.1,), 1): history(0.8),
        ((0.01,), 0): history(0.4), ((0.01,), 1): history(0.5),
    }  # fmt: skip
    assert choose_rates(histories) == (0.01,)


def test_a_rate_at_which_one_seed_diverged_is_not_kept() -> None:
    histories = {
        ((0.1,), 0): history(0.1), ((0.1,), 1): history(nan),
        ((0.01,), 0): history(0.4), ((0.01,), 1): history(0.5),
    }  # fmt: skip
    assert choose_rates(histories) == (0.01,)


def test_rates_that_all_diverge_are_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"^learning_rates must hold one at which training does not diverge. Got 10, 1,"
    ):
        choose_rates({((10.0,), 0): history(nan), ((1.0,), 0): history(nan, nan)})


# --- Whole runs of a toy ----------------------------------------------------------------------------------------


def shown_validation(backbone: nn.Module, seed: int) -> tuple[Tensor, Tensor]:
    """Return the backbone's logits for the seed's validation images, and their labels."""
    data = toys.prepared()
    live = LiveInputs(Images.hold(data.images, toys.CPU), "efficientnet_lite0")
    rows = data.list_rows("validation", [seed])
    backbone.to(memory_format=torch.channels_last)
    return predict(backbone, live, split_batches(rows, 64), "float32", toys.CPU), torch.from_numpy(data.labels[rows])


@pytest.mark.parametrize("plan", toys.PLANS)
def test_a_run_gives_back_the_backbone_as_its_plan_froze_and_trained_it(plan: str, toy: Path) -> None:
    folder = toys.train_toy(toy, plan)
    run = read_run(folder)
    assert {name: run.definition[name] for name in toys.PLANS[plan]} == toys.PLANS[plan]
    for seed in (0, 1):
        whole = load_backbone(folder, seed)
        assert not any(module.training for module in whole.modules())
        assert count_parameters(whole) == (run.trainable_parameters, run.parameters)
        logits, labels = shown_validation(whole, seed)
        told = run.seeds[str(seed)]
        assert nn.functional.cross_entropy(logits, labels).item() == pytest.approx(told["val_loss"], rel=1e-5)
        assert (logits.argmax(1) == labels).float().mean().item() == pytest.approx(told["val_accuracy"])


def test_other_test_images_and_labels_change_neither_weights_nor_choices(toy: Path) -> None:
    params = load_yaml((toy / "params.yaml").read_text())
    params["study"]["seeds"] = [0]
    params["plans"]["head"]["learning_rates"] = [0.003, 0.03]
    (toy / "params.yaml").write_text(dump_yaml(params))
    before = read_run(toys.train_toy(toy, "head"))
    labels, images = (np.load(toy / "prepared" / f"{name}.npy") for name in ("labels", "images"))
    rows = toys.prepared().list_rows("test", [0])
    labels[rows], images[rows] = 1 - labels[rows], 255 - images[rows]
    np.save(toy / "prepared" / "labels.npy", labels)
    np.save(toy / "prepared" / "images.npy", images)
    assert read_run(toys.train_toy(toy, "head")) == before


@pytest.mark.parametrize("plan", toys.PLANS)
def test_what_comes_back_is_bit_for_bit_what_was_trained(plan: str, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[dict[str, Tensor]] = []

    def telling(path: Path) -> dict[str, Tensor]:
        trained.append({name: tensor.clone() for name, tensor in read_best(path).items()})
        return trained[-1]

    monkeypatch.setattr(results, "read_best", telling)
    folder = toys.train_toy(toy, plan)
    for seed, suffix in zip((0, 1), trained, strict=True):
        torch.manual_seed(seed)
        expected = build_backbone("efficientnet_lite0", "pretrained", 2)
        apply_plan(expected, Plan(**read_run(folder).definition))
        expected.load_state_dict(expected.state_dict() | suffix)
        found = load_backbone(folder, seed)
        assert toys.differing(found.state_dict(), expected.state_dict()) == set()
        assert torch.equal(shown_validation(found, seed)[0], shown_validation(expected, seed)[0])


@pytest.mark.parametrize(
    ("plan", "stored"),
    [
        ("part", r"(stage4|head)\."),
        ("block", r"(stage4\.([3-9]|\d\d)|head)\."),
        ("surgical", r"(stage3\.1|head)\."),
        ("edges", r"(stem|head)\."),
        ("norms", r"NORM|head\."),
        ("norms_alone", r"NORM|head\."),
        ("biases", r"(stage4\.4|head)\.|\S+bias$"),
        ("head", r"head\."),
        ("all", ""),
        ("scratch", ""),
    ],
)
def test_a_run_stores_what_learned_and_the_new_last_layer_and_nothing_else(plan: str, stored: str, toy: Path) -> None:
    folder = toys.train_toy(toy, plan)
    state = load_backbone(folder, 0).state_dict()
    norms = [key.removesuffix("running_mean") for key in state if key.endswith("running_mean")]
    pattern = stored.replace("NORM", "|".join(map(re.escape, norms)))
    expected = {key: tensor for key, tensor in state.items() if re.match(pattern, key)}
    for seed in (0, 1):
        path = folder / f"seed-{seed}.safetensors"
        assert load_file(path).keys() == expected.keys()
        names = 150 * len(expected) + 8  # bytes: safetensors tells each tensor's name, type, shape and place
        assert 0 < path.stat().st_size - sum(tensor.nbytes for tensor in expected.values()) <= names
    assert json.loads((folder / "costs.json").read_text())["learned_bytes"] == path.stat().st_size


def test_plans_that_learn_little_deep_and_shallow_do_not_send_the_backbone_between(toy: Path) -> None:
    """Their suffix is the whole backbone, of 13.5 MB."""
    stored = {
        plan: (toys.train_toy(toy, plan) / "seed-0.safetensors").stat().st_size for plan in ("edges", "norms", "all")
    }
    assert stored["edges"] < 30_000
    assert stored["norms"] < 450_000
    assert stored["all"] > 13_000_000


def test_a_run_names_each_seeds_file_by_its_hash_and_the_backbone_by_what_no_seed_learned(toy: Path) -> None:
    folder = toys.train_toy(toy, "head")
    run = read_run(folder)
    assert run.weights_sha256 == {str(seed): hash_file(folder / f"seed-{seed}.safetensors") for seed in (0, 1)}
    taught_less = read_run(toys.train_toy(toy, "head", epochs=1))
    assert taught_less.backbone_sha256 == run.backbone_sha256
    assert taught_less.weights_sha256 != run.weights_sha256
    assert read_run(toys.train_toy(toy, "part")).backbone_sha256 != run.backbone_sha256


# --- What does not come back ------------------------------------------------------------------------------------


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def test_a_seeds_file_that_was_damaged_is_one_line_that_names_it_and_both_hashes(toy: Path) -> None:
    folder = toys.train_toy(toy, "head")
    path, wanted = folder / "seed-1.safetensors", read_run(folder).weights_sha256["1"]
    damage(path)
    with pytest.raises(InputError) as told:
        load_backbone(folder, 1)
    assert str(told.value) == (
        f"{path} must have the SHA-256 {wanted}. Got {hash_file(path)} instead. "
        "`dvc checkout` brings the file back, or `dvc repro` trains it again."
    )
    load_backbone(folder, 0)


def test_a_seed_that_is_not_there_is_refused_by_name(toy: Path) -> None:
    folder = toys.train_toy(toy, "head")
    (folder / "seed-1.safetensors").unlink()
    with pytest.raises(InputError, match=r"seed-1\.safetensors must have the SHA-256 \w{64}\. Got no file instead\."):
        load_backbone(folder, 1)
    with pytest.raises(InputError, match=r"^the seed of .* must be 0 or 1\. Got 7 instead\.$"):
        load_backbone(folder, 7)


def with_own_weights(toy: Path, *plans: str) -> Path:
    """Give these plans weights of their own; return the file."""
    path = Path("data/weights/mine.safetensors")
    path.parent.mkdir(parents=True)
    save_file(build_original_classifier("efficientnet_lite0", "pretrained").state_dict(), path)
    params = load_yaml((toy / "params.yaml").read_text())
    for plan in plans:
        params["plans"][plan]["weights"] = str(path)
    (toy / "params.yaml").write_text(dump_yaml(params))
    return path


@pytest.mark.parametrize("changed", ["conv_stem.weight", "bn1.running_var"])
@pytest.mark.parametrize("plan", ["head", "surgical"])
def test_weights_that_were_changed_after_training_are_one_line_that_names_their_file_and_both_hashes(
    plan: str, changed: str, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy)
    weights = with_own_weights(toy, plan)
    folder = toys.train_toy(toy, plan)
    load_backbone(folder, 0)
    tensors = load_file(weights)
    tensors[changed].view(-1)[0] += 1.0
    save_file(tensors, weights)
    wanted = read_run(folder).backbone_sha256
    with pytest.raises(InputError) as told:
        load_backbone(folder, 0)
    before, found = str(told.value).split(". Got ")
    assert before == (
        f"{weights} must be what {folder} was trained with, whose frozen tensors have the SHA-256 {wanted}"
    )
    assert re.fullmatch(r"\w{64} instead\. Put the former weights back, or train the run again\.", found)


def test_a_killed_run_whose_weights_file_was_changed_meanwhile_begins_anew(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy)
    weights = with_own_weights(toy, "all")
    first, other = load_file(weights), load_file(weights)
    next(tensor for tensor in other.values() if tensor.dim() == 4).mul_(0.5)
    save_file(other, weights)
    expected = read_run(toys.train_toy(toy, "all")).weights_sha256
    save_file(first, weights)

    def killed(path: Path, fit: Fit) -> None:
        save_fit(path, fit)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(grid, "save_fit", killed)
        with pytest.raises(KeyboardInterrupt):
            toys.train_toy(toy, "all")
    save_file(other, weights)
    assert read_run(toys.train_toy(toy, "all")).weights_sha256 == expected


def test_a_seed_that_is_not_prepared_is_refused_with_those_that_are(toy: Path) -> None:
    params = read_yaml(toy / "params.yaml")
    params["study"]["seeds"] = [0, 1, 2]
    write_yaml(toy / "params.yaml", params)
    with pytest.raises(InputError, match=r"^study\.seeds must be seeds of data/prepared: 0 or 1\. Got 2 instead\.$"):
        toys.train_toy(toy, "head")


@pytest.mark.parametrize(("plan", "views", "shown"), [("head", 8, 2), ("gradual", 8, 2), ("head", 1, 1)])
def test_a_run_tells_no_more_views_than_it_has_epochs(plan: str, views: int, shown: int, toy: Path) -> None:
    assert read_run(toys.train_toy(toy, plan, views=views)).definition["views"] == shown


def test_a_run_of_which_all_learned_needs_its_pretrained_weights_no_more(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy)
    weights = with_own_weights(toy, "all", "head")
    folders = [toys.train_toy(toy, plan) for plan in ("all", "head")]
    expected = load_backbone(folders[0], 0).state_dict()
    weights.unlink()
    assert toys.differing(load_backbone(folders[0], 0).state_dict(), expected) == set()
    with pytest.raises(InputError, match=r"mine\.safetensors must be a weights file\. Got no file instead\."):
        load_backbone(folders[1], 0)


# --- What evaluate makes of it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", ["block", "norms"])
def test_a_run_of_any_plan_is_evaluated_on_validation_then_test_and_scored_on_test_alone(plan: str, toy: Path) -> None:
    folder = toys.train_toy(toy, plan)
    evaluate.main(params=toy / "params.yaml", prepared=toy / "prepared", run=folder, out=toy / "scores")
    predictions = pd.read_parquet(toy / "scores" / "predictions.parquet")
    shown = predictions.groupby(["seed", "split"], sort=False).image.agg(list).to_dict()
    assert list(shown.items()) == [
        ((0, "validation"), [*range(50, 66)]),
        ((0, "test"), [66, 67, 68, 69]),
        ((1, "validation"), [*range(4, 20)]),
        ((1, "test"), [0, 1, 2, 3]),
    ]
    scores = json.loads((toy / "scores" / "metrics.json").read_text())
    test = predictions[predictions.split == "test"]
    assert scores == {str(seed): score_predictions(test[test.seed == seed], ["dark", "bright"]) for seed in (0, 1)}
    live = LiveInputs(Images.hold(read_prepared(toy / "prepared").images, toys.CPU), "efficientnet_lite0")
    whole = load_backbone(folder, 1).to(memory_format=torch.channels_last)
    expected = predict(whole, live, [np.arange(4, 20), np.arange(4)], "float32", toys.CPU).softmax(1)
    found = predictions[predictions.seed == 1][["probability_dark", "probability_bright"]].to_numpy()
    assert found == pytest.approx(expected.numpy(), abs=1e-5)


def test_what_validation_scored_when_the_epoch_was_chosen_is_what_the_predictions_say(toy: Path) -> None:
    folder = toys.train_toy(toy, "part")
    evaluate.main(params=toy / "params.yaml", prepared=toy / "prepared", run=folder, out=toy / "scores")
    predictions = pd.read_parquet(toy / "scores" / "predictions.parquet")
    for seed, told in read_run(folder).seeds.items():
        mine = predictions[(predictions.seed == int(seed)) & (predictions.split == "validation")]
        scored = score_predictions(mine, ["dark", "bright"])
        assert scored["accuracy"] == pytest.approx(told["val_accuracy"])
        assert scored["negative_log_likelihood"] == pytest.approx(told["val_loss"], rel=1e-4)


def test_shifted_images_are_predicted_as_the_backbone_sees_them_shifted(toy: Path) -> None:
    params = read_yaml(toy / "params.yaml")
    params["study"]["shifts"] = [3]
    write_yaml(toy / "params.yaml", params)
    folder = toys.train_toy(toy, "part")
    evaluate.main(params=toy / "params.yaml", prepared=toy / "prepared", run=folder, out=toy / "scores")
    table = pd.read_parquet(toy / "scores" / "shifted.parquet")
    assert table.groupby(["seed", "shift", "direction"]).size().tolist() == [4] * 8
    data = toys.prepared()
    moved = np.roll(data.images, -3, axis=2)
    moved[:, :, -3:] = data.images[:, :, -1:]  # what comes in from the right repeats the edge
    rows = data.list_rows("test", [1])
    backbone = load_backbone(folder, 1).to(memory_format=torch.channels_last)
    live = LiveInputs(Images.hold(moved, toys.CPU), "efficientnet_lite0")
    wanted = predict(backbone, live, [rows], "float32", toys.CPU).double().softmax(1)
    found = table[(table.seed == 1) & (table.direction == "left")].filter(like="probability_").to_numpy()
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


# --- Shares of the training images, and TensorBoard ------------------------------------------------------------------


def test_a_plan_is_trained_on_its_share_of_the_training_images_and_says_so(toy: Path) -> None:
    params = read_yaml(toy / "params.yaml")
    params["plans"]["head"]["train_percent"] = 20
    write_yaml(toy / "params.yaml", params)
    run = read_run(toys.train_toy(toy, "head"))
    assert [each["train_images"] for each in run.seeds.values()] == [10, 10]
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


def test_tensorboard_is_told_what_history_tells_and_changes_nothing(toy: Path) -> None:
    plain = toys.train_toy(toy, "gradual")
    kept = {path.name: hash_file(path) for path in plain.glob("seed-*")}
    told = toys.train_toy(toy, "gradual", tensorboard=True)
    assert {path.name: hash_file(path) for path in told.glob("seed-*")} == kept
    history = pd.read_csv(told / "history.csv")
    folders = [*(toy / "logs" / "efficientnet_lite0-gradual").iterdir()]
    assert len(folders) == 4  # two phases of one rate each, with two seeds
    for folder in folders:
        shown = scalars_of(folder)["loss/validation"]
        seed = history[(history.seed == int(folder.name[-1])) & history.epoch.isin([step for step, _ in shown])]
        assert [value for _, value in shown] == pytest.approx(seed.val_loss.tolist(), rel=1e-5)
    assert sorted(len(scalars_of(folder)["loss/validation"]) for folder in folders) == [1, 1, 2, 2]


def test_without_being_asked_nothing_is_written_for_tensorboard(toy: Path) -> None:
    toys.train_toy(toy, "head")
    assert not (toy / "logs").exists()


def test_inference_is_measured_in_test_images_by_the_second() -> None:
    each = [evaluate.Predicted(pd.DataFrame(index=range(9)), pd.DataFrame(index=range(4)), 0.5, pd.DataFrame())] * 2
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
    kept = (32 + 2 * 70) * 1280 * 4  # both seeds' validation, and two views of all, in float32 of the last 1,280 maps
    assert (costs["cache"], costs["cache_bytes"]) == (place, kept if place in ("memory", "scratch") else 0)


def test_a_plan_of_one_view_is_shown_one_and_every_run_says_how_many_it_had(toy: Path) -> None:
    params = load_yaml((toy / "params.yaml").read_text())
    params["plans"]["one_view"] = params["plans"]["head"] | {"views": 1}
    (toy / "params.yaml").write_text(dump_yaml(params))
    kept = {}
    for plan in ("head", "one_view"):
        folder = toys.train_toy(toy, plan)
        kept[read_run(folder).definition["views"]] = json.loads((folder / "costs.json").read_text())["cache_bytes"]
    assert kept == {views: (32 + views * 70) * 1280 * 4 for views in (2, 1)}
    same = [toys.train_toy(toy, plan, views=1) / "seed-0.safetensors" for plan in ("head", "one_view")]
    assert same[0].read_bytes() == same[1].read_bytes()


def work_of(plan: str) -> Work:
    backbone = build_backbone("efficientnet_lite0", "none", 2).to("meta")
    apply_plan(backbone, Plan(**toys.PLANS[plan] | {"weights": "pretrained", "learning_rates": [0.003]}))
    return count_work(*cut_at_boundary(backbone), 32)


@pytest.mark.parametrize(
    ("plan", "cache_bytes", "through_prefix"),
    [
        ("head", 10**9, 2 * 70),  # both views of all that any seed trains on, once
        ("part", 1_000, 2 * 70),
        ("part", 0, 2 * 2 * 50),  # each seed's training images in each of two epochs
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


@pytest.mark.parametrize("plan", ["block", "norms"])
def test_a_run_that_was_killed_and_goes_on_ends_with_the_same_files_and_the_same_counted_costs(
    plan: str, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left() -> tuple[dict[str, object], list[bytes]]:
        folder = toy / "runs" / plan
        costs = json.loads((folder / "costs.json").read_text())
        names = ("run.json", "seed-0.safetensors", "seed-1.safetensors")
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
    assert len(toys.left_in_scratch(toy)) == 2
    toys.train_toy(toy, plan)
    assert left() == expected


def test_a_run_is_the_same_wherever_its_prefix_was_kept(toy: Path) -> None:
    weights, histories = [], []
    for cache_bytes in (10**9, 1_000, 0):
        folder = toys.train_toy(toy, "head", cache_bytes=cache_bytes)
        weights.append((folder / "seed-1.safetensors").read_bytes() + (folder / "run.json").read_bytes())
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


def sleepless(backbone: nn.Sequential, at: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Cut the backbone, and wake a norm of its prefix."""
    prefix, suffix = cut_at_boundary(backbone, at)
    prefix.get_submodule("stem.1").training = True
    return prefix, suffix


@pytest.mark.parametrize(
    ("name", "mistaken", "found"),
    [
        ("start_fit", careless, r"stage3\.2\.\S+ is in the optimizer, although it is frozen"),
        ("cut_at_boundary", sleepless, r"depends on its batch mates: stem\.1 is where it begins"),
    ],
)
def test_a_run_whose_audit_fails_fails_and_leaves_no_results(
    name: str, mistaken: object, found: str, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, name, mistaken)
    with pytest.raises(AuditError, match=found):
        toys.train_toy(toy, "surgical", cache_bytes=1_000)
    assert not (toy / "runs" / "surgical").exists()
    assert all(path.suffix == ".pt" for path in toys.left_in_scratch(toy))  # checkpoints, and none of the cache


def test_a_plan_that_names_a_block_that_the_backbone_lacks_is_refused_by_name(toy: Path) -> None:
    params = load_yaml((toy / "params.yaml").read_text())
    params["plans"]["block"]["from"] = "stage4.99"
    (toy / "params.yaml").write_text(dump_yaml(params))
    with pytest.raises(ValueError, match=r"^plans\.block on efficientnet_lite0 must name .*Got 'stage4\.99' instead"):
        toys.train_toy(toy, "block")
