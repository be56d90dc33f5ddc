"""Forms: the model as ONNX and in 8-bit integers, each checked before it is kept, and what each is worth."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from frostline.backbones.runs import load_backbone
from frostline.data.images import Prepared
from frostline.model.onnx_export import (
    ExportError,
    Served,
    Template,
    check_against_torch,
    describe_graph,
    serve,
    trace,
    write_bytes,
)
from frostline.model.quantization import (
    Integers,
    choose_replicates,
    compare_on_folds,
    describe_comparison,
    draw_images,
    quantize,
    time_models,
)
from frostline.model.saved import INT8, ONNX
from frostline.networks.catalog import Preprocessing, find_architecture

CHECKED = 256
"""Images on which the exported model is held against torch's."""


@dataclass
class Folds:
    """The run's models of its folds as ONNX, from one template where their tensors keep their places in it."""

    run: Path
    backbone: str
    data: Prepared
    groups: Integers
    replicates: list[int]
    templates: list[Template] = field(default_factory=list)

    @property
    def image_px(self) -> int:
        """The side of the images."""
        return int(self.data.images.shape[1])

    @property
    def scaling(self) -> Preprocessing:
        """How the images are scaled."""
        return find_architecture(self.backbone).preprocessing()

    def serve(self, parts: nn.Sequential, temperature: float = 1.0) -> Served:
        """Return a backbone as it is served."""
        return serve(parts, self.scaling, self.image_px, temperature)

    def write(self, served: Served) -> bytes:
        """Return the served network as ONNX; it takes seconds to trace one, and none to fill it with other tensors."""
        if not self.templates:
            self.templates.append(Template.make(served, self.image_px))
        (template,) = self.templates
        if template.fits(served):
            return template.fill(served)
        return write_bytes(trace(served, self.image_px))

    def make(self, replicate: int) -> bytes:
        """Return the model of the replicate."""
        return self.write(self.serve(load_backbone(self.run, replicate)))


def write_forms(folder: Path, served: Served, folds: Folds) -> dict[str, Any]:
    """Write the served model as ONNX and in 8 bits; return what model.json tells of both.

    Where one cannot be made it says why: the weights are there all the same.
    """
    images = folds.data.images
    shown = np.array(images[np.linspace(0, len(images) - 1, min(CHECKED, len(images))).round().astype(int)])
    try:
        model = folds.write(served)
        onnx = {"made": True, **check_against_torch(model, served, shown), **describe_graph(model)}
    except ExportError as error:
        reason = str(error)
        return {"onnx": {"made": False, "reason": reason}, "int8": {"made": False, "reason": "there is no ONNX of it"}}
    (folder / ONNX).write_bytes(model)
    try:
        small = quantize(model, draw_images(folds.data, folds.replicates))
        compared = compare_on_folds(
            folds.data, folds.groups, choose_replicates(folds.data.splits, folds.replicates), folds.make
        )
    except ExportError as error:
        return {"onnx": onnx, "int8": {"made": False, "reason": str(error)}}
    (folder / INT8).write_bytes(small)
    onnx["images_per_second"], speed = (round(each, 1) for each in time_models([model, small], shown))
    return {
        "onnx": onnx,
        "int8": {"made": True, "bytes": len(small), "images_per_second": speed, **describe_comparison(compared)},
    }
