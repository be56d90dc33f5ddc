"""A fit that was trained before is found again, by whatever run asks for the same, and by no other."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from frostline.files import hash_file, read_yaml, write_yaml
from frostline.training import checkpoints, grid
from frostline.training.checkpoints import hash_code, save_fit
from frostline.training.loop import Fit
from tests import toys

Trained = list[Path]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Return the checkpoints of the fits that are trained, each once for every epoch."""
    written: Trained = []

    def telling(path: Path, fit: Fit) -> None:
        written.append(path)
        save_fit(path, fit)

    monkeypatch.setattr(grid, "save_fit", telling)
    return written


@pytest.fixture
def keeping(toy: Path) -> Path:
    toys.set_params(toy, training__keep_bytes=10**9)
    return toy


def add_replicates(toy: Path) -> None:
    """Give the toy two replicates more, as another repeat does: those that there were stay as they were."""
    splits = pd.read_csv(toy / "prepared" / "splits.csv")
    more = splits.assign(replicate=splits.replicate + 2, image=(splits.image + 7) % 70)
    pd.concat([splits, more]).to_csv(toy / "prepared" / "splits.csv", index=False)


def weights_of(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in folder.glob("*.safetensors")}


@pytest.mark.long
@pytest.mark.parametrize("plan", ["head", "part", "gradual"])
def test_more_replicates_train_only_what_is_new_and_end_as_if_all_were_trained_at_once(
    plan: str, keeping: Path, trained: Trained
) -> None:
    first = weights_of(toys.train_toy(keeping, plan))
    before = len(trained)
    add_replicates(keeping)
    both = toys.train_toy(keeping, plan)
    assert len(trained) == 2 * before
    assert {name: digest for name, digest in weights_of(both).items() if name in first} == first
    told, found = json.loads((both / "run.json").read_text()), weights_of(both)
    toys.set_params(keeping, training__keep_bytes=0)
    again = toys.train_toy(keeping, plan)  # all of it is found, and dropped then
    assert len(trained) == 2 * before
    at_once = toys.train_toy(keeping, plan)
    assert len(trained) == 4 * before
    for folder in (again, at_once):
        assert weights_of(folder) == found
        assert json.loads((folder / "run.json").read_text()) == told


def test_costs_are_those_of_all_fits_whenever_they_were_trained(keeping: Path) -> None:
    toys.train_toy(keeping, "head")
    add_replicates(keeping)
    costs = json.loads((toys.train_toy(keeping, "head") / "costs.json").read_text())
    found = json.loads((toys.train_toy(keeping, "head") / "costs.json").read_text())
    assert costs["epochs"] == 4 * 2
    assert found["train_seconds"] == pytest.approx(costs["train_seconds"])
    assert found == costs | {"peak_memory_bytes": found["peak_memory_bytes"]}


def test_a_rate_that_is_added_is_trained_beside_those_that_were(keeping: Path, trained: Trained) -> None:
    toys.train_toy(keeping, "head")
    before = len(trained)
    toys.set_params(keeping, plans__head__learning_rates=[0.003, 0.01])
    toys.train_toy(keeping, "head")
    assert len(trained) == 2 * before


def test_plans_that_come_to_the_same_thing_share_their_fits(keeping: Path, trained: Trained) -> None:
    params = read_yaml(keeping / "params.yaml")
    params["plans"]["one_view"] = params["plans"]["head"] | {"views": 1}
    write_yaml(keeping / "params.yaml", params)
    one = weights_of(toys.train_toy(keeping, "head", epochs=1))
    before = len(trained)
    other = toys.train_toy(keeping, "one_view", epochs=1)
    assert (weights_of(other), len(trained)) == (one, before)
    assert json.loads((other / "run.json").read_text())["plan"] == "one_view"


def change_an_image(toy: Path) -> None:
    images = np.load(toy / "prepared" / "images.npy")
    images[0, 0, 0, 0] ^= 1
    np.save(toy / "prepared" / "images.npy", images)
    note_digest(toy, "images.npy")


def change_a_label(toy: Path) -> None:
    labels = np.load(toy / "prepared" / "labels.npy")
    labels[0] = 1 - labels[0]
    np.save(toy / "prepared" / "labels.npy", labels)
    note_digest(toy, "labels.npy")


def note_digest(toy: Path, name: str) -> None:
    path = toy / "prepared" / "prepared.json"
    about = json.loads(path.read_text())
    about["sha256"][name] = hash_file(toy / "prepared" / name)
    path.write_text(json.dumps(about))


def change_the_split(toy: Path) -> None:
    splits = pd.read_csv(toy / "prepared" / "splits.csv")
    swapped = splits.split.map({"validation": "test", "test": "validation", "train": "train"})
    splits.assign(split=swapped).to_csv(toy / "prepared" / "splits.csv", index=False)


CHANGES: list[Callable[[Path], None]] = [
    change_an_image,
    change_a_label,
    change_the_split,
    lambda toy: toys.set_params(toy, training__batch_size=23),
    lambda toy: toys.set_params(toy, training__weight_decay=0.5),
    lambda toy: toys.set_params(toy, training__augmentation__flips="none"),
    lambda toy: toys.set_params(toy, training__augmentation_seed=1),
    lambda toy: toys.set_params(toy, plans__head__learning_rates=[0.004]),
    lambda toy: toys.set_params(toy, plans__head__layer_decay=0.5),
    lambda toy: toys.set_params(toy, plans__head__train=["stage4.4", "head"]),
]


@pytest.mark.long
@pytest.mark.parametrize("change", CHANGES)
def test_other_data_or_parameters_find_nothing_old(
    change: Callable[[Path], None], keeping: Path, trained: Trained
) -> None:
    toys.train_toy(keeping, "head")
    before = len(trained)
    change(keeping)
    toys.train_toy(keeping, "head")
    assert len(trained) == 2 * before
    assert set(trained[:before]).isdisjoint(trained[before:])


def test_other_code_finds_nothing_old(
    keeping: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toys.train_toy(keeping, "head")
    before = len(trained)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "new.py").write_text("# another line of code\n")
    monkeypatch.setattr(checkpoints, "CODE", (*checkpoints.CODE, tmp_path / "more"))
    hash_code.cache_clear()
    toys.train_toy(keeping, "head")
    assert len(trained) == 2 * before


@pytest.mark.parametrize("name", ["training__cache_bytes", "training__keep_bytes", "logging__tensorboard"])
def test_what_only_says_where_things_are_kept_trains_nothing_anew(name: str, keeping: Path, trained: Trained) -> None:
    toys.train_toy(keeping, "head")
    before = len(trained)
    toys.set_params(keeping, **{name: True if name.endswith("tensorboard") else 10**8})
    toys.train_toy(keeping, "head")
    assert len(trained) == before


def test_the_first_replicate_tunes_and_its_choice_serves_the_others(toy: Path, trained: Trained) -> None:
    toys.set_params(toy, study__tune="first", plans__head__learning_rates=[0.003, 0.0003])
    folder = toys.train_toy(toy, "head")
    history = pd.read_csv(folder / "history.csv")
    chosen = json.loads((folder / "run.json").read_text())["learning_rate"]
    tuned = history[history.replicate == 0]
    assert set(tuned.learning_rate) == {0.003, 0.0003}
    assert chosen == tuned.groupby("learning_rate").val_loss.min().idxmin()
    assert set(history[history.replicate == 1].learning_rate) == {chosen}
    assert len(trained) == len(history) == 3 * 2


@pytest.mark.long
def test_phases_are_tuned_in_the_first_replicate_too(toy: Path) -> None:
    phases = [{"from": depth, "epochs": 1, "learning_rates": [0.003, 0.0003]} for depth in ("head", "stage4")]
    params = read_yaml(toy / "params.yaml")
    params["study"]["tune"] = "first"
    params["plans"]["grid"] = {"weights": "pretrained", "phases": phases}
    write_yaml(toy / "params.yaml", params)
    history = pd.read_csv(toys.train_toy(toy, "grid") / "history.csv")
    assert history[history.replicate == 0].learning_rate.nunique() == 4
    assert history[history.replicate == 1].learning_rate.nunique() == 1
