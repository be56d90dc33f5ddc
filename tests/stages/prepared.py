"""Pictures to prepare."""

import io

from PIL import Image


def encoded(image: Image.Image, form: str = "png", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=form, **options)
    return file.getvalue()
