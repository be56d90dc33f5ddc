"""Publications: when and where each architecture was published, as bibliographies have it."""

from dataclasses import dataclass

from frostline.errors import InputError, join_names


@dataclass(frozen=True)
class Publication:
    """The year of the paper's first version, its number in arXiv, and what a reader should know about both."""

    year: int
    arxiv: str
    note: str = ""


PUBLICATIONS = {
    "alexnet": Publication(
        2012,
        "1404.5997",
        "torchvision has the variant of its author's paper of 2014, named here; that of 2012 is not on arXiv.",
    ),
    "vgg16": Publication(2014, "1409.1556"),
    "resnet18": Publication(2015, "1512.03385"),
    "resnet50": Publication(2015, "1512.03385"),
    "inception_v3": Publication(2015, "1512.00567"),
    "densenet121": Publication(2016, "1608.06993"),
    "mobilenet_v2": Publication(2018, "1801.04381"),
    "mobilenet_v3_large": Publication(2019, "1905.02244"),
    "efficientnet_lite0": Publication(
        2020, "1905.11946", "The Lites have no paper; this is EfficientNet's, of 2019, from which they are made."
    ),
    "efficientnet_b0": Publication(2019, "1905.11946"),
    "vit_b_16": Publication(2020, "2010.11929"),
}
"""The publications of the backbones that studies/architectures.yaml compares."""


def find_publication(backbone: str) -> Publication:
    """Return the backbone's publication, or raise an `InputError` that names those that have one here."""
    if backbone not in PUBLICATIONS:
        fix = "Others are to be entered in docs/architectures/publications.py."
        raise InputError.of("backbones of the compared study", f"be {join_names(PUBLICATIONS)}", repr(backbone), fix)
    return PUBLICATIONS[backbone]
