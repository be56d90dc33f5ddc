"""Images: from encoded bytes to square uint8 arrays."""

import hashlib
import io
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

EIGHT_BITS = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}
"""Pillow's modes of at most 8 bits a channel. Others would lose their range in silence."""


class Decoded(NamedTuple):
    """An image as uint8 H x W x 3 in its final size, and the SHA-256 of its pixels before they were resized."""

    pixels: NDArray[np.uint8]
    digest: str


def decode(encoded: bytes, image_px: int) -> Decoded | str:
    """Return the image turned upright, cropped to its central square and resized, or why it cannot be read."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.mode not in EIGHT_BITS:
                return f"it has mode {image.mode}, not 8 bits a channel"
            whole = ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        return "cannot identify image file"
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        return str(error).partition("\n")[0] or type(error).__name__
    digest = hashlib.sha256(f"{whole.size}".encode() + whole.tobytes()).hexdigest()
    fitted = ImageOps.fit(whole, (image_px, image_px), Image.Resampling.BICUBIC)
    return Decoded(np.asarray(fitted), digest)
