"""Pictures to prepare."""

import io
from pathlib import Path

import pytest
from PIL import Image

from frostline.errors import InputError
from stages import fetch, prepare
from tests.project import ROOT, dump_yaml, load_yaml


def encoded(image: Image.Image, form: str = "png", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()


Picture = tuple[int, int, int] | bytes


def make_class(name: str, count: int, green: int) -> dict[str, Picture]:
    """Return `count` pictures of a class; no two pictures with the same number and green are the same."""
    return {f"{name}/{number:02d}.png": (number, green, 0) for number in range(count)}


def write_pictures(root: Path, pictures: dict[str, Picture]) -> None:
    for name, picture in pictures.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        content = picture if isinstance(picture, bytes) else encoded(Image.new("RGB", (4, 4), picture))
        (root / name).write_bytes(content)


def prepare_pictures(tmp_path: Path, pictures: dict[str, Picture], repeats: int = 1, **data: object) -> Path:
    """Fetch and prepare a folder of pictures, and return the folder of what was prepared."""
    write_pictures(tmp_path / "images", pictures)
    params = load_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))
    source = {"source": "folder", "folder": str(tmp_path / "images"), "image_px": 16, "groups": "none"}
    params["data"].update(source | data)
    params["study"]["repeats"] = repeats
    (tmp_path / "params.yaml").write_text(dump_yaml(params), encoding="utf-8")
    fetch.main(params=tmp_path / "params.yaml", out=tmp_path / "raw")
    prepare.main(params=tmp_path / "params.yaml", raw=tmp_path / "raw", out=tmp_path / "prepared")
    return tmp_path / "prepared"


def refuse_pictures(tmp_path: Path, pictures: dict[str, Picture], repeats: int = 1, **data: object) -> str:
    with pytest.raises(InputError) as caught:
        prepare_pictures(tmp_path, pictures, repeats, **data)
    return str(caught.value)
