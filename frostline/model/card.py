"""The card: a README in the hub's form, filled from the study, and the lines that load the model elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from huggingface_hub import EvalResult, ModelCardData

from frostline.networks.timm_models import must_be_told_side, read_timm_licence
from frostline.networks.weights import get_torchvision_weights
from frostline.stats.metrics import count_confusion

MOST_CONFUSIONS = 5
MOST_CLASSES = 200
"""Rows of the table of classes."""
IMAGE_LINES = """image = ImageOps.fit(Image.open("image.png").convert("RGB"), ({px}, {px}), Image.Resampling.BICUBIC)"""
ONNX_LINES = """import numpy, onnxruntime
from PIL import Image, ImageOps
{image}
session = onnxruntime.InferenceSession("model.onnx")
print(session.run(["probabilities"], {{"pixels": numpy.asarray(image)[None]}})[0])"""
LIBRARY_LINES = """import numpy, {library}, torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
model = {make}.eval()
model.load_state_dict(load_file("model.safetensors"))
{image}
pixels = (torch.tensor(numpy.asarray(image)).float() - torch.tensor({mean})) / torch.tensor({deviation})
print(model(pixels.permute(2, 0, 1)[None]).div({temperature}).softmax(1))"""


@dataclass(frozen=True)
class Library:
    """The library that has the network, and the call that builds it there; both empty where none has it."""

    name: str
    make: str


def find_library(backbone: str, classes: int, px: int, *, is_whole: bool) -> Library:
    """Return how timm or torchvision builds the network for so many classes and images of that side.

    One that ends early (`is_whole` False) is in no library.
    """
    library, _, name = backbone.partition("/")
    if not is_whole or library == "models":
        return Library("", "")
    if library == "timm" or backbone.startswith("efficientnet_lite"):
        name = name if library == "timm" else f"tf_{backbone}"
        side = f", img_size={px}" if library == "timm" and must_be_told_side(name, px) else ""
        return Library("timm", f"timm.create_model({name!r}, num_classes={classes}{side})")
    from torchvision import models

    name = name if library == "torchvision" else backbone
    if name not in models.list_models(module=models):
        return Library("", "")
    more = f", image_size={px}" if name.startswith("vit_") else ""
    if name in ("inception_v3", "googlenet"):
        more = ", aux_logits=False, transform_input=False, init_weights=True"
    return Library("torchvision", f"torchvision.models.get_model({name!r}, num_classes={classes}{more})")


def write_recipes(about: dict[str, Any]) -> dict[str, str]:
    """Return the lines of Python by which the model predicts an image: with onnxruntime, and with its library."""
    image = IMAGE_LINES.format(px=about["input"]["image_px"])
    library = about["library"]
    scaling = {"mean": about["input"]["mean"], "deviation": about["input"]["deviation"]}
    with_library = LIBRARY_LINES.format(
        library=library["name"], make=library["make"], image=image,
        temperature=about["calibration"]["temperature"], **scaling,
    )  # fmt: skip
    return {"onnx": ONNX_LINES.format(image=image), "library": with_library if library["name"] else ""}


def tell_weights_licence(backbone: str, weights: str) -> str:
    """Return the licence of the weights that training began with, as far as their publisher names one."""
    if weights == "none":
        return "none were taken"
    if weights != "pretrained":
        return f"not known to Frostline: {weights} is yours"
    library, _, name = backbone.partition("/")
    on_imagenet = "trained on ImageNet, whose images are for non-commercial research and education"
    if backbone.startswith("efficientnet_lite"):
        return f"Apache-2.0; {on_imagenet}"
    if library == "timm":
        return f"{read_timm_licence(name) or 'not named'}, as timm tells of {name}"
    own = get_torchvision_weights(name if library == "torchvision" else backbone).meta.get("license")
    return str(own) if own else f"BSD-3-Clause; {on_imagenet}"


def tabulate_classes(
    predictions: pd.DataFrame, classes: list[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a row for each class that was tested, and the pairs of classes that are confused most often."""
    counts = count_confusion(predictions, classes)
    images = counts.sum(1)
    rows = [
        {"name": name, "images": int(images[place]), "recall": counts[place, place] / images[place]}
        for place, name in enumerate(classes[:MOST_CLASSES])
        if images[place]
    ]
    shares = np.divide(counts, images[:, None], out=np.zeros(counts.shape), where=images[:, None] > 0)
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [np.unravel_index(place, shares.shape) for place in order]
    confused = [
        {"actual": classes[actual], "predicted": classes[predicted], "share": float(shares[actual, predicted])}
        for actual, predicted in pairs
        if shares[actual, predicted]
    ]
    return rows, confused


def write_card(about: dict[str, Any], predictions: pd.DataFrame) -> str:
    """Return the card of the model that model.json tells of, whose plan made these predictions of what it tested."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True, autoescape=False,  # noqa: S701
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    by_class, confusions = tabulate_classes(predictions, about["classes"])
    title = f"{about['backbone']} for {', '.join(about['classes'][:3])}{', ...' if len(about['classes']) > 3 else ''}"
    return environment.get_template("card.md").render(
        about=about,
        head=_write_head(about, title),
        title=title,
        classes=about["classes"],
        px=about["input"]["image_px"],
        by_class=by_class,
        confusions=confusions,
        recipes=write_recipes(about),
        percent=lambda share: f"{100 * share:.1f} %",
        points=lambda share: f"{100 * share:+.2f}",
    )


def _write_head(about: dict[str, Any], title: str) -> str:
    measured, data = about["measured"], about["data"]
    accuracy = EvalResult(
        task_type="image-classification", dataset_type="image-folder", dataset_name=str(data["origin"]),
        metric_type="accuracy", metric_value=measured["accuracy"],
        metric_name=f"accuracy of the plan ({measured['accuracy_low']:.3f} to {measured['accuracy_high']:.3f})",
    )  # fmt: skip
    told = ModelCardData(
        model_name=title,
        library_name=about["library"]["name"] or "pytorch",
        license="other",
        license_name="of-the-images-and-of-the-pretrained-weights",
        pipeline_tag="image-classification",
        tags=["image-classification", "fine-tuned", "frostline", *(["onnx"] if about["onnx"]["made"] else [])],
        metrics=["accuracy"],
        eval_results=[accuracy],
    )
    return str(told.to_yaml()).strip()
