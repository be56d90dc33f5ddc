"""Every image is decoded as it was meant, or told by name."""

import struct

import numpy as np
import pytest
from PIL import Image

from frostline.preparation.decoding import Decoded, decode
from tests.stages.prepared import encoded

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def _pixels(encoded: bytes, image_px: int) -> np.ndarray:
    decoded = decode(encoded, image_px)
    assert isinstance(decoded, Decoded), decoded
    return decoded.pixels


def _bands(*colours: tuple[int, int, int]) -> Image.Image:
    """Return vertical bands, each 2 px wide and 2 px high, from left to right."""
    return Image.fromarray(np.repeat(np.repeat(np.array([colours], np.uint8), 2, axis=0), 2, axis=1))


def test_a_wide_image_is_cropped_to_its_central_square() -> None:
    assert (_pixels(encoded(_bands(RED, GREEN, BLUE)), 2) == GREEN).all()


def test_a_tall_image_is_cropped_to_its_central_square() -> None:
    tall = _bands(RED, GREEN, BLUE).transpose(Image.Transpose.ROTATE_90)
    assert (_pixels(encoded(tall), 2) == GREEN).all()


def test_a_square_image_of_the_wanted_size_keeps_every_pixel() -> None:
    square = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    assert (_pixels(encoded(Image.fromarray(square)), 4) == square).all()


TURNS = {
    1: [[1, 2], [3, 4]],
    2: [[2, 1], [4, 3]],
    3: [[4, 3], [2, 1]],
    4: [[3, 4], [1, 2]],
    5: [[1, 3], [2, 4]],
    6: [[3, 1], [4, 2]],
    7: [[4, 2], [3, 1]],
    8: [[2, 4], [1, 3]],
}
"""For each EXIF orientation, how the stored pixels 1 2 / 3 4 are to be seen (TIFF 6.0, tag 274)."""


@pytest.mark.parametrize(("orientation", "seen"), TURNS.items())
def test_an_image_is_turned_upright_as_its_camera_says(orientation: int, seen: list[list[int]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.array([[1, 2], [3, 4]], np.uint8))
    assert _pixels(encoded(stored, exif=exif), 2)[:, :, 0].tolist() == seen


def test_a_gray_image_gets_three_equal_channels() -> None:
    gray = Image.fromarray(np.array([[0, 50], [100, 255]], np.uint8))
    assert _pixels(encoded(gray), 2).tolist() == [[[0] * 3, [50] * 3], [[100] * 3, [255] * 3]]


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_palette_and_transparent_images_become_the_colours_that_they_hold(mode: str) -> None:
    assert (_pixels(encoded(Image.new("RGB", (2, 2), RED).convert(mode)), 2) == RED).all()


def test_a_black_and_white_image_becomes_black_and_white() -> None:
    assert (_pixels(encoded(Image.new("1", (2, 2), 1)), 2) == 255).all()


@pytest.mark.parametrize("encoded", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused_in_the_same_words_every_time(encoded: bytes) -> None:
    assert decode(encoded, 2) == "cannot identify image file"


@pytest.mark.parametrize("form", ["bmp", "gif", "jpeg", "png", "tiff"])
def test_half_an_image_is_refused_with_a_reason_of_one_line(form: str) -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)), form)
    reason = decode(whole[: len(whole) // 2], 2)
    assert isinstance(reason, str)
    assert len(reason.splitlines()) == 1
    assert " at 0x" not in reason


def test_damaged_camera_data_do_not_end_in_a_traceback() -> None:
    """The unit of resolution (tag 296) claims to be text: Pillow then fails to write the tags of the turned image."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0128] = 6, 2
    whole = encoded(_bands(RED), "jpeg", exif=exif)
    damaged = whole.replace(struct.pack(">HH", 0x0128, 3), struct.pack(">HH", 0x0128, 2))
    assert damaged != whole
    assert isinstance(decode(damaged, 2), Decoded | str)


def test_the_digest_tells_pixels_apart_and_not_the_file_format() -> None:
    def digest(image: Image.Image, form: str) -> str:
        decoded = decode(encoded(image, form), 2)
        assert isinstance(decoded, Decoded)
        return decoded.digest

    image, other = _bands(RED, BLUE), _bands(RED, GREEN)
    assert digest(image, "png") == digest(image, "bmp") != digest(other, "png")


def test_the_digest_tells_images_apart_that_look_alike_once_they_are_cropped() -> None:
    wide, wider = decode(encoded(_bands(RED, GREEN, BLUE)), 2), decode(encoded(_bands(BLUE, GREEN, RED)), 2)
    assert isinstance(wide, Decoded)
    assert isinstance(wider, Decoded)
    assert (wide.pixels == wider.pixels).all()
    assert wide.digest != wider.digest
