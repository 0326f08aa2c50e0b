"""Grey values of any depth as 8 bits: which value is black, and which is white."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from seewhy.notes import note
from seewhy.options import shown

Window = tuple[float, float]
"""The values that are shown as black and as white."""


def eight_bits(
    values: npt.NDArray[Any], name: str, window: Window | None = None
) -> npt.NDArray[np.uint8]:
    """Values of any shape as uint8, scaled so that the window runs from 0 to 255.

    Without a window, uint8 is left as it is, floats run from 0 to 1, and integers of up to 32 bits
    from 0 to 65535; but where they do not reach the upper half of that, or leave it, from their
    lowest to their highest value, which is noted under `name`.

    Raises ValueError for another type, floats out of range, or a window without width.
    """
    if window is not None:
        low, high = checked(window)
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise ValueError("some values are not a number (NaN); replace them first")
    elif values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    elif values.dtype.kind == "f":
        low, high = 0, 1
        least, most = values.min(), values.max()
        if not (least >= 0 and most <= 1):
            raise ValueError(
                f"{values.dtype} values from {least:g} to {most:g}; give 0 to 1, or a window "
                "LOW HIGH"
            )
    elif values.dtype.newbyteorder("=") in (np.uint16, np.int16, np.int32):
        low, high = real_range(values, name)
    else:
        raise ValueError(
            f"dtype {values.dtype}; give uint8, uint16, int16, int32 or floats in [0, 1]"
        )
    if values.dtype.newbyteorder("=") in (np.uint8, np.uint16):
        # A table takes a fraction of the memory that floats of a large X-ray would.
        levels = np.arange(np.iinfo(values.dtype).max + 1, dtype=np.float32)
        return np.asarray(_scaled(levels, low, high)[values])
    # Beyond 16 million, float32 cannot represent every whole number.
    coarse = max(abs(low), abs(high)) > 2**24 and values.dtype.itemsize > 2
    return _scaled(values.astype(np.float64 if coarse else np.float32), low, high)


def checked(window: Window) -> Window:
    """The window itself. Raises ValueError where it has no width."""
    try:
        low, high = map(float, window)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"window {shown(window)}; give the values of black and of white, black below white"
        )
    return low, high


def real_range(values: npt.NDArray[Any], name: str) -> Window:
    """0 to 65535 for integers that need all 16 bits, else the lowest and highest value, noted."""
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind != "f" and low >= 0 and 32768 <= high <= 65535:
        return 0, 65535
    note(
        f"{name}: its values are {low:g} (shown black) to {high:g} (white); for another range "
        "give window=(low, high), on the command line --window LOW HIGH"
    )
    return low, high if high > low else low + 1


def _scaled(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    values = (values - low) * (255 / (high - low))
    scaled: npt.NDArray[np.uint8] = np.rint(values.clip(0, 255)).astype(np.uint8)
    return scaled
