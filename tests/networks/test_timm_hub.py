"""timm's networks come from the hub by timm's own API, and what goes wrong on the way is told in one line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save
from torch import nn

from frostline.backbones.registry import build_backbone, build_original_classifier
from frostline.errors import InputError
from frostline.networks import timm_models
from frostline.networks.catalog import _find_in_library, find_architecture
from tests.loopback import Server, point_hub_at, serving

pytestmark = pytest.mark.usefixtures("one_thread")

REPOSITORY, COMMIT = "someone/leaves", "c" * 40
NAME = f"timm/hf-hub:{REPOSITORY}"
CONFIG = {
    "architecture": "test_resnet",
    "num_classes": 7,
    "pretrained_cfg": {
        "input_size": [3, 96, 96], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic",
        "num_classes": 7, "first_conv": "conv1.0", "classifier": "fc",
    },
}  # fmt: skip


class ModelHub(Server):
    """Speaks as much of the hub's protocol as is needed to download a model's files."""

    def refusal(self, path: str) -> dict[str, str]:
        """Say what is not there: the repository, its revision, or the file."""
        repository, _, asked = path.partition("/resolve/")
        there = [known for known in self.files if known.startswith(f"{repository}/resolve/")]
        if not there:
            return {"X-Error-Code": "RepoNotFound"}
        revision = asked.partition("/")[0]
        known = any(path.startswith(f"{repository}/resolve/{revision}/") for path in there)
        return {"X-Error-Code": "EntryNotFound" if known else "RevisionNotFound"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """Return a hub to which the library is pointed, with a cache of its own."""
    with serving(ModelHub) as server:
        point_hub_at(server.address, tmp_path / "cache", monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
        timm_models._read_config.cache_clear()
        _find_in_library.cache_clear()
        yield server


def publish(hub: ModelHub, files: dict[str, bytes], repository: str = REPOSITORY, revision: str = "main") -> None:
    for name, content in files.items():
        path = f"/{repository}/resolve/{revision}/{name}"
        hub.files[path] = content
        hub.headers[path] = {"ETag": f'"{"e" * 39}{len(content) % 10}"', "X-Repo-Commit": COMMIT}


def trained() -> nn.Module:
    torch.manual_seed(3)
    return timm.create_model("test_resnet", num_classes=7)


def published(hub: ModelHub, revision: str = "main", **files: bytes) -> nn.Module:
    model = trained()
    weights = {"model.safetensors": save(model.state_dict())} | {
        name.replace("__", "."): it for name, it in files.items()
    }
    publish(hub, {"config.json": json.dumps(CONFIG).encode(), **weights}, revision=revision)
    return model


def test_a_repository_s_network_comes_with_its_weights_and_what_they_were_trained_on(hub: ModelHub) -> None:
    model = published(hub)
    loaded = build_original_classifier(NAME, "pretrained")
    state = loaded.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    images = find_architecture(NAME).preprocessing()
    assert (images.px, images.interpolation) == (96, "bicubic")
    assert images.mean == pytest.approx((25.5, 51, 76.5))
    assert build_backbone(NAME, "pretrained", 3, 64).eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_a_revision_is_the_one_that_is_named(hub: ModelHub) -> None:
    published(hub, revision="v2")
    build_original_classifier(f"{NAME}@v2", "pretrained")
    with pytest.raises(InputError) as caught:
        build_original_classifier(f"{NAME}@v3", "pretrained")
    assert str(caught.value) == (
        f"backbone must name a commit, tag or branch of its repository. Got '{NAME}@v3' instead."
    )


def test_a_model_of_timm_comes_from_where_timm_has_it(hub: ModelHub) -> None:
    model = timm.create_model("test_resnet")
    repository = timm.get_pretrained_cfg_value("test_resnet", "hf_hub_id")
    assert repository == "timm/test_resnet.r160_in1k"
    publish(hub, {"model.safetensors": save(model.state_dict())}, repository)
    state = build_original_classifier("timm/test_resnet", "pretrained").state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def refusal(name: str = NAME) -> str:
    with pytest.raises(InputError) as caught:
        build_original_classifier(name, "pretrained")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


def test_what_is_not_there_is_told_by_name(hub: ModelHub) -> None:
    assert re.match(rf"backbone must name a repository .* Got '{NAME}' instead\.", refusal())
    publish(hub, {"README.md": b"no model"})
    assert re.match(rf"backbone must name a repository .* Got '{NAME}' instead\.", refusal())
    assert "Got 'timm/hf-hub:no/such/name'" in refusal("timm/hf-hub:no/such/name")


@pytest.mark.parametrize("cut", [10, 1_000])
def test_a_truncated_file_is_refused(hub: ModelHub, cut: int) -> None:
    weights = save(trained().state_dict())
    published(hub, model__safetensors=weights[:-cut])
    assert re.match(rf"the weights of {NAME} must come whole from \S+\. Got .* instead\.", refusal())


def test_a_file_with_code_in_it_is_refused_and_the_code_does_not_run(hub: ModelHub, tmp_path: Path) -> None:
    from tests.backbones.published import saved
    from tests.backbones.test_own_weights import Dangerous

    mark = tmp_path / "mark"
    published(hub)
    del hub.files[f"/{REPOSITORY}/resolve/main/model.safetensors"]
    publish(hub, {"pytorch_model.bin": saved({"fc.weight": torch.zeros(1), "run": Dangerous(mark)})})
    assert refusal().startswith(f"the weights of {NAME} must come whole from")
    assert not mark.exists()


def test_a_hub_that_breaks_down_twice_is_asked_a_third_time(hub: ModelHub) -> None:
    published(hub)
    hub.troubles.extend(["breaks down", "breaks down"])
    build_original_classifier(NAME, "pretrained")


def test_a_hub_that_is_down_or_silent_is_told_with_what_runs_without_it(hub: ModelHub) -> None:
    published(hub)
    for trouble, got in (("breaks down", r"the answer 503"), ("stalls", r".*tim.*out.*")):
        hub.troubles.extend([trouble] * 3)
        words = rf"the weights of {NAME} must come whole from \S+\. Got {got} instead\. Offline, take efficient"
        assert re.match(words, refusal())
        hub.troubles.clear()


@pytest.mark.usefixtures("hub")
def test_without_a_connection_one_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as other:
        address = other.address
    point_hub_at(address, tmp_path, monkeypatch)
    words = rf"the weights of {NAME} must come whole from {address}\. Got .*refused.* instead\. Offline, take efficient"
    assert re.match(words, refusal())


def test_offline_what_was_downloaded_is_taken_and_what_was_not_is_told(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(hub)
    build_original_classifier(NAME, "pretrained")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    build_original_classifier(NAME, "pretrained")
    assert hub.asked == []
    assert "Got HF_HUB_OFFLINE, and no such file here, instead." in refusal("timm/hf-hub:someone/else")


def test_a_model_that_timm_has_no_weights_of_says_so() -> None:
    name = next(name for name in timm.list_models("*tiny*") if not timm.is_model_pretrained(name))
    line = f"the weights of timm/{name} must be none or a file. Got 'pretrained' instead. timm has none of it."
    assert refusal(f"timm/{name}") == line


def test_a_side_that_a_network_cannot_see_is_told_before_anything_is_asked_for(hub: ModelHub) -> None:
    line = r"^data.image_px must be a side that timm/nest_tiny_jx can see, such as 224\."
    with pytest.raises(InputError, match=line):
        build_original_classifier("timm/nest_tiny_jx", "pretrained", 100)
    assert hub.asked == []
