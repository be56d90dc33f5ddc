"""What is exported is the same network, or is not kept; what is quantised is compared on images never trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from frostline.backbones.registry import build_backbone
from frostline.files import read_json
from frostline.model import quantization
from frostline.model.onnx_export import ExportError, Served, Template, check_against_torch, serve, trace, write_bytes
from frostline.model.quantization import choose_replicates, compare_on_folds, quantize
from frostline.networks.catalog import find_architecture
from tests import toys
from tests.model.finished import noise

pytestmark = pytest.mark.usefixtures("one_thread")


def make_served(name: str = "cnn3", seed: int = 0, px: int = 32) -> Served:
    torch.manual_seed(seed)
    parts = build_backbone(name, "none", 2, px).eval()
    return serve(parts, find_architecture(name).preprocessing(), px)


def test_a_template_is_filled_with_any_network_of_its_kind() -> None:
    template = Template.make(make_served(), 32)
    for seed in (1, 2):
        served = make_served(seed=seed)
        assert template.fits(served)
        told = check_against_torch(template.fill(served), served, noise(20))
        assert told["same_class"] == told["images"] == 20


def test_a_template_does_not_fit_another_network() -> None:
    assert not Template.make(make_served(), 32).fits(make_served("cnn2"))


def test_another_network_than_torchs_is_refused() -> None:
    model = write_bytes(trace(make_served(seed=1), 32))
    with pytest.raises(ExportError, match="its logits differ from torch's by"):
        check_against_torch(model, make_served(seed=2), noise(20))


class Flipped(nn.Module):
    """Adds to one logit what changes no logit by much, and a class where two are near."""

    def __init__(self, served: Served, by: float) -> None:
        super().__init__()
        self.served, self.by = served, by

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, probabilities = self.served(pixels)
        return logits + torch.tensor([self.by, 0.0]), probabilities


def test_where_two_classes_are_equally_likely_rounding_may_decide() -> None:
    served = make_served()
    with torch.no_grad():
        *_, layer = [each for each in served.modules() if isinstance(each, nn.Linear)]
        layer.weight[1] = layer.weight[0]
        layer.bias[1] = layer.bias[0]
    near: Any = Flipped(served, -1e-6)
    told = check_against_torch(write_bytes(trace(near, 32)), served, noise(20))
    assert told["same_class"] == 0


def test_the_model_in_8_bits_is_a_quarter_of_the_size_and_near() -> None:
    served = make_served("efficientnet_lite0")
    model = write_bytes(trace(served, 32))
    small = quantize(model, noise(32))
    assert len(small) < len(model) / 3


def test_replicates_are_taken_until_every_image_is_tested_once() -> None:
    splits = pd.DataFrame({
        "replicate": [0, 0, 1, 1, 2, 2, 3, 3], "image": [0, 1] * 4,
        "split": ["test", "train", "train", "test"] * 2,
    })  # fmt: skip
    assert choose_replicates(splits, [0, 1, 2, 3]) == [0, 1]
    official = splits.assign(split=["test", "train"] * 4)
    assert choose_replicates(official, [0, 1, 2, 3]) == [0]
    assert choose_replicates(splits, [1, 2, 3]) == [1, 2]


def test_a_model_that_loses_nothing_in_8_bits_differs_by_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "quantize", lambda model, _: model)
    models = {seed: write_bytes(trace(make_served(seed=seed), 32)) for seed in (0, 1)}
    found = compare_on_folds(toys.prepared(), np.arange(70), [0, 1], models.__getitem__)
    assert found.images == 8
    assert found.accuracy == found.accuracy_int8
    assert found.difference.estimate == 0


def test_each_fold_is_predicted_by_the_model_that_never_saw_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = toys.prepared()
    shown: list[list[int]] = []

    def run_session(_: object, __: object, rows: Any) -> Any:
        shown.append(list(rows))
        return np.eye(2)[data.labels[rows]]

    monkeypatch.setattr(quantization, "quantize", lambda model, _: model)
    monkeypatch.setattr(quantization, "open_session", lambda model: model)
    monkeypatch.setattr(quantization, "run_session", run_session)
    found = compare_on_folds(data, np.arange(70), [0, 1], lambda replicate: bytes([replicate]))
    assert shown == [[66, 67, 68, 69]] * 2 + [[0, 1, 2, 3]] * 2
    assert found.accuracy == 1.0


def test_what_the_card_says_of_8_bits_is_what_was_measured(part_model: Path) -> None:
    told = read_json(part_model / "model.json")["int8"]
    assert told["images"] == 8
    assert told["difference"]["estimate"] == pytest.approx(told["accuracy_int8"] - told["accuracy"], abs=1e-6)
    assert told["bytes"] == (part_model / "model-int8.onnx").stat().st_size
    shown = [f"{100 * told['difference'][name]:+.2f}" for name in ("estimate", "low", "high")]
    line = "Eight bits change the accuracy by {} points (95 %: {} to {}), measured"
    assert line.format(*shown) in (part_model / "README.md").read_text()
