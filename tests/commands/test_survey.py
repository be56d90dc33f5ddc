"""What a study's images are, and what it will take, is shown before anything is trained."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.commands import survey
from frostline.commands.estimate import estimate
from frostline.params.loading import load_params
from tests.project import dump_yaml, load_yaml
from tests.stages.prepared import encoded, prepare_pictures


def draw(number: int, mode: str = "RGB") -> bytes:
    noise = np.random.default_rng(number).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(noise[:, :, 0]))
    return encoded(image, "png")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the raw and prepared images of a study: 12 of one class, 30 of another, one with alpha."""
    folder = tmp_path_factory.mktemp("study")
    pictures = {f"a/{number:02d}.png": draw(number) for number in range(11)} | {"a/clear.png": draw(90, "RGBA")}
    pictures |= {f"b/{number:02d}.png": draw(100 + number) for number in range(30)} | {"b/again.png": draw(100)}
    prepare_pictures(folder, pictures, image_px=32, folds=2)
    params = load_yaml((folder / "params.yaml").read_text())
    params["backbones"] = ["cnn3"]
    plan = {"weights": "none", "from": "stem"}
    params["plans"] = {
        "one": plan | {"learning_rates": [0.001]},
        "three": plan | {"learning_rates": [0.001, 0.003, 0.01]},
    }
    params["study"]["plans"] = ["one", "three"]
    (folder / "params.yaml").write_text(dump_yaml(params))
    return folder


@pytest.fixture(scope="module")
def told(study: Path) -> str:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DVC_ROOT", str(study))
        patched.setattr("sys.stdout", out := open(study / "told.txt", "w+"))  # noqa: PTH123, SIM115
        survey.main(study / "params.yaml", study, study / "check")
        out.flush()
    return (study / "told.txt").read_text()


def test_classes_are_told_with_their_images_shares_groups_and_splits(told: str) -> None:
    rows = {line.split()[0]: line.split()[1:] for line in told.splitlines() if line.split()[:1] in (["a"], ["b"])}
    assert rows["a"][:4] == ["12", "27.9", "%", "12"]
    assert rows["b"][:4] == ["31", "72.1", "%", "30"]  # of which two have the same pixels, and stay together
    for row in rows.values():
        assert sum(map(int, row[4:7])) == int(row[0])


def test_sizes_notes_and_duplicates_are_told(told: str) -> None:
    assert "Sizes: 40 x 20 to 40 x 20 px, in the middle 40 x 20" in told
    assert "43 of them are smaller than that, and are enlarged." in told
    assert "1 of 43 images: transparent, and was laid on white." in told
    assert "Duplicates: 1 with the pixels of an earlier one" in told


def test_the_contact_sheet_shows_images_of_each_class_and_of_each_note(study: Path, told: str) -> None:
    sheet = np.asarray(Image.open(study / "check" / "contact_sheet.png").convert("L"))
    assert str(study / "check" / "contact_sheet.png") in told
    dark = (sheet < 200).any(axis=1)
    bands = np.flatnonzero(np.diff(np.concatenate([[0], dark.astype(int), [0]])) == 1)
    assert len(bands) >= 3  # two classes, and the one that was laid on white


def test_what_training_takes_follows_the_number_of_fits(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(study))
    one, three = estimate(load_params(study / "params.yaml"), study / "prepared")
    assert (one.run, one.fits, three.fits) == ("cnn3-one", 2, 4)  # the first fold tries every rate, the second the best
    assert one.bytes == three.bytes == 4 * 2 * 618_530
    assert 0 < one.seconds < 600
