"""What evaluate makes of a run is what the backbone says of the images."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from frostline.backbones.inference import Images, LiveInputs, predict
from frostline.backbones.runs import load_backbone, read_run
from frostline.data.images import read_prepared
from frostline.files import read_yaml, write_yaml
from frostline.stats.metrics import score_predictions
from stages import evaluate
from tests import toys
from tests.project import seal


@pytest.mark.parametrize("plan", ["block", "norms"])
def test_a_run_of_any_plan_is_evaluated_and_scored_on_what_each_replicate_tests(plan: str, toy: Path) -> None:
    folder = toys.train_toy(toy, plan)
    evaluate.main(params=toy / "params.yaml", prepared=toy / "prepared", run=folder, out=toy / "scores")
    predictions = pd.read_parquet(toy / "scores" / "predictions.parquet")
    shown = predictions.groupby("replicate", sort=False).image.agg(list).to_dict()
    assert shown == {0: [66, 67, 68, 69], 1: [0, 1, 2, 3]}
    scores = json.loads((toy / "scores" / "metrics.json").read_text())
    assert scores == {
        str(replicate): score_predictions(predictions[predictions.replicate == replicate], ["dark", "bright"])
        for replicate in (0, 1)
    }
    live = LiveInputs(Images.hold(read_prepared(toy / "prepared").images, toys.CPU), "efficientnet_lite0")
    whole = load_backbone(folder, 1).to(memory_format=torch.channels_last)
    expected = predict(whole, live, [np.arange(4)], "float32", toys.CPU).softmax(1)
    found = predictions[predictions.replicate == 1][["probability_dark", "probability_bright"]].to_numpy()
    assert found == pytest.approx(expected.numpy(), abs=1e-5)


def test_what_is_evaluated_is_what_validation_scored_when_the_epoch_was_chosen(toy: Path) -> None:
    """The validation images are tested here, so that both say the same of the same images."""
    folder = toys.train_toy(toy, "part")
    splits = pd.read_csv(toy / "prepared" / "splits.csv")
    swapped = splits.split.map({"validation": "test", "test": "validation", "train": "train"})
    splits.assign(split=swapped).to_csv(toy / "prepared" / "splits.csv", index=False)
    seal(toy / "prepared")
    evaluate.main(params=toy / "params.yaml", prepared=toy / "prepared", run=folder, out=toy / "scores")
    predictions = pd.read_parquet(toy / "scores" / "predictions.parquet")
    for replicate, told in read_run(folder).replicates.items():
        scored = score_predictions(predictions[predictions.replicate == int(replicate)], ["dark", "bright"])
        assert scored["accuracy"] == pytest.approx(told["val_accuracy"])
        assert scored["negative_log_likelihood"] == pytest.approx(told["val_loss"], rel=1e-4)


def test_shifted_images_are_predicted_as_the_backbone_sees_them_shifted(toy: Path) -> None:
    params = read_yaml(toy / "params.yaml")
    params["study"]["shifts"] = [3]
    write_yaml(toy / "params.yaml", params)
    folder = toys.train_toy(toy, "part")
    evaluate.main(params=toy / "params.yaml", prepared=toy / "prepared", run=folder, out=toy / "scores")
    table = pd.read_parquet(toy / "scores" / "shifted.parquet")
    assert table.groupby(["replicate", "shift", "direction"]).size().tolist() == [4] * 8
    data = toys.prepared()
    moved = np.roll(data.images, -3, axis=2)
    moved[:, :, -3:] = data.images[:, :, -1:]  # what comes in from the right repeats the edge
    rows = data.list_rows("test", [1])
    backbone = load_backbone(folder, 1).to(memory_format=torch.channels_last)
    live = LiveInputs(Images.hold(moved, toys.CPU), "efficientnet_lite0")
    wanted = predict(backbone, live, [rows], "float32", toys.CPU).double().softmax(1)
    found = table[(table.replicate == 1) & (table.direction == "left")].filter(like="probability_").to_numpy()
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)
