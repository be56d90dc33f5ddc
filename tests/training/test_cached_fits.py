"""A fit ends the same wherever its prefix is kept, and a kept prefix runs once."""

from pathlib import Path

import pytest
import torch

from frostline.networks.catalog import ARCHITECTURES
from frostline.params.schema import Plan
from frostline.training.grid import make_feed
from tests import toys
from tests.toys import assert_near, assert_same, plan, train, train_whole, training
from tests.training.cached import BUDGETS


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
    assert_near(whole, fits["memory"])


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
    assert_near(whole, fits["memory"])
    flipped = fit_in_each_place(*asked_plan, tmp_path / "flipped", views=3)
    with pytest.raises(AssertionError):
        assert_near(whole, flipped["memory"])


@pytest.mark.slow
def test_the_same_holds_for_a_real_vision_transformer_at_224_px(tmp_path: Path) -> None:
    torch.manual_seed(0)
    toys.save_file(ARCHITECTURES["vit_b_16"].original(224).state_dict(), tmp_path / "vit.safetensors")
    asked = plan(from_="stage4.2", weights=str(tmp_path / "vit.safetensors"))
    fits = {}
    for place, cache_bytes in BUDGETS.items():
        job = toys.job("vit_b_16", asked, tmp_path / place, training(cache_bytes=cache_bytes, epochs=2), side=224)
        fits[place] = train(job, make_feed(job))
    assert_same(fits["scratch"], fits["memory"])
    assert_same(fits["off"], fits["memory"])
    whole = train_whole(job)
    assert_near(whole, fits["memory"])
