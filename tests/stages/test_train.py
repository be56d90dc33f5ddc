"""What a run keeps, refuses, and gives back."""

import json
import re
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from frostline.backbones.freezing import apply_plan, count_parameters
from frostline.backbones.inference import Images, LiveInputs, predict, split_batches
from frostline.backbones.registry import build_backbone
from frostline.backbones.runs import load_backbone, read_run
from frostline.files import hash_file
from frostline.params.schema import Plan
from frostline.training import results
from frostline.training.checkpoints import read_best
from frostline.training.loop import Epoch
from frostline.training.results import choose_rates
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


def test_a_rate_at_which_one_replicate_diverged_is_not_kept() -> None:
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


def shown_validation(backbone: nn.Module, replicate: int) -> tuple[Tensor, Tensor]:
    """Return the backbone's logits for the replicate's validation images, and their labels."""
    data = toys.prepared()
    live = LiveInputs(Images.hold(data.images, toys.CPU), "efficientnet_lite0")
    rows = data.list_rows("validation", [replicate])
    backbone.to(memory_format=torch.channels_last)
    return predict(backbone, live, split_batches(rows, 64), "float32", toys.CPU), torch.from_numpy(data.labels[rows])


@pytest.mark.parametrize("plan", toys.PLANS)
def test_a_run_gives_back_the_backbone_as_its_plan_froze_and_trained_it(plan: str, toy: Path) -> None:
    folder = toys.train_toy(toy, plan)
    run = read_run(folder)
    assert {name: run.definition[name] for name in toys.PLANS[plan]} == toys.PLANS[plan]
    for replicate in (0, 1):
        whole = load_backbone(folder, replicate)
        assert not any(module.training for module in whole.modules())
        assert count_parameters(whole) == (run.trainable_parameters, run.parameters)
        logits, labels = shown_validation(whole, replicate)
        told = run.replicates[str(replicate)]
        assert nn.functional.cross_entropy(logits, labels).item() == pytest.approx(told["val_loss"], rel=1e-5)
        assert (logits.argmax(1) == labels).float().mean().item() == pytest.approx(told["val_accuracy"])


def test_other_test_images_and_labels_change_neither_weights_nor_choices(toy: Path) -> None:
    params = load_yaml((toy / "params.yaml").read_text())
    params["plans"]["head"]["learning_rates"] = [0.003, 0.03]
    (toy / "params.yaml").write_text(dump_yaml(params))
    splits = pd.read_csv(toy / "prepared" / "splits.csv")
    splits[splits.replicate == 0].to_csv(toy / "prepared" / "splits.csv", index=False)  # another trains on these
    before = read_run(toys.train_toy(toy, "head"))
    labels, images = (np.load(toy / "prepared" / f"{name}.npy") for name in ("labels", "images"))
    rows = toys.prepared().list_rows("test", [0])
    labels[rows], images[rows] = 1 - labels[rows], 255 - images[rows]
    np.save(toy / "prepared" / "labels.npy", labels)
    np.save(toy / "prepared" / "images.npy", images)
    assert read_run(toys.train_toy(toy, "head")) == before


@pytest.mark.long
@pytest.mark.parametrize("plan", toys.PLANS)
def test_what_comes_back_is_bit_for_bit_what_was_trained(plan: str, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[dict[str, Tensor]] = []

    def telling(path: Path) -> dict[str, Tensor]:
        trained.append({name: tensor.clone() for name, tensor in read_best(path).items()})
        return trained[-1]

    monkeypatch.setattr(results, "read_best", telling)
    folder = toys.train_toy(toy, plan)
    for replicate, suffix in zip((0, 1), trained, strict=True):
        torch.manual_seed(replicate)
        expected = build_backbone("efficientnet_lite0", "pretrained", 2)
        apply_plan(expected, Plan(**read_run(folder).definition))
        expected.load_state_dict(expected.state_dict() | suffix)
        found = load_backbone(folder, replicate)
        assert toys.differing(found.state_dict(), expected.state_dict()) == set()
        assert torch.equal(shown_validation(found, replicate)[0], shown_validation(expected, replicate)[0])


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
    for replicate in (0, 1):
        path = folder / f"replicate-{replicate}.safetensors"
        assert load_file(path).keys() == expected.keys()
        names = 150 * len(expected) + 8  # bytes: safetensors tells each tensor's name, type, shape and place
        assert 0 < path.stat().st_size - sum(tensor.nbytes for tensor in expected.values()) <= names
    assert json.loads((folder / "costs.json").read_text())["learned_bytes"] == path.stat().st_size


@pytest.mark.long
def test_plans_that_learn_little_deep_and_shallow_do_not_send_the_backbone_between(toy: Path) -> None:
    """Their suffix is the whole backbone, of 13.5 MB."""
    stored = {
        plan: (toys.train_toy(toy, plan) / "replicate-0.safetensors").stat().st_size
        for plan in ("edges", "norms", "all")
    }
    assert stored["edges"] < 30_000
    assert stored["norms"] < 450_000
    assert stored["all"] > 13_000_000


def test_a_run_names_each_replicates_file_by_its_hash_and_the_backbone_by_what_no_replicate_learned(toy: Path) -> None:
    folder = toys.train_toy(toy, "head")
    run = read_run(folder)
    assert run.weights_sha256 == {
        str(replicate): hash_file(folder / f"replicate-{replicate}.safetensors") for replicate in (0, 1)
    }
    taught_less = read_run(toys.train_toy(toy, "head", epochs=1))
    assert taught_less.backbone_sha256 == run.backbone_sha256
    assert taught_less.weights_sha256 != run.weights_sha256
    assert read_run(toys.train_toy(toy, "part")).backbone_sha256 != run.backbone_sha256
