"""Predicting with a saved model: what a folder, a file and a list give, and what becomes of what cannot be read."""

import csv
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from frostline.errors import InputError
from frostline.files import read_csv, read_json
from frostline.model.network import load_network
from frostline.model.saved import read_model
from frostline.predict import __main__ as command
from frostline.predict import predicting
from frostline.predict.listing import Asked, list_images
from frostline.preparation.decoding import decode_pixels
from tests.model.finished import noise
from tests.project import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder of images: three of each class, in folders called so, and one that has no class."""
    for place, pixels in enumerate(noise(7)):
        of = ["dark/a", "bright"][place % 2] if place < 6 else "unsorted"
        path = tmp_path / "images" / of / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((48, 36)).save(path)
    return tmp_path / "images"


Predict = Callable[..., int]


@pytest.fixture
def predict(part_model: Path, tmp_path: Path) -> Predict:
    """Return the command, by the words that follow it; it writes to out.csv."""

    def run(*words: object) -> int:
        asked = command.make_parser().parse_args(
            ["--model", str(part_model), "--out", str(tmp_path / "out.csv"), *map(str, words)]
        )
        return command.main(**vars(asked))

    return run


def predict_with_torch(model: Path, files: list[Path]) -> Any:
    """Return the calibrated probabilities of the network that comes back."""
    about = read_json(model / "model.json")
    decoded = [decode_pixels(file.read_bytes(), about["input"]["image_px"]) for file in files]
    pixels = torch.from_numpy(np.stack([each for each in decoded if not isinstance(each, str)])).float()
    scaled = (pixels - torch.tensor(about["input"]["mean"])) / torch.tensor(about["input"]["deviation"])
    with torch.no_grad():
        logits = load_network(model)(scaled.permute(0, 3, 1, 2))
    return (logits / about["calibration"]["temperature"]).softmax(1).numpy()


def test_predictions_are_those_of_the_network_that_comes_back(
    predict: Predict, part_model: Path, images: Path, tmp_path: Path
) -> None:
    assert predict(images) == 0
    rows = read_csv(tmp_path / "out.csv")
    files = sorted(images.rglob("*.png"))
    assert rows.path.tolist() == [file.relative_to(images).as_posix() for file in files]
    found = rows[["probability_dark", "probability_bright"]].to_numpy()
    assert found == pytest.approx(predict_with_torch(part_model, files), abs=1e-4)
    assert rows.probability.to_numpy() == pytest.approx(found.max(1))
    assert rows["class"].tolist() == [["dark", "bright"][place] for place in found.argmax(1)]


def test_folders_that_are_called_as_classes_are_scored(
    predict: Predict, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(images)
    rows = read_csv(tmp_path / "out.csv")
    labels = rows.label.tolist()
    assert labels[:6] == ["bright"] * 3 + ["dark"] * 3
    assert pd.isna(labels[6])
    right = (rows["class"] == rows.label)[:6].mean()
    assert f"Named rightly: {100 * right:.1f} % of 6 with a class." in capsys.readouterr().out


def test_an_image_is_doubtful_below_the_threshold_and_another_level_has_another_one(
    predict: Predict, part_model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certain = read_csv(part_model / "calibration.csv")
    for sure in (0.4, 0.6, 1.0):
        assert predict(images, "--sure", sure) == 0
        rows, said = read_csv(tmp_path / "out.csv"), capsys.readouterr().out
        reached = [p for p in certain.probability if certain.right[certain.probability >= p].mean() >= sure]
        expected = rows.probability < min(reached, default=2)
        assert rows.doubtful.tolist() == expected.tolist()
        assert f"{int(expected.sum())} of 7 images are doubtful" in said
        if reached:
            right = certain.right[certain.probability >= min(reached)].mean()
            assert f"Of those that are not, {100 * right:.1f} % were named rightly in the study." in said


def test_json_lines_say_the_same_as_the_table(predict: Predict, images: Path, tmp_path: Path) -> None:
    predict(images)
    with (tmp_path / "out.csv").open() as file:
        table = list(csv.DictReader(file))
    assert predict(images, "--out", tmp_path / "out.jsonl") == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [{key: str(value if value is not None else "") for key, value in line.items()} for line in lines] == table
    assert predict(images, "--format", "jsonl") == 0
    assert (tmp_path / "out.csv").read_text() == (tmp_path / "out.jsonl").read_text()


def test_a_file_and_lists_of_files_are_taken_too(predict: Predict, images: Path, tmp_path: Path) -> None:
    assert predict(images / "unsorted" / "6.png") == 0
    assert read_csv(tmp_path / "out.csv").path.tolist() == ["6.png"]
    (images / "some.txt").write_text("bright/1.png\n\ndark/a/0.png\n")
    assert predict(images / "some.txt") == 0
    assert read_csv(tmp_path / "out.csv").path.tolist() == ["bright/1.png", "dark/a/0.png"]
    (images / "some.csv").write_text("label,path\ndark,bright/1.png\n,unsorted/6.png\n")
    assert predict(images / "some.csv") == 0
    assert read_csv(tmp_path / "out.csv").label.tolist()[:1] == ["dark"]


def test_the_model_in_8_bits_predicts_too(predict: Predict, images: Path, tmp_path: Path) -> None:
    assert predict(images, "--int8") == 0
    assert len(read_csv(tmp_path / "out.csv")) == 7


ODD: dict[str, bytes] = {
    "empty.png": b"",
    "text.jpg": b"this is no image",
    "half.png": b"",  # filled below: the first half of a whole one
    "vast.png": b"",  # its header says that it has 400 million pixels
}


def write_odd(folder: Path) -> None:
    """Write files that cannot be read, and some that only look odd, into the folder."""
    whole = folder / "dark" / "a" / "0.png"
    vast = bytearray(whole.read_bytes())
    vast[16:24] = (20_000).to_bytes(4, "big") * 2
    vast[29:33] = zlib.crc32(vast[12:29]).to_bytes(4, "big")
    contents = ODD | {"half.png": whole.read_bytes()[: whole.stat().st_size // 2], "vast.png": bytes(vast)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 2**16, (40, 40), dtype=np.uint16)).save(folder / "deep.png")
    Image.fromarray(rng.integers(0, 256, (40, 40, 4), dtype=np.uint8), "CMYK").save(folder / "print.jpg")
    Image.fromarray(rng.integers(0, 256, (9, 200, 4), dtype=np.uint8), "RGBA").save(folder / "thin.png")
    (folder / "nowhere.png").symlink_to(folder / "gone.png")
    (folder / ".hidden.png").write_bytes(b"")


def test_what_cannot_be_read_is_told_by_name_at_the_end_and_the_rest_is_predicted(
    predict: Predict, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_odd(images)
    assert predict(images) == 2
    rows = read_csv(tmp_path / "out.csv")
    assert len(rows) == 10
    assert {"deep.png", "print.jpg", "thin.png"} <= set(rows.path)
    told = capsys.readouterr().err
    assert told.startswith("IMAGES must be images that can be read. Got ")
    for name in ODD:
        assert f"{name} (" in told
    assert "Image size (400000000 pixels) exceeds limit" in told
    assert "hidden" not in told
    assert len(told.strip().splitlines()) == 1


def test_of_many_that_cannot_be_read_a_file_has_all_names(
    predict: Predict, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(50):
        (images / f"bad{number}.png").write_bytes(b"")
    assert predict(images) == 2
    assert "out-unreadable.txt lists them all." in capsys.readouterr().err
    assert len((tmp_path / "out-unreadable.txt").read_text().splitlines()) == 50


def test_where_none_can_be_read_the_table_is_empty(predict: Predict, images: Path, tmp_path: Path) -> None:
    for path in images.rglob("*.png"):
        path.write_bytes(b"")
    assert predict(images) == 2
    assert read_csv(tmp_path / "out.csv").empty


@pytest.mark.parametrize(
    ("write", "line"),
    [
        (lambda folder: folder / "none", "IMAGES must be a folder, a file or a list. Got nothing at"),
        (lambda folder: folder, "IMAGES must hold images (.apng, .avif,"),
        (
            lambda folder: _write(folder / "list.csv", "file\na.png\n"),
            "must have a column path. Got file alone instead.",
        ),
        (lambda folder: _write(folder / "list.csv", ""), "must have a column path. Got none instead."),
        (
            lambda folder: _write(folder / "list.csv", "path,label\na.png,cat\n"),
            "must be dark or bright. Got 'cat' instead.",
        ),
        (
            lambda folder: _write(folder / "list.txt", b"\xff\xfe\x00"),
            "must be a list in UTF-8. Got other bytes instead.",
        ),
    ],
)
def test_what_holds_no_images_is_one_line(
    part_model: Path, tmp_path: Path, write: Callable[[Path], Path], line: str
) -> None:
    with pytest.raises(InputError) as caught:
        list_images(str(write(tmp_path)), read_model(part_model).classes)
    assert line in str(caught.value)


def _write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be the folder of a model\. Got one without model.json instead\."):
        read_model(tmp_path)


def run_apart(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process that has neither torch nor dvc, in a folder without a study."""
    hidden = "import sys; sys.modules.update(dict.fromkeys(['torch', 'torchvision', 'timm', 'dvc', 'datasets']))"
    code = f"{hidden}\nimport runpy\nrunpy.run_module('frostline.predict', run_name='__main__')"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    told = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(told, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_it_needs_the_folder_of_the_model_alone(part_model: Path, images: Path, tmp_path: Path) -> None:
    write_odd(images)
    done = run_apart(images, "--model", part_model, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert len(read_csv(tmp_path / "predictions.csv")) == 10
    assert len(done.stderr.strip().splitlines()) == 1


def test_no_more_images_are_in_hand_than_a_few_groups_for_each_thread(
    part_model: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes the answers slowly lets the decoding wait."""
    read: list[Path] = []
    decode = predicting.decode_pixels

    def count(encoded: bytes, image_px: int) -> Any:
        read.append(images)
        return decode(encoded, image_px)

    monkeypatch.setattr(predicting, "decode_pixels", count)
    monkeypatch.setattr(predicting, "count_cores", lambda: 2)
    asked = [Asked(str(number), images / "unsorted" / "6.png") for number in range(1_000)]
    most = 0
    for taken, _ in enumerate(predicting.predict(read_model(part_model), asked)):
        time.sleep(0.0005)
        most = max(most, len(read) - taken)
    assert len(read) == 1_000
    assert predicting.IN_GROUP < most <= predicting.IN_GROUP * (2 * predicting.WAITING + 2)


WATCHED = """
import resource, runpy, sys
sys.argv = ["predict", *sys.argv[1:]]
try:
    runpy.run_module("frostline.predict", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def test_memory_does_not_grow_with_the_number_of_images(part_model: Path, tmp_path: Path) -> None:
    peaks = []
    Image.fromarray(noise(1, 128)[0]).save(tmp_path / "one.png")
    for count in (200, 5000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            os.link(tmp_path / "one.png", folder / f"{number}.png")
        words = [str(folder), "--model", str(part_model), "--out", str(tmp_path / f"{count}.csv")]
        done = subprocess.run(
            [sys.executable, "-c", WATCHED, *words], env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stderr.split()[-1]))
        assert len(read_csv(tmp_path / f"{count}.csv")) == count
    assert peaks[1] < peaks[0] + 40_000  # kibibytes; the files, or the images as they are decoded, are 245 MB each
