"""What is fetched is what was published, no more and no less."""

import hashlib
import io
import json
from collections import Counter
from pathlib import Path

import datasets
import elpv_dataset
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from frostline.constants import IMAGE_ENDINGS
from frostline.errors import InputError
from frostline.files import SUMS
from frostline.sources.base import Example, Source
from frostline.sources.local import read_digits, read_elpv, read_folder
from stages import fetch
from tests.project import ROOT, dump_yaml, load_yaml

ELPV = Path(next(iter(elpv_dataset.__path__))) / "data"
ENDINGS = f"Known endings: {', '.join(IMAGE_ENDINGS)}."


@pytest.fixture(scope="module")
def cells() -> list[Example]:
    """Return the ELPV cells, defective from a probability of one half."""
    return list(read_elpv("probability >= 0.5").examples())


@pytest.fixture(scope="module")
def published() -> list[tuple[str, float, str]]:
    """Return (path, probability, module type) of every line of the package's labels.csv."""
    lines = [line.split() for line in (ELPV / "labels.csv").read_text(encoding="utf-8").splitlines()]
    return [(path, float(probability), module_type) for path, probability, module_type in lines]


def _put(root: Path, *names: str) -> Path:
    """Write a file, whose content is its name, for each name, and a folder for each that ends in a slash."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name, encoding="utf-8")
    return root


def _params_file(path: Path, **data: object) -> Path:
    params = load_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"].update(data)
    path.write_text(dump_yaml(params), encoding="utf-8")
    return path


def _pictures(root: Path, *names: str) -> Path:
    """Save a PNG of one colour for each name; no two have the same colour."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(root / name)
    return root


def test_elpv_has_the_published_number_of_cells_classes_and_module_types(cells: list[Example]) -> None:
    assert len(cells) == 2624
    assert Counter(cell["label"] for cell in cells) == {0: 1803, 1: 821}
    assert Counter(cell["stratum"] for cell in cells) == {"mono": 1074, "poly": 1550}


def test_elpv_with_any_doubt_as_defective_adds_the_cells_of_one_third() -> None:
    labels = [cell["label"] for cell in read_elpv("probability > 0").examples()]
    assert sum(labels) == 295 + 106 + 715 == 1116


@pytest.mark.parametrize("defective_when", ["probability >= 0.5", "probability > 0"])
def test_every_elpv_cell_has_the_file_label_and_module_type_of_its_line_in_labels_csv(
    defective_when: str, published: list[tuple[str, float, str]]
) -> None:
    source = read_elpv(defective_when)
    assert source.classes == ["functional", "defective"]
    for cell, (path, probability, module_type) in zip(source.examples(), published, strict=True):
        defective = probability > 0 if defective_when == "probability > 0" else probability >= 0.5
        assert cell == {
            "id": Path(path).name,
            "image": {"bytes": (ELPV / path).read_bytes(), "path": Path(path).name},
            "label": int(defective),
            "stratum": module_type,
            "group": "",
            "split": None,
        }


def test_digits_are_the_pictures_of_scikit_learn_at_full_brightness() -> None:
    source, bunch = read_digits(), load_digits()
    examples = list(source.examples())
    assert source.classes == list("0123456789")
    assert [each["label"] for each in examples] == bunch.target.tolist()
    for example, sixteenths in zip(examples[:50], bunch.images[:50], strict=True):
        with Image.open(io.BytesIO(example["image"]["bytes"])) as image:
            assert (np.asarray(image) == np.round(sixteenths * 255 / 16)).all()


@pytest.mark.parametrize("source", [read_elpv("probability >= 0.5"), read_digits()], ids=["elpv", "digits"])
def test_no_two_examples_of_a_package_share_an_id(source: Source) -> None:
    ids = [each["id"] for each in source.examples()]
    assert len(set(ids)) == len(ids)


def test_an_image_of_a_folder_keeps_its_bytes(tmp_path: Path) -> None:
    _put(tmp_path, "cat/a.jpg", "dog/b.png")
    contents = [each["image"]["bytes"] for each in read_folder(tmp_path).examples()]
    assert contents == [b"cat/a.jpg", b"dog/b.png"]


def test_a_fetched_parquet_is_read_by_datasets_as_images_and_named_classes(tmp_path: Path) -> None:
    names = ["train/cat/a.png", "train/dog/b.png", "test/cat/c.png"]
    params = _params_file(tmp_path / "p.yaml", source="folder", folder=str(_pictures(tmp_path / "images", *names)))
    fetch.main(params=params, out=tmp_path / "raw")
    parquet = str(tmp_path / "raw" / "images.parquet")
    table = datasets.load_dataset("parquet", data_files=parquet, split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(table.features["image"], datasets.Image)
    assert table.features["label"] == datasets.ClassLabel(names=["cat", "dog"])
    assert table["id"][:] == sorted(names)
    assert table["label"][:] == [0, 0, 1]
    assert table["split"][:] == ["test", "train", "train"]
    assert [picture.getpixel((0, 0)) for picture in table["image"]] == [(2, 0, 0), (0, 0, 0), (1, 0, 0)]


def test_fetching_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    params = _params_file(tmp_path / "p.yaml", source="package", package="digits")
    for name in ("once", "again"):
        fetch.main(params=params, out=tmp_path / name)
    for file in ("images.parquet", "source.json"):
        assert (tmp_path / "once" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_the_facts_of_a_folder_say_its_name_but_not_where_it_lies_how_many_images_and_which_bytes(
    tmp_path: Path,
) -> None:
    root = _pictures(tmp_path / "images", "cat/a.png", "cat/b.png", "dog/c.png")
    fetch.main(params=_params_file(tmp_path / "p.yaml", source="folder", folder=str(root)), out=tmp_path / "raw")
    facts = json.loads((tmp_path / "raw" / "source.json").read_text(encoding="utf-8"))
    assert facts["origin"] == "folder images"
    assert str(tmp_path) not in json.dumps(facts)
    assert facts["classes"] == ["cat", "dog"]
    assert (facts["images"], facts["images_per_class"]) == (3, {"cat": 2, "dog": 1})
    content = (tmp_path / "raw" / "images.parquet").read_bytes()
    assert facts["sha256"] == {"images.parquet": hashlib.sha256(content).hexdigest()}


def test_the_facts_of_elpv_name_its_release_its_licence_and_what_defective_means() -> None:
    facts = read_elpv("probability > 0").facts
    assert facts["origin"] == "PyPI package elpv-dataset"
    assert facts["revision"] == "1.0.0.post1"
    assert facts["licence"] == "CC-BY-NC-SA-4.0 AND Apache-2.0"
    assert facts["labels"] == 'labels.csv of the package; "defective" when probability > 0, else "functional"'


def test_another_file_or_another_length_is_another_revision_of_a_folder(tmp_path: Path) -> None:
    _put(tmp_path, "cat/a.png", "dog/b.png")
    revisions = [read_folder(tmp_path).facts["revision"]]
    _put(tmp_path, "dog/c.png")
    revisions.append(read_folder(tmp_path).facts["revision"])
    (tmp_path / "dog/c.png").write_text("longer than before", encoding="utf-8")
    revisions.append(read_folder(tmp_path).facts["revision"])
    assert len(set(revisions)) == 3


def test_a_fetch_that_is_refused_leaves_the_earlier_images_alone(tmp_path: Path) -> None:
    root = _pictures(tmp_path / "images", "cat/a.png", "dog/b.png")
    params = _params_file(tmp_path / "p.yaml", source="folder", folder=str(root))
    fetch.main(params=params, out=tmp_path / "raw")
    earlier = (tmp_path / "raw" / "images.parquet").read_bytes()
    (root / "dog/b.png").rename(root / "cat/b.png")
    with pytest.raises(InputError):
        fetch.main(params=params, out=tmp_path / "raw")
    assert (tmp_path / "raw" / "images.parquet").read_bytes() == earlier
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == [SUMS, "images.parquet", "source.json"]
