"""A server of published weights, and files of one's own."""

import hashlib
import io
from pathlib import Path

import pytest
import torch
from torch import Tensor

from frostline.backbones.registry import build_backbone
from frostline.errors import InputError
from tests.loopback import Server

TENSORS = {"a.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "a.bias": torch.tensor([5.0, 6.0])}


class Published(Server):
    """A server of weights."""

    def publish(self, content: bytes, name: str = "toy", named_after: bytes | None = None) -> str:
        """Return the URL of the content, whose name ends in the start of its SHA-256, or in that of another."""
        digest = hashlib.sha256(content if named_after is None else named_after).hexdigest()
        path = f"/models/{name}-{digest[:8]}.pth"
        self.files[path] = content
        return self.address + path


def saved(content: object, **how: bool) -> bytes:
    """Return the bytes of a file that torch saved."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def kept(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def refusal(path: Path | str, name: str = "resnet18") -> str:
    with pytest.raises(InputError) as caught:
        build_backbone(name, str(path), 3)
    assert "\n" not in str(caught.value)
    return str(caught.value)
