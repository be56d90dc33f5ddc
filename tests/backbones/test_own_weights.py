"""A file of one's own is loaded bit for bit, or refused in words."""

import pickle
import struct
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from frostline.backbones.registry import build_original_classifier
from frostline.errors import InputError
from frostline.networks.weights import read_tensors
from tests.backbones.published import TENSORS, refusal, same, saved

pytestmark = pytest.mark.usefixtures("cache")


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


NO_WEIGHTS = (
    "must be a safetensors or state-dict file. Got other bytes, or code instead. Save model.state_dict() alone."
)


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
    assert refusal(own) == f"{own} {NO_WEIGHTS}"
    assert not mark.exists()
    with own.open("rb") as file:
        (pickle.load if plain else partial(torch.load, weights_only=False))(file)
    assert mark.exists()  # it would have run elsewhere


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.pth"
    torch.save(nn.Linear(2, 2), own)
    assert refusal(own) == f"{own} {NO_WEIGHTS}"


@pytest.mark.parametrize("name", ["own.pth", "own.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"hello", b"PK\x03\x04", b"\x80\x02", b"\x80\x02}q.", b"NJR.q", b"a\x00"]
)
def test_bytes_that_are_no_weights_are_refused_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    own = tmp_path / name
    own.write_bytes(content)
    line = f"{own} {NO_WEIGHTS}"
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


@pytest.mark.parametrize("nested", [(), ("state_dict",), ("model",), ("model_state_dict",), ("state_dict", "model")])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "backbone.", "model._orig_mod."])
def test_a_checkpoint_of_a_training_loop_is_looked_into_and_a_wrapper_s_prefix_is_taken_off(
    tmp_path: Path, nested: tuple[str, ...], prefix: str
) -> None:
    state = resnet18_state()
    content: object = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    for name in reversed(nested):
        content = {"epoch": 3, "optimizer": {"state": {}}, name: content}
    own = tmp_path / "own.ckpt"
    torch.save(content, own)
    assert same(build_original_classifier("resnet18", str(own)).state_dict(), state)


def test_a_prefix_of_some_names_alone_is_part_of_them(tmp_path: Path) -> None:
    own = write_state(tmp_path / "own.pth", resnet18_state() | {"model.head.weight": torch.zeros(1)})
    assert refusal(own).endswith("Got 'model.head.weight' instead.")


def test_a_folder_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} must be a weights file. Got a folder instead."
    missing = tmp_path / "missing.safetensors"
    assert refusal(missing) == f"{missing} must be a weights file. Got no file instead."


def test_a_safetensors_file_that_lies_about_its_length_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.safetensors"
    own.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    assert refusal(own) == f"{own} {NO_WEIGHTS}"
