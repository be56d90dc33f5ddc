"""ONNX: the network with its scaling inside, from pixels to calibrated probabilities, and proof of it."""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from frostline.backbones.folding import fold_norms
from frostline.errors import quote_error
from frostline.model.saved import IMAGES_AT_ONCE, LOGITS, PIXELS, PROBABILITIES, Pixels, open_session, run_session
from frostline.networks.catalog import Preprocessing

LARGEST_DIFFERENCE = 1e-3
"""Of a logit, as a share of the largest one, beyond which the exported model is not the same network."""


class ExportError(RuntimeError):
    """The network cannot be written as ONNX, or gives something else there; the message says why in one line."""


class Served(nn.Module):
    """A network with its scaling before it and its calibration after it."""

    scaling_mean: Tensor
    scaling_deviation: Tensor
    temperature: Tensor

    def __init__(self, network: nn.Module, scaling: Preprocessing, temperature: float = 1.0) -> None:
        """Take the network, and by how much its logits are divided before they become probabilities."""
        super().__init__()
        self.network = network
        self._keep("scaling_mean", scaling.mean)
        self._keep("scaling_deviation", scaling.deviation)
        self._keep("temperature", temperature)

    def _keep(self, name: str, values: float | Sequence[float]) -> None:
        self.register_buffer(name, torch.tensor(values))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities, N x classes, of uint8 pixels, N x H x W x 3."""
        scaled = (pixels.float() - self.scaling_mean) / self.scaling_deviation
        logits: Tensor = self.network(scaled.permute(0, 3, 1, 2))
        return logits, (logits / self.temperature).softmax(1)


@contextmanager
def keep_quiet() -> Iterator[None]:
    """Let exporters and quantisers, which log all that they try, say nothing: what goes wrong is raised."""
    was = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(was)


def serve(parts: nn.Sequential, scaling: Preprocessing, image_px: int, temperature: float = 1.0) -> Served:
    """Return the backbone as it is served: in float32 on the processor, its norms folded into its convolutions."""
    return Served(fold_norms(parts.cpu(), image_px), scaling, temperature).eval()


def trace(served: Served, image_px: int) -> Any:
    """Return the served network as an ONNX model, for any number of images, or raise an `ExportError`."""
    pixels = torch.zeros(2, image_px, image_px, 3, dtype=torch.uint8)
    images = torch.export.Dim("images", min=1)
    try:
        with keep_quiet(), torch.no_grad():
            program = torch.onnx.export(
                served, (pixels,), dynamo=True, dynamic_shapes=({0: images},), input_names=[PIXELS],
                output_names=[LOGITS, PROBABILITIES], verbose=False, optimize=True,
            )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - whatever an exporter raises about a network's code
        raise ExportError(f"torch.onnx.export: {quote_error(error)}") from None
    if program is None:
        raise ExportError("torch.onnx.export gave nothing")
    model = program.model_proto  # which is made anew whenever it is asked for
    _forget_origins(model)
    return model


def write_bytes(model: Any) -> bytes:
    """Return the model as the bytes of a file, or raise an `ExportError` where that may hold no more than 2 GB."""
    try:
        written: bytes = model.SerializeToString()
    except Exception as error:  # noqa: BLE001 - protobuf's own, of which each of its versions has others
        raise ExportError(f"protobuf: {quote_error(error)}") from None
    return written


def _forget_origins(model: Any) -> None:
    """Take out of which lines of which files each step came: they name folders of this machine, and differ in order."""
    for told in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    ):
        told.ClearField("doc_string")
        told.ClearField("metadata_props")


@dataclass(frozen=True)
class Template:
    """An ONNX model whose tensors can be those of any network that was served in the same way."""

    model: Any

    @classmethod
    def make(cls, served: Served, image_px: int) -> "Template":
        """Return the template of the network, traced with noise: of tensors that are the same exporters make one."""
        noisy, noise = copy.deepcopy(served), torch.Generator().manual_seed(0)
        for tensor in (*noisy.parameters(), *noisy.buffers()):
            if tensor.is_floating_point():
                tensor.detach().copy_(torch.rand(tensor.shape, generator=noise))
        return cls(trace(noisy, image_px))

    def fill(self, served: Served) -> bytes:
        """Return the model with the tensors of this network, which it must fit, as the bytes of a file."""
        tensors = dict(served.named_parameters()) | dict(served.named_buffers())
        for initializer in self.model.graph.initializer:
            if initializer.name in tensors:
                values = tensors[initializer.name].detach().cpu().contiguous().numpy()
                initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
        return write_bytes(self.model)

    def fits(self, served: Served) -> bool:
        """Return whether each tensor of the network has its place here: one that became a part of another has none."""
        places = {initializer.name: list(initializer.dims) for initializer in self.model.graph.initializer}
        tensors = (*served.named_parameters(), *served.named_buffers())
        return all(places.get(name) == list(tensor.shape) for name, tensor in tensors)


def check_against_torch(model: bytes, served: Served, images: Pixels) -> dict[str, Any]:
    """Return by how much the logits of these images differ from torch's at most, and whether the classes are the same.

    Raises an `ExportError` where that is more than rounding.
    """
    found = run_session(open_session(model), images, np.arange(len(images)))
    with torch.no_grad():
        expected = torch.cat(
            [served(torch.from_numpy(part))[0] for part in np.array_split(images, -(-len(images) // IMAGES_AT_ONCE))]
        )
    wanted = expected.numpy()
    largest = float(np.abs(found - wanted).max())
    if not largest <= LARGEST_DIFFERENCE * max(1.0, float(np.abs(wanted).max())):
        raise ExportError(f"its logits differ from torch's by {largest:.3g}")
    differs = found.argmax(1) != wanted.argmax(1)
    two = np.sort(wanted, axis=1)[:, -2:]
    is_tie = (two[:, -1] - two[:, 0]) <= 2 * largest  # which a rounding decides
    if (differs & ~is_tie).any():
        raise ExportError(f"it names another class than torch for {int((differs & ~is_tie).sum())} images")
    return {"images": len(images), "largest_difference": largest, "same_class": int((~differs).sum())}


def describe_graph(model: bytes) -> Mapping[str, Any]:
    """Return the opset that the model is written in, and its bytes."""
    return {"opset": int(onnx.load_from_string(model).opset_import[0].version), "bytes": len(model)}
