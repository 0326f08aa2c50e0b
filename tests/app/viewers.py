"""What the tests of the viewer share."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from seewhy.app.limits import Limits

THOUSAND = tuple(f"thing number {index}" for index in range(1000))
LIMITS = Limits(megabytes=1, megapixels=0.5, seconds=60, queue=4, maps=6, photos=8, results=4)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=int)
