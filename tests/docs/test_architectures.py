"""Counted, published or measured, and empty where none of these."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from torchvision import models

from docs.architectures.build import read_published
from docs.architectures.figure import LOOKS
from docs.architectures.publications import PUBLICATIONS, find_publication
from frostline.errors import InputError
from frostline.networks.weights import load_torchvision_tensors
from tests.docs.architectures import BACKBONES

OF_TORCHVISION = [name for name in BACKBONES if name != "efficientnet_lite0"]


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_parameters_compute_and_top1_are_those_of_torchvisions_metadata(name: str, plain: pd.DataFrame) -> None:
    about = models.get_model_weights(name)["IMAGENET1K_V1"]
    row = plain.set_index("backbone").loc[name]
    assert row.parameters + auxiliary(name) == about.meta["num_params"]
    assert row.flops == pytest.approx(2e9 * about.meta["_ops"], rel=0.01)
    assert row.published_top1 == about.meta["_metrics"]["ImageNet-1K"]["acc@1"]


def auxiliary(name: str) -> int:
    """Return the parameters of Inception's auxiliary classifier, which torchvision counts and nobody fine-tunes."""
    if name != "inception_v3":
        return 0
    with torch.device("meta"):
        model = models.inception_v3(weights=None, init_weights=False)
    return sum(parameter.numel() for parameter in model.AuxLogits.parameters())


@pytest.mark.parametrize(
    ("name", "known"),
    [("alexnet", (224, 56.522)), ("inception_v3", (299, 77.294)), ("vit_b_16", (224, 81.072)),
     ("efficientnet_lite0", (224, None))],
)  # fmt: skip
def test_published_is_what_stands_in_torchvisions_documentation_and_of_lite0_nothing(
    name: str, known: tuple[int, float | None]
) -> None:
    assert read_published(name) == known


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_top1_is_that_of_the_very_file_which_is_loaded(name: str, tmp_path: Path) -> None:
    """A damaged file of that name in torch's cache is refused by its path when the backbone's weights are loaded."""
    weights = models.get_model_weights(name)["IMAGENET1K_V1"]
    usual = torch.hub.get_dir()
    file = tmp_path / "checkpoints" / weights.url.rpartition("/")[2]
    file.parent.mkdir()
    file.write_bytes(b"damaged")
    torch.hub.set_dir(tmp_path)
    try:
        with pytest.raises(InputError, match=f"^{re.escape(str(file))} must have a SHA-256"):
            load_torchvision_tensors(name, torch.nn.Identity())
    finally:
        torch.hub.set_dir(usual)
    assert read_published(name)[1] == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]


def test_every_backbone_of_the_study_has_a_year_and_a_paper_and_no_other_has() -> None:
    assert sorted(PUBLICATIONS) == sorted(BACKBONES)
    for name, publication in PUBLICATIONS.items():
        assert re.fullmatch(r"\d{4}\.\d{5}|\d{4}\.\d{4}", publication.arxiv), name
        written = 2000 + int(publication.arxiv[:2])
        assert publication.year == written or publication.note, name


def test_a_backbone_without_a_publication_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"must be alexnet, .* or vit_b_16. Got 'swin_t' instead. Others are to be"):
        find_publication("swin_t")


def test_kinds_are_told_apart_by_what_computes(plain: pd.DataFrame) -> None:
    kinds = plain.groupby("kind").backbone.agg(set).to_dict()
    assert kinds.pop("attention") == {"vit_b_16"}
    assert kinds.pop("depthwise convolutions") == {
        "mobilenet_v2", "mobilenet_v3_large", "efficientnet_lite0", "efficientnet_b0",
    }  # fmt: skip
    assert set(kinds) == {"full convolutions"}
    assert set(plain.kind) == set(LOOKS)
