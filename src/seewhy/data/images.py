"""Photos in, tensors out, and maps laid back on the photo.

`load_image` decodes anything a person may call a photo, `Preprocess` makes the network's input of
it, and `Geometry` remembers what that did, so that a place in the input is a place in the photo.

Coordinates are continuous and count from the top-left *edge*: pixel i covers [i, i + 1], its
centre is i + 0.5, and a box over the whole image is (0, 0, width, height).
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

MAX_PIXELS = 100_000_000

# Only decoders of photos: Pillow would also open PostScript, for which it runs Ghostscript.
# HEIF counts where a plug-in such as pillow-heif has been registered.
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
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)


class ImageError(ValueError):
    """An image that cannot be used; the message names it, what is wrong and what would be right."""


def load_image(
    source: str | Path | bytes | BinaryIO | Image.Image | npt.NDArray[Any],
    *,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Decode `source` to an upright 8-bit RGB image.

    EXIF orientation is applied, transparency is laid over white, 16-bit values are scaled (not
    clipped) to 8 bits, and of an animation or a document the first frame is taken. Arrays are
    (H, W) or (H, W, 1|3|4): uint8, uint16, or float in [0, 1]. The result is a new image.

    Raises:
        ImageError: missing, empty, truncated or no image at all; values out of range; or more than
            `max_pixels` pixels, which is read from the header before anything is decoded.
        TypeError: `source` is of another type.
    """
    if isinstance(source, np.ndarray):
        return _upright_rgb(_from_array(source, "array"), "array", max_pixels)
    if isinstance(source, str | Path):
        name = str(source)
        _check_file(Path(source))
    elif isinstance(source, bytes):
        name = "bytes"
        source = BytesIO(source)
    elif isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "") or "PIL image")
    elif hasattr(source, "read"):
        name = str(getattr(source, "name", "stream"))
    else:
        raise TypeError(
            f"source is {type(source).__name__}; give a path, bytes, a binary stream, "
            "a PIL image or a NumPy array (H, W[, 1|3|4])"
        )
    Image.init()
    readable = [format for format in FORMATS if format in Image.OPEN]
    try:
        if isinstance(source, Image.Image):
            return _upright_rgb(source, name, max_pixels)
        with Image.open(source, formats=readable) as image:
            return _upright_rgb(image, name, max_pixels)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: not an image, or its beginning is damaged; readable are {', '.join(readable)}"
        ) from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, above ours by default
        raise ImageError(f"{name}: {error} Make it smaller first") from error
    except Exception as error:  # a decoder fed with broken bytes may raise anything
        raise ImageError(
            f"{name}: cannot be decoded ({error}); give a complete, undamaged image file"
        ) from error


def find_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The image files that `paths` name: files, folders (all below) and globs (`**` too).

    A file named outright is taken as it is; from folders and globs come the files with an image's
    suffix, without hidden ones. Sorted, each file once.

    Raises:
        ImageError: one of `paths` leads to no image.
    """
    found: dict[Path, Path] = {}
    for given in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(given).expanduser()
        if path.is_dir():
            hits = _images_below(path)
        elif path.exists():
            hits = [path]
        else:
            hits = []
            for match in map(Path, glob.glob(str(path), recursive=True)):
                if match.is_dir():
                    hits += _images_below(match)
                elif match.suffix.lower() in SUFFIXES:
                    hits.append(match)
        if not hits:
            problem = "holds no images" if path.is_dir() else "no such file, and matches no images"
            raise ImageError(
                f"{given}: {problem}; give an image file, a folder of images or a glob such as "
                "'photos/**/*.jpg'"
            )
        found.update((hit.resolve(), hit) for hit in sorted(hits) if hit.resolve() not in found)
    return sorted(found.values())


@dataclass(frozen=True)
class Preprocess:
    """How a photo becomes a network's input: resize, crop at the centre, scale, normalise.

    The arithmetic is torchvision's `Resize`, `CenterCrop`, `ToTensor`, `Normalize` on PIL images.

    Attributes:
        resize: shorter side in pixels, aspect ratio kept; or (height, width), squashed; or None.
        crop: side of a square, or (height, width), cut from the centre; where the image is smaller
            it is padded with black; or None.
        mean, std: per channel, for values in [0, 1].
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos", antialiased.
        channels: 3, or 1 for greyscale.
    """

    resize: int | tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Interpolation = "bilinear"
    channels: int = 3

    def __post_init__(self) -> None:
        """Check the settings, so that a wrong one is named before any photo is read."""
        for name, size in (("resize", self.resize), ("crop", self.crop)):
            sides = (size, size) if isinstance(size, int) else size
            if sides is not None and (len(sides) != 2 or min(sides) < 1):
                raise ValueError(
                    f"{name}={size}; give a positive int, a pair (height, width) of them, or None"
                )
        if self.channels not in (1, 3):
            raise ValueError(f"channels={self.channels}; photos have 3 channels, or 1 for grey")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"{name}={values}; give {self.channels} values, one per channel")
        if min(self.std) <= 0:
            raise ValueError(f"std={self.std}; every value must be positive")
        if self.interpolation not in get_args(Interpolation):
            raise ValueError(
                f"interpolation={self.interpolation!r}; give one of {get_args(Interpolation)}"
            )

    def __call__(self, image: Image.Image) -> Tensor:
        """The network's input (C, h, w), float32, of an upright 8-bit image as `load_image` gives.

        Raises:
            ImageError: the image is so elongated that resizing would blow it up beyond reason.
        """
        geometry = self.geometry(image)
        image = image.convert("RGB" if self.channels == 3 else "L")
        if image.size != geometry.resized:
            image = image.resize(geometry.resized, Image.Resampling[self.interpolation.upper()])
        left, top = geometry.offset
        width, height = geometry.input
        image = image.crop((left, top, left + width, top + height))
        pixels = torch.from_numpy(np.array(image)).reshape(height, width, self.channels)
        values = pixels.permute(2, 0, 1).contiguous().float().div(255)
        return values.sub(_per_channel(self.mean)).div(_per_channel(self.std))

    def geometry(self, image: Image.Image | tuple[int, int]) -> Geometry:
        """Where an image, or one of size (width, height), comes to lie in the input.

        Raises:
            ImageError: the image is so elongated that resizing would blow it up beyond reason.
        """
        width, height = image.size if isinstance(image, Image.Image) else image
        if min(width, height) < 1:
            raise ImageError(f"image of {width}x{height} pixels; both sides must be at least 1")
        resized = (width, height)
        if isinstance(self.resize, int):
            longer = int(self.resize * max(resized) / min(resized))
            resized = (self.resize, longer) if width <= height else (longer, self.resize)
        elif self.resize is not None:
            resized = (self.resize[1], self.resize[0])
        if resized[0] * resized[1] > max(MAX_PIXELS, width * height):
            raise ImageError(
                f"image of {width}x{height} pixels would be resized to {resized[0]}x{resized[1]}; "
                "crop it to a less elongated shape first"
            )
        if self.crop is None:
            return Geometry((width, height), resized, (0, 0), resized)
        crop = (
            (self.crop, self.crop) if isinstance(self.crop, int) else (self.crop[1], self.crop[0])
        )
        offset = (_crop_offset(resized[0], crop[0]), _crop_offset(resized[1], crop[1]))
        return Geometry((width, height), resized, offset, crop)

    def unnormalize(self, tensor: Tensor) -> Image.Image:
        """The picture that the network saw: (C, h, w) back to an image, RGB or grey."""
        if tensor.ndim != 3 or len(tensor) != self.channels:
            raise ValueError(f"tensor is {tuple(tensor.shape)}; give ({self.channels}, h, w)")
        values = tensor.detach().cpu().float() * _per_channel(self.std) + _per_channel(self.mean)
        pixels = values.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        return Image.fromarray(pixels if self.channels == 3 else pixels[..., 0])


@dataclass(frozen=True)
class Geometry:
    """How photo and network input lie on one another; every pair is (x, y) or (width, height).

    Attributes:
        original: size of the photo.
        resized: its size after resizing.
        offset: of the crop's top-left corner in the resized photo; negative where it was padded.
        input: size of the network's input.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]
    input: tuple[int, int]

    def points_to_input(self, xy: Tensor) -> Tensor:
        """Points (..., 2) of the photo in the input's coordinates; those not seen lie outside."""
        xy = _floating(xy)
        return xy * self._scale(xy) - xy.new_tensor(self.offset)

    def points_to_original(self, xy: Tensor) -> Tensor:
        """Points (..., 2) of the input in the photo's coordinates; those of padding lie outside."""
        xy = _floating(xy)
        return (xy + xy.new_tensor(self.offset)) / self._scale(xy)

    def boxes_to_input(self, xyxy: Tensor) -> Tensor:
        """Boxes (..., 4) = (left, top, right, bottom) in the input's coordinates.

        They are clipped to the input; a box that the network never saw has no area.
        """
        corners = self.points_to_input(xyxy.reshape(*xyxy.shape[:-1], 2, 2))
        limit = corners.new_tensor(self.input)
        return corners.clamp(limit.new_zeros(2), limit).reshape(xyxy.shape)

    def mask_to_input(self, mask: Tensor) -> Tensor:
        """Masks (..., H, W) of the photo as (..., h, w) of the input, same dtype.

        An input pixel takes the photo's pixel under its centre; padding is zero (False).
        """
        width, height = self.original
        if mask.shape[-2:] != (height, width):
            raise ValueError(
                f"mask is {tuple(mask.shape)}; the photo wants (..., {height}, {width})"
            )
        inside = []
        for axis, dim in _AXES:
            original, resized = self.original[axis], self.resized[axis]
            at = (_centres(self.input[axis]) + self.offset[axis]) * original / resized
            inside.append(((at >= 0) & (at < original)).to(mask.device))
            index = at.floor().long().clamp(0, original - 1)
            mask = mask.index_select(dim, index.to(mask.device))
        return mask.masked_fill(~(inside[1][:, None] & inside[0]), 0)

    def input_to_original(self, map: Tensor) -> tuple[Tensor, Tensor]:
        """Lay a map of the input back on the photo.

        Args:
            map: (h, w) or (B, h, w), floating, of any resolution; it spans the whole input.

        Returns:
            The map (H, W) or (B, H, W), sampled bilinearly at the centres of the photo's pixels and
            zero where the network never saw the photo; and `seen` (H, W), bool.
        """
        if map.ndim not in (2, 3) or not map.is_floating_point():
            raise ValueError(
                f"map is {tuple(map.shape)}, {map.dtype}; give (h, w) or (B, h, w), floating"
            )
        inside = []
        for axis, dim in _AXES:
            original, size = self.original[axis], self.input[axis]
            at = _centres(original) * self.resized[axis] / original - self.offset[axis]
            inside.append(((at >= 0) & (at < size)).to(map.device))
            map = _sample(map, at / size * map.shape[dim], dim)
        seen = inside[1][:, None] & inside[0]
        return map.masked_fill(~seen, 0), seen

    def _scale(self, like: Tensor) -> Tensor:
        return like.new_tensor(
            [new / old for new, old in zip(self.resized, self.original, strict=True)]
        )


# (index into an (x, y) pair, dimension of a (..., H, W) tensor)
_AXES = ((0, -1), (1, -2))


def _centres(size: int) -> Tensor:
    # float64, because a photo's coordinates times a ratio would lose the pixel in float32.
    return torch.arange(size, dtype=torch.float64) + 0.5


def _sample(map: Tensor, at: Tensor, dim: int) -> Tensor:
    """Linear interpolation along `dim` at coordinates `at`; constant beyond the outer centres."""
    last = map.shape[dim] - 1
    at = (at - 0.5).clamp(0, last)
    low = at.floor().long()
    high = (low + 1).clamp(max=last)
    weight = (at - low).to(map)
    if dim == -2:
        weight = weight[:, None]
    low, high = low.to(map.device), high.to(map.device)
    return torch.lerp(map.index_select(dim, low), map.index_select(dim, high), weight)


def _crop_offset(size: int, crop: int) -> int:
    # torchvision's rounding: half to even where it cuts, down where it pads.
    return round((size - crop) / 2) if crop <= size else -((crop - size) // 2)


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def _floating(values: Tensor) -> Tensor:
    return values if values.is_floating_point() else values.to(torch.get_default_dtype())


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ImageError(f"{path}: a folder; give an image file (find_images lists a folder's)")
    if not path.exists():
        raise ImageError(f"{path}: no such file; give the path of an image file")
    if path.is_file() and path.stat().st_size == 0:
        raise ImageError(f"{path}: empty; give a complete image file")


def _upright_rgb(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width}x{height} pixels; at most {max_pixels:,} are read, make it smaller "
            "first or raise max_pixels"
        )
    image.load()
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF turns nothing, and is no reason to refuse the pixels
        pass
    if image.mode.startswith(("I", "F")):
        image = _from_array(np.asarray(image), name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _from_array(array: npt.NDArray[Any], name: str) -> Image.Image:
    """An 8-bit image of an array (H, W[, 1|3|4])."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(f"{name}: shape {array.shape}; give (H, W) or (H, W, 1|3|4)")
    if not array.size:
        raise ImageError(f"{name}: shape {array.shape} holds no pixels")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(array))
    if array.dtype.kind == "f":
        top = 1
    elif array.dtype.newbyteorder("=") in (np.uint16, np.int32):  # what Pillow makes of 16 bits
        top = 65535
    else:
        raise ImageError(f"{name}: dtype {array.dtype}; give uint8, uint16 or float in [0, 1]")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= top):
        raise ImageError(f"{name}: {array.dtype} values from {low} to {high}; give 0 to {top}")
    return Image.fromarray(np.rint(array.astype(np.float32) * (255 / top)).astype(np.uint8))


def _images_below(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
