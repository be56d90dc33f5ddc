"""The folder that a study leaves: what is in it, that others can load it, and what it says of itself."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from frostline.backbones.adapters import build_for_plan
from frostline.errors import InputError
from frostline.files import check_sums, read_csv, read_json, read_yaml, write_yaml
from frostline.model.network import load_network
from frostline.model.saved import LOGITS, PIXELS, PROBABILITIES, open_session, read_model
from frostline.params.schema import Plan
from tests.model.finished import ask_for, finish_toy, make_model, noise, train_and_score, write_facts, write_reports
from tests.project import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")

FILES = {
    "README.md", "SHA256SUMS", "calibration.csv", "model-int8.onnx", "model.json", "model.onnx", "model.safetensors",
}  # fmt: skip


def run_onnx(folder: Path, pixels: Any, name: str = "model.onnx", output: str = LOGITS) -> Any:
    return open_session(folder / name).run([output], {PIXELS: pixels})[0]


def predict_with_torch(folder: Path, pixels: Any) -> Any:
    """Return the logits of the network that comes back, of pixels scaled as model.json says."""
    told = read_json(folder / "model.json")["input"]
    scaled = (torch.from_numpy(pixels).float() - torch.tensor(told["mean"])) / torch.tensor(told["deviation"])
    with torch.no_grad():
        return load_network(folder)(scaled.permute(0, 3, 1, 2)).numpy()


def list_blocks(folder: Path) -> list[str]:
    """Return the Python that the card shows."""
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)


def test_the_folder_holds_all_that_it_promises_whole(part_model: Path) -> None:
    assert {path.name for path in part_model.iterdir()} == FILES
    check_sums(part_model)
    assert {path.stat().st_mode & 0o044 for path in part_model.iterdir()} == {0o044}  # for everybody to read
    about = read_json(part_model / "model.json")
    assert about["classes"] == ["dark", "bright"]
    assert about["trained"]["images"] == 70
    assert about["trained"]["validation_images"] == 0
    assert about["trained"]["audited_tensors"] > 0
    assert len(read_csv(part_model / "calibration.csv")) == 8
    plans = read_csv(part_model.parent / "reports" / "plans.csv")
    assert about["measured"]["accuracy"] == pytest.approx(plans.accuracy[0], abs=1e-6)
    assert about["measured"]["of"] == "the plan"


def test_onnx_gives_what_the_network_gives_that_comes_back_for_any_number_of_images(part_model: Path) -> None:
    for images in (1, 3, 20):
        pixels = noise(images)
        found, expected = run_onnx(part_model, pixels), predict_with_torch(part_model, pixels)
        assert found == pytest.approx(expected, abs=1e-4)
    assert b"/onnx_export.py" not in (part_model / "model.onnx").read_bytes()  # nor any other file of this machine
    warmth = read_json(part_model / "model.json")["calibration"]["temperature"]
    probabilities = run_onnx(part_model, pixels, output=PROBABILITIES)
    assert probabilities == pytest.approx(torch.from_numpy(expected / warmth).softmax(1).numpy(), abs=1e-4)


def test_the_lines_of_the_card_give_the_same_without_us(part_model: Path, tmp_path: Path) -> None:
    Image.fromarray(noise(1)[0]).resize((50, 40)).save(tmp_path / "image.png")
    blocks = list_blocks(part_model)
    assert len(blocks) == 2
    answers = []
    for block in blocks:
        hidden = "import sys; sys.modules['frostline'] = None\n"
        text = hidden + re.sub(r'"(model\.[a-z]+)"', rf'r"{part_model}/\1"', block)
        done = subprocess.run(
            [sys.executable, "-I", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        answers.append([float(number) for number in re.findall(r"\d\.\d+(?:e-\d+)?", done.stdout)])
    assert len(answers[0]) == 2
    assert answers[0] == pytest.approx(answers[1], abs=1e-3)


def test_the_card_tells_the_study_and_is_in_the_form_of_the_hub(part_model: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(part_model / "README.md")
    about = read_json(part_model / "model.json")
    assert card.data.library_name == "timm"
    assert card.data.eval_results is not None
    assert card.data.eval_results[0].metric_value == about["measured"]["accuracy"]
    for said in ("dark", "bright", "CC0-1.0", "Apache-2.0", "plan `part`", "all 70 images", "not of this very model"):
        assert said in card.text
    assert "{{" not in card.text
    assert " None" not in card.text


def add_plan(toy: Path, name: str, **definition: object) -> None:
    params = read_yaml(toy / "params.yaml")
    params["plans"][name] = {"weights": "pretrained", "learning_rates": [0.003], **definition}
    params["study"]["plans"].append(name)
    write_yaml(toy / "params.yaml", params)


def test_lora_is_merged_so_that_the_weights_are_the_librarys_own(toy: Path) -> None:
    add_plan(toy, "lora", adapt={"lora": 4, "parts": ["stage4"]})
    folder = make_model(toy, "lora")
    assert not [name for name in load_file(folder / "model.safetensors") if "lora" in name]
    assert len(list_blocks(folder)) == 2
    pixels = noise(6)
    assert run_onnx(folder, pixels) == pytest.approx(predict_with_torch(folder, pixels), abs=1e-4)


@pytest.mark.long
def test_a_network_that_ends_early_comes_back_and_says_that_no_library_has_it(toy: Path) -> None:
    add_plan(toy, "early", **{"from": "stage2", "head_after": "stage3"})
    folder = make_model(toy, "early")
    assert read_json(folder / "model.json")["library"] == {"name": "", "make": ""}
    assert len(list_blocks(folder)) == 1
    pixels = noise(6)
    assert run_onnx(folder, pixels) == pytest.approx(predict_with_torch(folder, pixels), abs=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("backbone", ["torchvision/shufflenet_v2_x0_5", "cnn3", "timm/test_vit"])
def test_networks_of_all_libraries_come_back_as_they_were_trained(toy: Path, backbone: str) -> None:
    params = read_yaml(toy / "params.yaml")
    params["backbones"], params["plans"] = [backbone], {"scratch": params["plans"]["scratch"]}
    params["study"]["plans"] = ["scratch"]
    params["data"]["image_px"] = 32
    write_yaml(toy / "params.yaml", params)
    write_facts(toy)
    name = backbone.replace("/", "-")
    folder = toy / "runs" / f"{backbone}-scratch"
    folder.parent.mkdir(parents=True, exist_ok=True)
    train_and_score(toy, "scratch", backbone)
    write_reports(toy, [(backbone, "scratch")])
    model = finish_toy(toy, f"model-{name}")
    pixels = noise(6)
    assert run_onnx(model, pixels) == pytest.approx(predict_with_torch(model, pixels), abs=1e-4)
    about = read_json(model / "model.json")
    if about["library"]["name"]:
        import timm
        import torchvision

        theirs = eval(about["library"]["make"], {"timm": timm, "torchvision": torchvision})  # noqa: S307
        theirs.load_state_dict(load_file(model / "model.safetensors"))
    else:
        assert backbone == "cnn3"


CANNOT_BE_WRITTEN = """
from torch import nn

IMAGE_PX = 32


class Picky(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4, 2)

    def forward(self, images):
        features = self.body(images)
        if float(features.sum()) > 1e9:
            features = features * 2
        return self.head(features)


def build():
    return Picky()
"""


@pytest.mark.parametrize(
    "definition", [{"adapt": {"lora": 2, "parts": ["stem"]}}, {"from": "stem", "head_after": "stage4"}]
)
def test_such_a_network_takes_no_adapters_and_no_earlier_head_and_that_is_one_line(
    toy: Path, monkeypatch: pytest.MonkeyPatch, definition: dict[str, object]
) -> None:
    monkeypatch.chdir(toy)
    (toy / "models").mkdir()
    (toy / "models" / "picky.py").write_text(CANNOT_BE_WRITTEN)
    plan = Plan(**definition, weights="data/weights/own.pth", learning_rates=[0.1])
    with pytest.raises(InputError, match=r"^a plan(, head_after,)? must ") as refused:
        build_for_plan("models/picky.py:build", "none", 2, 32, plan)
    assert "\n" not in str(refused.value)


def test_of_a_network_that_cannot_be_written_as_onnx_the_weights_are_left_and_the_reason(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy)
    (toy / "models").mkdir()
    (toy / "models" / "picky.py").write_text(CANNOT_BE_WRITTEN)
    params = read_yaml(toy / "params.yaml")
    params["backbones"], params["plans"] = ["models/picky.py:build"], {"scratch": params["plans"]["scratch"]}
    params["study"]["plans"] = ["scratch"]
    write_yaml(toy / "params.yaml", params)
    (toy / "runs" / "models").mkdir(parents=True)
    folder = make_model(toy, "scratch", "models/picky.py:build")
    about = read_json(folder / "model.json")
    assert about["onnx"]["made"] is False
    assert about["onnx"]["reason"].startswith("torch.onnx.export: ")
    assert about["int8"] == {"made": False, "reason": "there is no ONNX of it"}
    assert {path.name for path in folder.iterdir()} == FILES - {"model.onnx", "model-int8.onnx"}
    assert about["onnx"]["reason"] in (folder / "README.md").read_text()
    assert predict_with_torch(folder, noise(2)).shape == (2, 2)


def test_another_plan_than_the_advised_one_is_finished_where_it_is_asked_for(toy: Path) -> None:
    write_facts(toy)
    for plan in ("part", "head"):
        train_and_score(toy, plan)
    write_reports(toy, [("efficientnet_lite0", "part"), ("efficientnet_lite0", "head")])
    ask_for(toy, {"plan": "head", "backbone": "advised"})
    assert read_json(finish_toy(toy) / "model.json")["plan"]["name"] == "head"


def test_a_study_that_says_so_ends_without_a_model_and_who_asks_for_it_is_told(toy: Path) -> None:
    ask_for(toy, False)
    folder = finish_toy(toy)
    assert {path.name for path in folder.iterdir()} == {"SHA256SUMS", "model.json"}
    with pytest.raises(InputError, match=r"must hold a model\. Got none instead\. params.yaml says finish: false\.$"):
        read_model(folder)


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "model.json", "calibration.csv"])
def test_a_byte_that_has_changed_is_found_before_anything_is_predicted(
    part_model: Path, tmp_path: Path, name: str
) -> None:
    for path in part_model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    changed = bytearray((tmp_path / name).read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(changed))
    with pytest.raises(InputError, match=rf"{name} must have the SHA-256 that .* `dvc get`"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("finish", "line"),
    [
        ({"plan": "nope", "backbone": "advised"}, "finish.plan must name advised, head"),
        ({"plan": "advised", "backbone": "resnet18"}, "finish.backbone must name advised or efficientnet_lite0"),
        ({"plan": "advised"}, "finish.backbone must be given. Got nothing instead."),
        (True, "finish must be a mapping of names to values. Got True instead."),
        ({"plan": "advised", "backbone": "advised", "epochs": 3}, "finish must hold only plan or backbone."),
    ],
)
def test_what_finish_cannot_mean_is_one_line(toy: Path, finish: object, line: str) -> None:
    params = read_yaml(ROOT / "params.yaml")
    write_yaml(toy / "params.yaml", params | {"finish": finish})
    with pytest.raises(InputError) as caught:
        finish_toy(toy)
    assert str(caught.value).startswith(line)


@pytest.mark.long
def test_it_is_the_same_model_when_it_is_made_again(toy: Path) -> None:
    first = make_model(toy, "head")
    again = finish_toy(toy, "again")
    for name in ("model.safetensors", "model.onnx", "calibration.csv"):
        assert (first / name).read_bytes() == (again / name).read_bytes()
    assert np.array_equal(run_onnx(first, noise(4), "model-int8.onnx"), run_onnx(again, noise(4), "model-int8.onnx"))
