"""Decoding: an image file of whatever kind, made 8-bit RGB of one size, or told apart as what cannot be read."""

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from frostline.constants import IMAGE_FORMATS
from frostline.preparation.duplicates import Hash, hash_look

EIGHT_BITS = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}
"""Pillow's modes of at most 8 bits a channel."""
WIDE_GREY = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
"""Pillow's modes of one channel of more."""
WINDOW = (0.1, 99.9)
"""Percentiles of a grey image of more than 8 bits, which become 0 and 255: a few dead pixels do not darken the rest."""
MOST_PIXELS = 178_956_970
"""Of an image; Pillow's own bound against files that decode to far more than they hold."""
PIXELS_AT_ONCE = 100_000_000
"""Which are decoded at the same time, whatever the number of threads; a larger image is decoded alone."""
ROWS_AT_ONCE = 512
ON_WHITE, WINDOWED = "transparent, and was laid on white", "grey of more than 8 bits, and got a window of its own"


class Decoded(NamedTuple):
    """An image as uint8 H x W x 3 in its final size; of its pixels before they were resized the SHA-256 and the look.

    `look` is their perceptual hash. `note` says what had to be done to make it 8-bit RGB, if anything.
    """

    pixels: NDArray[np.uint8]
    digest: str
    look: Hash
    note: str = ""


class Budget:
    """Lets threads wait until no more than so many pixels are in hand; what is larger waits until nothing is."""

    def __init__(self, most: int) -> None:
        """Begin with nothing in hand."""
        self.most, self.in_hand, self.free = most, 0, threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Hold so many pixels as soon as there is room for them."""
        with self.free:
            self.free.wait_for(lambda: not self.in_hand or self.in_hand + pixels <= self.most)
            self.in_hand += pixels
        try:
            yield
        finally:
            with self.free:
                self.in_hand -= pixels
                self.free.notify_all()


IN_HAND = Budget(PIXELS_AT_ONCE)


def decode(encoded: bytes, image_px: int) -> Decoded | str:
    """Return the image turned upright, cropped to its central square and resized, or why it cannot be read."""
    with IN_HAND.hold(count_pixels(encoded)):
        return decode_now(encoded, image_px)


def count_pixels(encoded: bytes) -> int:
    """Return how many pixels the file says that it has, 0 if it says nothing that can be read."""
    try:
        with Image.open(io.BytesIO(encoded), formats=IMAGE_FORMATS) as image:
            return image.width * image.height
    except Exception:  # noqa: BLE001  # a decoder's, of whatever kind, which is told when the image is decoded
        return 0


def decode_now(encoded: bytes, image_px: int) -> Decoded | str:
    """Return the same, however many pixels it has."""
    opened = open_rgb(encoded)
    if isinstance(opened, str):
        return opened
    whole, note = opened
    return Decoded(fit_square(whole, image_px), digest_pixels(whole), hash_look(whole), note)


def decode_pixels(encoded: bytes, image_px: int) -> NDArray[np.uint8] | str:
    """Return the same pixels alone, or why the image cannot be read."""
    with IN_HAND.hold(count_pixels(encoded)):
        opened = open_rgb(encoded)
        return opened if isinstance(opened, str) else fit_square(opened[0], image_px)


def open_rgb(encoded: bytes) -> tuple[Image.Image, str] | str:
    """Return the image upright as 8-bit RGB and what had to be done for it, or why that cannot be."""
    image = open_upright(encoded)
    if isinstance(image, str):
        return image
    try:
        return make_rgb(image)
    except ValueError as error:
        return str(error)


def fit_square(image: Image.Image, image_px: int) -> NDArray[np.uint8]:
    """Return the central square of the image, resized."""
    return np.asarray(ImageOps.fit(image, (image_px, image_px), Image.Resampling.BICUBIC))


def digest_pixels(image: Image.Image) -> str:
    """Return the SHA-256 of the size and the pixels of an image, of which only some rows are copied at a time."""
    hashed = hashlib.sha256(f"{image.size}".encode())
    for top in range(0, image.height, ROWS_AT_ONCE):
        hashed.update(image.crop((0, top, image.width, min(image.height, top + ROWS_AT_ONCE))).tobytes())
    return hashed.hexdigest()


def open_upright(encoded: bytes) -> Image.Image | str:
    """Return the image as it was decoded, turned upright, or why it cannot be.

    Only IMAGE_FORMATS are tried, whatever the file is called. What a decoder raises is about this file, and may be
    anything: Pillow's raise KeyError, IndexError, struct.error and their like at damaged ones, and promise none.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                return f"it has {image.width:,} x {image.height:,} pixels, more than {MOST_PIXELS:,}"
            if has_wide_colour(image):
                return "it has 16 bits a channel of colour, of which 8 would be lost"
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            return image
    except UnidentifiedImageError:
        return "cannot identify image file"
    except Exception as error:  # noqa: BLE001  # for the reason above; nothing of our own is called in it
        return str(error).partition("\n")[0] or type(error).__name__


def make_rgb(image: Image.Image) -> tuple[Image.Image, str]:
    """Return the image as 8-bit RGB, and what had to be done for it. Raises `ValueError` if it would lose its range."""
    if image.mode in WIDE_GREY:
        return window(image), WINDOWED
    if image.mode not in EIGHT_BITS:
        raise ValueError(f"it has mode {image.mode}, not 8 bits a channel")
    if image.has_transparency_data:
        drawn = image.convert("RGBA")
        if drawn.getchannel("A").getextrema() != (255, 255):
            return Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB"), ON_WHITE
        return drawn.convert("RGB"), ""
    return (image if image.mode == "RGB" else image.convert("RGB")), ""


def has_wide_colour(image: Image.Image) -> bool:
    """Return whether a file of 16-bit colour is about to be cut to 8 bits, which Pillow does without a word."""
    raw = [str(tile.args[0] if isinstance(tile.args, tuple) else tile.args) for tile in getattr(image, "tile", [])]
    return image.mode not in WIDE_GREY and any(";16" in mode for mode in raw)


def window(image: Image.Image) -> Image.Image:
    """Return a grey image of more than 8 bits as RGB, its WINDOW of percentiles laid onto 0 to 255."""
    grey = np.asarray(image, np.float64)
    if not np.isfinite(grey).all():
        raise ValueError("it holds values that are no numbers")
    low, high = np.percentile(grey, WINDOW)
    shown = np.clip((grey - low) / max(high - low, np.finfo(np.float64).tiny), 0, 1)
    return Image.fromarray((255 * shown).round().astype(np.uint8)).convert("RGB")
