"""Every classifier of torchvision has weights and a preprocessing that are known, whatever they are called there."""

import pytest
from torchvision import models

from frostline.networks.catalog import find_architecture
from frostline.networks.weights import get_torchvision_weights

NAMES = models.list_models(module=models)


@pytest.mark.parametrize("name", NAMES)
def test_its_first_weights_and_the_side_of_their_images_are_known(name: str) -> None:
    images = find_architecture(f"torchvision/{name}").preprocessing()
    assert images.px >= 224
    assert get_torchvision_weights(name).url.startswith("https://")


def test_where_there_are_weights_of_imagenet_alone_they_are_the_ones() -> None:
    others = [name for name in NAMES if not get_torchvision_weights(name).name.endswith("IMAGENET1K_V1")]
    assert others == ["regnet_y_128gf", "vit_h_14"]
