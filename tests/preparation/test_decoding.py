"""An image of whatever kind becomes what a person sees in it, or is told with the reason."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from frostline.constants import IMAGE_ENDINGS, IMAGE_FORMATS
from frostline.preparation.decoding import ON_WHITE, ROWS_AT_ONCE, WINDOWED, Budget, Decoded, decode, digest_pixels
from tests.project import ROOT
from tests.stages.prepared import encoded

WHITE, BLACK = [255] * 3, [0] * 3


def decoded(content: bytes, image_px: int = 2) -> Decoded:
    found = decode(content, image_px)
    assert isinstance(found, Decoded), found
    return found


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_drawn_on_nothing_is_laid_on_white(mode: str) -> None:
    """A black drawing on nothing would else be a black square, as every other one."""
    drawing = Image.fromarray(np.array([[[0, 0, 0, 255], [0, 0, 0, 0]]] * 2, np.uint8), "RGBA").convert(mode)
    if mode == "P":
        drawing = Image.fromarray(np.array([[0, 1]] * 2, np.uint8), "P")
        drawing.putpalette([0, 0, 0, 0, 0, 0])
    content = encoded(drawing, "png", **({"transparency": 1} if mode == "P" else {}))
    found = decoded(content)
    assert found.note == ON_WHITE
    assert found.pixels[0].tolist() == [BLACK, WHITE]


def test_what_could_be_transparent_and_is_not_is_left_as_it_is() -> None:
    found = decoded(encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 255)), "png"))
    assert (found.note, found.pixels[0, 0].tolist()) == ("", [255, 0, 0])


@pytest.mark.parametrize(
    ("kind", "form"), [(np.uint16, "png"), (np.uint16, "tiff"), (np.int32, "tiff"), (np.float32, "tiff")]
)
def test_grey_of_more_than_8_bits_gets_a_window_from_dark_to_bright(kind: type, form: str) -> None:
    """A microscope of 12 bits writes 16; the range that its image has is what is seen."""
    grey = np.linspace(100, 4_000, 40 * 40).reshape(40, 40).astype(kind)
    found = decoded(encoded(Image.fromarray(grey), form), 40)
    assert found.note == WINDOWED
    assert found.pixels.min() == 0
    assert found.pixels.max() == 255
    middle = found.pixels[20, 0, 0]
    assert abs(int(middle) - 128) <= 3
    assert (np.diff(found.pixels[:, 0, 0].astype(int)) >= 0).all()


def test_a_dead_pixel_does_not_darken_the_rest() -> None:
    grey = np.linspace(100, 4_000, 40 * 40).reshape(40, 40).astype(np.uint16)
    grey[0, 0] = 65_535
    assert abs(int(decoded(encoded(Image.fromarray(grey), "png"), 40).pixels[20, 0, 0]) - 128) <= 3


def test_a_grey_image_without_any_range_is_one_grey() -> None:
    assert (decoded(encoded(Image.fromarray(np.full((4, 4), 700, np.uint16)), "png")).pixels == 0).all()


def test_values_that_are_no_numbers_are_refused() -> None:
    grey = np.full((4, 4), np.nan, np.float32)
    assert decode(encoded(Image.fromarray(grey), "tiff"), 2) == "it holds values that are no numbers"


def test_16_bits_of_colour_are_refused_rather_than_cut_to_the_high_byte() -> None:
    """Pillow writes none, so that one is put together here: RGB of 16 bits, 1 x 1."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">HHH", 256, 512, 1024))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    assert decode(png, 1) == "it has 16 bits a channel of colour, of which 8 would be lost"


@pytest.mark.parametrize("form", [form for form in IMAGE_FORMATS if form not in ("QOI", "PCX")])
def test_every_format_that_is_named_is_decoded(form: str) -> None:
    content = encoded(Image.new("RGB", (8, 8), (0, 200, 0)), form.lower())
    assert decoded(content).pixels[0, 0, 1] > 150


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_every_ending_that_is_taken_for_an_image_is_of_a_format_that_is_decoded(ending: str) -> None:
    Image.init()
    form = Image.registered_extensions()[ending]
    assert form in (*IMAGE_FORMATS, "MPO")  # MPO is JPEG with more images behind the first


def test_postscript_that_is_called_png_starts_nothing(tmp_path: Path) -> None:
    """Pillow would hand it to Ghostscript. A made-up one on the PATH would leave a file."""
    for name in ("gs", "gswin32c", "gswin64c"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (tmp_path / name).chmod(0o755)
    drawing = tmp_path / "x.png"
    Image.new("RGB", (4, 4)).save(drawing, "eps")
    code = (
        "import sys; from pathlib import Path; from frostline.preparation.decoding import decode; "
        "print(decode(Path(sys.argv[1]).read_bytes(), 2))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(drawing)],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "cannot identify image file\n"
    assert not (tmp_path / "started").exists()


def test_an_image_that_says_of_itself_to_be_enormous_is_refused_before_it_is_decoded() -> None:
    bomb = BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "png")
    reason = decode(bomb.getvalue(), 2)
    assert isinstance(reason, str)
    assert "pixels" in reason


@settings(max_examples=60, deadline=None)
@given(form=st.sampled_from(["png", "jpeg", "tiff", "webp", "gif", "bmp"]), data=st.data())
def test_whatever_a_decoder_raises_is_told_of_the_file(form: str, data: st.DataObject) -> None:
    content = bytearray(encoded(Image.new("RGB", (8, 8), (0, 200, 0)), form))
    for _ in range(4):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found = decode(bytes(content), 2)
    assert isinstance(found, Decoded) or len(found.splitlines()) == 1


def test_no_more_pixels_are_in_hand_than_the_budget_and_what_is_larger_is_alone() -> None:
    budget, seen = Budget(100), []

    def take(pixels: int) -> None:
        with budget.hold(pixels):
            seen.append(budget.in_hand)
            time.sleep(0.002)

    asked = [10, 60, 250, 30, 90, 100, 1, 0, 70, 70] * 3
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, asked))
    assert len(seen) == len(asked)
    assert all(held <= 100 or held == 250 for held in seen)
    assert 250 in seen
    assert budget.in_hand == 0


def test_the_digest_is_of_all_rows() -> None:
    pixels = np.zeros((ROWS_AT_ONCE + 3, 2, 3), np.uint8)
    before = digest_pixels(Image.fromarray(pixels))
    for row in (0, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 2):
        changed = pixels.copy()
        changed[row, 1, 2] = 1
        assert digest_pixels(Image.fromarray(changed)) != before
