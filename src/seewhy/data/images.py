"""Photos: `load_image` takes files, bytes, arrays and PIL images, `encoded` makes a file."""

import math
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from seewhy.data.grey import Window, eight_bits
from seewhy.notes import note
from seewhy.options import Range, settled
from seewhy.printable import abridged

MAX_PIXELS = 120_000_000  # as many as phones have

PHOTO_PIXELS = 12_582_912
"""Larger photos are shrunk where only pictures of them are wanted: 4096 x 3072 pixels."""

# Only decoders of photos: Pillow would also open PostScript, for which it runs Ghostscript.
# HEIF needs pillow-heif, or another plug-in that is registered.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
    "DICOM": (".dcm", ".dicom"),
}
# What the file of a phone's photo says that it is, at its fifth byte.
HEIF = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"))
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)

Pixels = Annotated[int, Range(least=1)]
Source = str | Path | bytes | BinaryIO | Image.Image | npt.NDArray[Any]


class ImageError(ValueError):
    """An image that cannot be used; the message names it, what is wrong and what would be right."""


def load_image(
    source: Source,
    *,
    max_pixels: Pixels = MAX_PIXELS,
    shrink: Pixels | None = None,
    window: Window | None = None,
) -> Image.Image:
    """Decode `source` to an upright 8-bit RGB image.

    EXIF orientation is applied, transparent pixels become white, and the first frame of an
    animation or document is used. The result is a new image.

    Grey values of more than 8 bits are scaled (not clipped) to 8. If they do not use the upper half
    of 16 bits, like 12-bit X-rays, or are negative, black and white are the lowest and the highest
    value, and a `seewhy.notes.Note` says so. DICOM files (with `seewhy[dicom]`) have their own
    window. If white is stored as 0 (MinIsWhite, MONOCHROME1), the image is inverted.

    source: a path, bytes, a binary stream, a PIL image, or an array (H, W) or
        (H, W, 1|3|4): uint8, uint16, int16, int32, or float in [0, 1]. A path may lead to a
        .npy file of such an array, and bytes may be those of one.
    max_pixels: larger images are refused, by their header, before anything is decoded.
    shrink: maximum number of pixels, to which larger images are shrunk, with a `Note`; None keeps
        the size. JPEGs are shrunk while they are decoded, which saves most of the memory.
    window: the grey values that become black and white; values beyond are clipped.

    Raises ImageError if `source` is missing, empty, truncated, not a regular file or not an image;
    for values out of range; for more than `max_pixels` pixels; and for a window with a colour
    image. Raises TypeError if `source` is of another type.
    """
    pixels = settled("load_image", load_image, {"max_pixels": max_pixels, "shrink": shrink})
    how = Reading(_name(source), **pixels, window=window)
    if isinstance(source, str | Path):
        source = Path(source)
        check_file(source)
        if source.suffix.lower() == ".npy":
            source = read_npy(source)
    elif isinstance(source, bytes) and source.startswith(b"\x93NUMPY"):
        source = read_npy(BytesIO(source))
    found = _of_array(source, how) if isinstance(source, np.ndarray) else _of_image(source, how)
    return _rgb(found, shrink)


@dataclass(frozen=True)
class Reading:
    """How a source is read: what messages call it, and the options of `load_image`."""

    name: str
    max_pixels: int
    shrink: int | None = None
    window: Window | None = None

    def check(self, size: tuple[int, int]) -> None:
        """Raise ImageError for too many pixels, and tell of those that will be shrunk."""
        pixels = size[0] * size[1]
        if pixels > self.max_pixels:
            raise ImageError(
                f"{self.name}: {size[0]}x{size[1]} pixels; at most {self.max_pixels:,} are read, "
                "make it smaller first"
            )
        if self.shrink is not None and pixels > self.shrink:
            smaller = _shrunk(size, self.shrink)
            note(
                f"{self.name}: {size[0]}x{size[1]} pixels, shrunk to {smaller[0]}x{smaller[1]} "
                "while it is read"
            )

    def check_colours(self) -> None:
        """Raise ImageError where there is a window, as the source has colours."""
        if self.window is not None:
            raise ImageError(f"{self.name}: has colours; a window is for grey values")


def check_file(path: Path) -> None:
    """Raise ImageError unless the path leads to a regular file that holds anything.

    A pipe or a device would be waited for, maybe for ever.
    """
    try:
        there = path.exists()
    except OSError as error:  # a name that is too long, or a folder that may not be read
        raise ImageError(
            f"{abridged(path)}: {error.strerror}; give the path of an image file"
        ) from None
    if path.is_dir():
        raise ImageError(f"{path}: a folder; give an image file (find_images lists a folder's)")
    if not there:
        raise ImageError(f"{abridged(path)}: no such file; give the path of an image file")
    if not path.is_file():
        raise ImageError(f"{path}: a pipe or a device; give a regular file")
    if path.stat().st_size == 0:
        raise ImageError(f"{path}: empty; give a complete image file")


def read_npy(file: Path | BytesIO) -> npt.NDArray[Any]:
    """The array of a .npy file, of numbers alone: nothing in it is executed."""
    named = isinstance(file, Path)
    try:
        array: npt.NDArray[Any] = np.load(
            file, mmap_mode="r" if named else None, allow_pickle=False
        )
    except Exception as error:  # a header may claim anything
        name = file if named else "bytes"
        raise ImageError(f"{name}: no readable .npy file of numbers ({error})") from error
    return array


def _name(source: object) -> str:
    """What errors and notes call the source."""
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, bytes):
        return "bytes"
    if isinstance(source, np.ndarray):
        return "array"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "PIL image")
    if hasattr(source, "read"):
        return str(getattr(source, "name", "stream"))
    raise TypeError(
        f"source is {type(source).__name__}; give a path, bytes, a binary stream, "
        "a PIL image or a NumPy array (H, W[, 1|3|4])"
    )


def _of_image(source: Path | bytes | BinaryIO | Image.Image, how: Reading) -> Image.Image:
    Image.init()
    readable = [format for format in FORMATS if format in Image.OPEN]
    try:
        if isinstance(source, Image.Image):
            how.check(source.size)
            return _decoded(source, how)
        if isinstance(source, Path):
            with source.open("rb") as file:
                return _of_image(file, how)
        if isinstance(source, bytes):
            source = BytesIO(source)
        start = source.tell()
        beginning = source.read(132)
        source.seek(start)
        if beginning[128:] == b"DICM":
            from seewhy.data.dicom import read_dicom

            return read_dicom(source.read(), how)
        if beginning[4:].startswith(HEIF) and b"avif" not in beginning and "HEIF" not in readable:
            missing = f"{how.name}: a HEIF photo; to read it, pip install pillow-heif"
            optional("pillow_heif", missing).register_heif_opener()
            readable.append("HEIF")
        with Image.open(source, formats=readable) as image:
            how.check(image.size)
            if how.shrink is not None:
                image.draft(None, _shrunk(image.size, how.shrink))  # of JPEGs, in steps of 2
            return _decoded(image, how)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{how.name}: not an image, or its beginning is damaged; readable are "
            f"{', '.join(readable)}, DICOM and .npy"
        ) from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, above ours by default
        pixels = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        if how.max_pixels > pixels:
            raise ImageError(f"{how.name}: {error} Make it smaller first") from error
        raise ImageError(
            f"{how.name}: more than {pixels:,} pixels; at most {how.max_pixels:,} are read, make "
            "it smaller first"
        ) from error
    except Exception as error:  # a decoder fed with broken bytes may raise anything
        raise ImageError(
            f"{how.name}: cannot be decoded ({error}); give a complete, undamaged image file"
        ) from error


def optional(module: str, missing: str) -> Any:
    """A module of an optional package. Raises ImageError with that text where it is missing."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImageError(missing) from error


def _decoded(image: Image.Image, how: Reading) -> Image.Image:
    """The image upright, with 8 bits per channel, in any mode."""
    image.load()
    white_is_zero = isinstance(image, TiffImagePlugin.TiffImageFile) and (
        image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    )
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF turns nothing, and is no reason to refuse the pixels
        pass
    if image.mode.startswith(("I", "F")):
        grey = _grey(np.asarray(image), how)
        return ImageOps.invert(grey) if white_is_zero else grey
    if how.window is not None and image.mode in ("1", "L"):
        return _grey(np.asarray(image.convert("L")), how)
    how.check_colours()
    return image


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """An image as a file; given a path, Pillow does not notice where a disk takes a part of it.

    A JPEG keeps the red and the blue of a signed map apart, which may be pixel-fine.
    """
    stream = BytesIO()
    image.save(stream, format=format, subsampling="4:4:4", **options)
    return stream.getvalue()


def _of_array(array: npt.NDArray[Any], how: Reading) -> Image.Image:
    """An 8-bit image of an array (H, W[, 1|3|4])."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(f"{how.name}: shape {array.shape}; give (H, W) or (H, W, 1|3|4)")
    if not array.size:
        raise ImageError(f"{how.name}: shape {array.shape} holds no pixels")
    how.check((array.shape[1], array.shape[0]))
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 3:
        how.check_colours()
    return _grey(array, how)


def _grey(values: npt.NDArray[Any], how: Reading) -> Image.Image:
    try:
        return Image.fromarray(eight_bits(values, how.name, how.window))
    except ValueError as error:
        raise ImageError(f"{how.name}: {error}") from None


def _rgb(image: Image.Image, most: int | None) -> Image.Image:
    """Of at most so many pixels, without transparency, in RGB, and an image of its own."""
    transparent = image.has_transparency_data
    if image.mode in ("1", "P", "PA") or (image.mode == "RGB" and transparent):
        image = image.convert("RGBA" if transparent else "RGB")  # can be resized smoothly
    if most is not None and image.width * image.height > most:
        size = _shrunk(image.size, most)
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)
    if transparent:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _shrunk(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """The largest size of the same shape with at most so many pixels; never a larger one."""
    factor = min(1.0, math.sqrt(pixels / (size[0] * size[1])))
    width, height = (max(1, math.floor(side * factor)) for side in size)
    return width, height
