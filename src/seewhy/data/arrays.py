"""Pictures of any number of channels, such as those of satellites: arrays instead of photos."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from seewhy.data.images import MAX_PIXELS, ImageError, Reading, check_file, optional, read_npy


def load_array(source: str | Path | npt.NDArray[Any], channels: int) -> npt.NDArray[np.float32]:
    """The picture as an array (H, W, channels), float32.

    uint8 and uint16 are scaled to [0, 1]; floats are taken as they are.

    source: an array, or the path of a .npy file or (with `seewhy[tiff]`) of a TIFF, of
        (H, W, C) or (C, H, W).
    channels: how many there should be, which tells the two apart.

    Raises ImageError for a missing or unreadable file, another shape or type, or values that are
    not finite.
    """
    name = "array" if isinstance(source, np.ndarray) else str(source)
    array = source if isinstance(source, np.ndarray) else _read(Path(source), channels)
    if array.ndim == 3 and array.shape[-1] != channels and array.shape[0] == channels:
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[-1] != channels or not array.size:
        raise ImageError(
            f"{name}: shape {array.shape}; the network takes {channels} channels, so give "
            f"(H, W, {channels}) or ({channels}, H, W)"
        )
    Reading(name, MAX_PIXELS * 3 // channels).check((array.shape[1], array.shape[0]))
    kind = array.dtype.newbyteorder("=")
    if kind not in (np.uint8, np.uint16) and kind.kind != "f":
        raise ImageError(f"{name}: dtype {array.dtype}; give uint8, uint16 or floats")
    scale = 1 if kind.kind == "f" else np.iinfo(kind).max
    values = np.ascontiguousarray(array, dtype=np.float32) / np.float32(scale)
    if not np.isfinite(values).all():
        raise ImageError(f"{name}: has values that are not finite")
    return values


def shown(array: npt.NDArray[np.float32]) -> Image.Image:
    """An RGB image of an array (H, W, C): its first three channels, from the least value to the
    most; of fewer than three the first, in grey.
    """
    visible = array[..., [0, 1, 2] if array.shape[2] >= 3 else [0, 0, 0]]
    low, high = visible.min(), visible.max()
    pixels = np.rint((visible - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    return Image.fromarray(pixels)


def _read(path: Path, channels: int) -> npt.NDArray[Any]:
    check_file(path)
    if path.suffix.lower() == ".npy":
        return read_npy(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ImageError(
            f"{path}: a photo has no {channels} channels, which the network takes; give a .npy "
            "file or a TIFF"
        )
    tifffile = optional(
        "tifffile", f'{path}: to read the channels of a TIFF, pip install "seewhy[tiff]"'
    )
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            if math.prod(series.shape) <= 3 * MAX_PIXELS:
                return np.asarray(series.asarray())
    except Exception as error:  # a decoder fed with broken bytes may raise anything
        raise ImageError(f"{path}: cannot be decoded ({error}); give a complete TIFF") from error
    raise ImageError(f"{path}: shape {series.shape}; make it smaller first")
