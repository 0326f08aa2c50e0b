"""What the browser needs to draw a result by itself, in `seewhy.draw.overlays`'s way.

The numbers go to the browser once, so that opacity, colours, threshold, reading and swiping follow
the hand without asking the server again.
"""

import gzip
from base64 import b64encode
from importlib.metadata import version
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.app.query import Network, Photo, Result, png
from seewhy.draw.overlays import DIVERGING, SEQUENTIAL, colour_scale, colours
from seewhy.explanation import Explanation
from seewhy.models.loaded import number_of_classes

SHOWN = 1280
"""Pixels of the longer side on the page, at most; downloads have the photo's own size."""

COLOURS = (SEQUENTIAL, "viridis", "magma", "turbo", "gray", DIVERGING)
LEVELS = 65535


def shrunk(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height on the page of what has those."""
    shrink = min(1.0, SHOWN / max(size))
    width, height = (max(1, round(side * shrink)) for side in size)
    return width, height


def photo_shown(photo: Photo) -> bytes:
    """The photo as a PNG file at the size in which it is shown."""
    return png(photo.image.resize(shrunk(photo.size), Image.Resampling.LANCZOS))


def photo_whole(photo: Photo) -> bytes:
    """The photo as a PNG file of its own size."""
    return png(photo.image)


def map_drawn(photo: Photo, fields: dict[str, Any], alpha: float, cmap: str) -> bytes:
    """A map on its photo as a PNG file of the photo's size; "" for the usual colours.

    fields: of the explanation, see `fields_of`.
    """
    explanation = Explanation(photo.image, **fields)
    return png(explanation.overlay(alpha=alpha, cmap=cmap or None))


def map_saved(saliency: Tensor) -> bytes:
    """A map as an `.npz` file, under `saliency`."""
    stream = BytesIO()
    np.savez_compressed(stream, saliency=saliency.numpy())
    return stream.getvalue()


def view_of(result: Result, token: str, photo: str) -> dict[str, Any]:
    """A result for the page, ready for JSON: all but the maps' values. Tokens name it."""
    query, texts = result.query, result.query.texts
    width, height = shrunk(query.photo.size)
    top = [index for index, _, _ in result.answer.top]
    if texts:  # beside a single one there may be a class "not …", which the page does not list
        top = [texts.index(name) for _, name, _ in result.answer.top if name in texts]
    return {
        "result": token,
        "photo": photo,
        "width": width,
        "height": height,
        "chosen": 0,
        "maps": [
            {**facts, "row": query.targets.index(target)}
            for facts, (_, target) in zip(result.facts, result.pairs, strict=True)
        ],
        "failures": [str(failure) for failure in result.answer.failures],
        "notes": [note.replace("bytes:", f"{query.photo.name}:", 1) for note in result.notes],
        "top": top,
    }


def about(explanation: Explanation) -> dict[str, Any]:
    """A map's captions, and how its values become colours."""
    values = explanation.saliency
    signed = explanation.signed
    zero, full, power = colour_scale(values, seen=explanation.seen, signed=signed)
    box = Image.fromarray(explanation.seen.numpy()).getbbox() or (0, 0, 0, 0)
    own = explanation.image.size
    across, down = (small / large for small, large in zip(shrunk(own), own, strict=True))
    return {
        "method": explanation.method,
        "target": explanation.target,
        "likely": explanation.caption.removesuffix(explanation.target).strip(),
        "signed": signed,
        "nothing": explanation.nothing if explanation.empty else "",
        "zero": zero,
        "full": full,
        "power": power,
        "low": float(values.min()),
        "high": float(values.max()),
        "seen": [box[0] * across, box[1] * down, box[2] * across, box[3] * down],
    }


def levels_of(values: Tensor) -> bytes:
    """A map at the size shown, row by row: 16 bits, little end first, from low to high."""
    width, height = shrunk((values.shape[1], values.shape[0]))
    low, high = values.min(), values.max()
    if values.shape != (height, width):
        values = torch.nn.functional.interpolate(
            values[None, None], (height, width), mode="bilinear", antialias=True
        )[0, 0].clamp(low, high)
    span = float(high - low) or 1.0
    levels = ((values.double() - float(low)) / span * LEVELS).round()
    return gzip.compress(levels.numpy().astype("<u2").tobytes(), compresslevel=1)


def record_of(result: Result, index: int) -> dict[str, Any]:
    """What one map is and what made it, ready for JSON."""
    return {
        **result.chosen(index).record(),
        **({"texts": list(result.query.texts)} if result.query.texts else {}),
        "weights": result.query.network.weights,
        "versions": {name: version(name) for name in ("seewhy", "torch", "numpy", "pillow")},
    }


def palettes() -> dict[str, str]:
    """The colour maps on offer, each 256 x RGB in base64."""
    return {name: b64encode(colours(name).tobytes()).decode() for name in COLOURS}


def class_names(network: Network) -> list[str]:
    """The classes of a network, by index, as they are shown and searched."""
    model = network.model
    return [model.class_name(index) for index in range(number_of_classes(model) or 0)]
