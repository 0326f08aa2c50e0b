"""DICOM files: X-rays and the like, with their own window. Needs the extra `seewhy[dicom]`."""

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from seewhy.data.grey import Window, eight_bits, real_range
from seewhy.data.images import ImageError, Reading, optional

# Of files that are compressed as a whole, and may grow to any size when they are read.
_DEFLATED = b"1.2.840.10008.1.2.1.99"


def read_dicom(content: bytes, how: Reading) -> Image.Image:
    """The first frame of a DICOM file as an 8-bit image, grey or RGB.

    Grey values are those after the modality's rescaling, such as Hounsfield units. The window is
    the one given, else the file's first, else the real range of the values.

    Raises ImageError if pydicom is not installed, or the file holds no picture, or is deflated.
    """
    name, window = how.name, how.window
    missing = f'{name}: a DICOM file; to read it, pip install "seewhy[dicom]"'
    pydicom, pixels = optional("pydicom", missing), optional("pydicom.pixels", missing)
    if _DEFLATED in content:
        raise ImageError(f"{name}: a deflated DICOM file; inflate it first")
    data = pydicom.dcmread(BytesIO(content))
    if "PixelData" not in data:
        raise ImageError(f"{name}: a DICOM file without a picture in it")
    how.check((int(data.Columns), int(data.Rows)))
    kind = str(data.PhotometricInterpretation)
    values: npt.NDArray[Any] = pixels.pixel_array(data, index=0)
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        how.check_colours()
        if kind == "PALETTE COLOR":
            values = pixels.apply_color_lut(values, data)
        return Image.fromarray(eight_bits(values, name))
    values = pixels.apply_modality_lut(values, data)
    if window is None and "VOILUTSequence" in data:
        bits = int(data.VOILUTSequence[0].LUTDescriptor[2])
        values, window = pixels.apply_voi_lut(values, data), (0, 2**bits - 1)
    own = _own_window(data)
    if window is None and own and data.get("VOILUTFunction") == "SIGMOID":
        low, high = own
        # 1 / (1 + exp(-4 (x - centre) / width)), without its overflow
        values, window = 0.5 + 0.5 * np.tanh((2 * values - low - high) / (high - low)), (0, 1)
    window = window or own or real_range(values, name)
    grey = Image.fromarray(eight_bits(values, name, window))
    return ImageOps.invert(grey) if kind == "MONOCHROME1" else grey


def _own_window(data: Any) -> Window | None:
    """The first window of the file, as the standard (PS3.3 C.11.2.1.2) computes it."""
    found = [data.get(key) for key in ("WindowCenter", "WindowWidth")]
    if None in found:
        return None
    centre, width = (float(np.ravel(one)[0]) for one in found)  # one number, or several
    low = centre - width / 2
    if data.get("VOILUTFunction", "LINEAR") == "LINEAR":
        return low, low + max(width - 1, 1e-3)  # a width of 1 is a threshold
    return low, low + width
