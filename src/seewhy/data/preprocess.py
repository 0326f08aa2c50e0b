"""How a photo becomes a network's input, and the position of the photo in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from seewhy.data.geometry import Geometry
from seewhy.data.images import ImageError
from seewhy.options import as_number, shown

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

MAX_SIDE = 8192
"""Of a network's input, in pixels."""

MAX_RESIZED = 100_000_000
"""Pixels of a photo that is resized before it is cropped."""

Picture = Image.Image | npt.NDArray[np.float32]
"""A photo, or for networks of other than 3 or 1 channels an array (H, W, C)."""


@dataclass(frozen=True, init=False)
class Preprocess:
    """How a photo becomes a network's input: resize, crop at the centre, scale, normalise.

    The arithmetic is torchvision's `Resize`, `CenterCrop`, `ToTensor`, `Normalize` on PIL images.

    resize: length of the shorter side in pixels, keeping the aspect ratio; or (height, width), to
        which the photo is squashed; or None.
    crop: side of a square, or (height, width), cut from the centre; a smaller image is padded with
        black; or None.
    mean, std: one value per channel, or one number for all, for pixels from 0 to 1. Values for
        pixels from 0 to 255, such as `mean=127, std=128`, are divided by 255.
    interpolation: "nearest", "bilinear", "bicubic" or "lanczos", antialiased.
    channels: 3 for colour, 1 for greyscale; any other number is for arrays, not for photos.
    """

    resize: int | tuple[int, int] | None
    crop: int | tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation
    channels: int

    def __init__(
        self,
        resize: int | Sequence[int] | None = None,
        crop: int | Sequence[int] | None = None,
        mean: float | Sequence[float] = (0.485, 0.456, 0.406),
        std: float | Sequence[float] = (0.229, 0.224, 0.225),
        interpolation: Interpolation = "bilinear",
        channels: int = 3,
    ) -> None:
        """Check the settings, so that a wrong one is named before any photo is read."""
        given = (resize, crop, mean, std, channels)
        lists = (one.tolist() if isinstance(one, np.ndarray | Tensor) else one for one in given)
        resize, crop, mean, std, channels = map(as_number, lists)
        if type(channels) is not int or channels < 1:
            raise ValueError(f"channels={channels!r}; give 3 for colour, 1 for grey")
        means, deviations = _values("mean", mean, channels), _values("std", std, channels)
        if min(deviations) <= 0:
            raise ValueError(f"std={std}; every value must be positive")
        white = _range(means, deviations)
        if interpolation not in get_args(Interpolation):
            raise ValueError(
                f"interpolation={interpolation!r}; give one of {get_args(Interpolation)}"
            )
        vars(self).update(
            resize=_size("resize", resize),
            crop=_size("crop", crop),
            mean=tuple(value / white for value in means),
            std=tuple(value / white for value in deviations),
            interpolation=interpolation,
            channels=channels,
        )

    def __str__(self) -> str:
        """The settings in words, for messages."""
        steps = []
        if isinstance(self.resize, int):
            steps.append(f"shorter side to {self.resize}")
        elif self.resize is not None:
            steps.append(f"squashed to {self.resize[0]}x{self.resize[1]}")
        if self.crop is not None:
            height, width = _sides(self.crop)
            steps.append(f"centre {height}x{width}")
        steps += ["grey"] if self.channels == 1 else []
        for name, values in (("mean", self.mean), ("std", self.std)):
            shown = values[:1] if len(set(values)) == 1 else values
            steps.append(f"{name} {' '.join(f'{value:.4g}' for value in shown)}")
        return ", ".join(steps)

    @property
    def black(self) -> tuple[float, ...]:
        """The value of a black pixel in the network's input, one per channel."""
        return tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))

    def __call__(self, photo: Picture) -> Tensor:
        """The network's input (C, h, w), float32.

        photo: an upright 8-bit image as `load_image` gives; or for other than 3 or 1 channels an
            array (H, W, C) as `load_array` gives.

        Raises ImageError for another number of channels, or an image so elongated that resizing
        would blow it up beyond reason.
        """
        geometry = self.geometry(photo)
        if isinstance(photo, Image.Image):
            image = photo.convert("RGB" if self.channels == 3 else "L")
            pixels = torch.from_numpy(np.array(self._fitted(image, geometry)))
            values = pixels.reshape(*pixels.shape[:2], self.channels).float().div(255)
        else:
            planes = [Image.fromarray(photo[..., channel]) for channel in range(self.channels)]
            fitted = [np.array(self._fitted(plane, geometry)) for plane in planes]
            values = torch.from_numpy(np.stack(fitted, axis=-1))
        values = values.permute(2, 0, 1).contiguous()
        return values.sub(_per_channel(self.mean)).div(_per_channel(self.std))

    def geometry(self, photo: Picture | tuple[int, int]) -> Geometry:
        """The position of a photo, or of one of size (width, height), in the input.

        Raises ImageError for another number of channels, or an image so elongated that resizing
        would blow it up beyond reason.
        """
        if isinstance(photo, tuple):
            width, height = photo
        elif isinstance(photo, Image.Image):
            width, height = photo.size
            if self.channels not in (1, 3):
                raise ImageError(
                    f"the network takes {self.channels} channels, a photo has 3; give an array "
                    f"(H, W, {self.channels}), a .npy file or a TIFF"
                )
        elif not isinstance(photo, np.ndarray):
            raise TypeError(f"photo is {shown(photo)}; give an image of seewhy.load_image")
        else:
            if photo.ndim != 3 or photo.shape[2] != self.channels:
                raise ImageError(f"shape {photo.shape}; give (H, W, {self.channels})")
            height, width = photo.shape[:2]
        if min(width, height) < 1:
            raise ImageError(f"image of {width}x{height} pixels; both sides must be at least 1")
        resized = (width, height)
        if isinstance(self.resize, int):
            longer = int(self.resize * max(resized) / min(resized))
            resized = (self.resize, longer) if width <= height else (longer, self.resize)
        elif self.resize is not None:
            resized = (self.resize[1], self.resize[0])
        if resized[0] * resized[1] > max(MAX_RESIZED, width * height):
            raise ImageError(
                f"image of {width}x{height} pixels would be resized to {resized[0]}x{resized[1]}; "
                "crop it to a less elongated shape first"
            )
        if self.crop is None:
            return Geometry((width, height), resized, (0, 0), resized)
        down, across = _sides(self.crop)
        offset = (_crop_offset(resized[0], across), _crop_offset(resized[1], down))
        return Geometry((width, height), resized, offset, (across, down))

    def unnormalize(self, tensor: Tensor) -> Image.Image:
        """The picture that the network saw: (C, h, w) back to an image, RGB or grey."""
        if self.channels not in (1, 3):
            raise ValueError(f"an input of {self.channels} channels is no picture")
        if tensor.ndim != 3 or len(tensor) != self.channels:
            raise ValueError(f"tensor is {tuple(tensor.shape)}; give ({self.channels}, h, w)")
        values = tensor.detach().cpu().float() * _per_channel(self.std) + _per_channel(self.mean)
        pixels = values.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        return Image.fromarray(pixels if self.channels == 3 else pixels[..., 0])

    def _fitted(self, image: Image.Image, geometry: Geometry) -> Image.Image:
        if image.size != geometry.resized:
            image = image.resize(geometry.resized, Image.Resampling[self.interpolation.upper()])
        left, top = geometry.offset
        width, height = geometry.input
        return image.crop((left, top, left + width, top + height))


def _size(name: str, size: Any) -> int | tuple[int, int] | None:
    """A size as it is kept, checked."""
    if size is None:
        return None
    sides = _sides(size)
    whole = isinstance(sides, tuple | list) and all(type(side) is int for side in sides)
    if not whole or len(sides) != 2 or not 1 <= min(sides) <= max(sides) <= MAX_SIDE:
        raise ValueError(
            f"{name}={size!r}; give whole pixels from 1 to {MAX_SIDE}: one number, a pair "
            "(height, width), or None"
        )
    return size if isinstance(size, int) else (sides[0], sides[1])


def _sides(size: Any) -> Any:
    """Height and width of a size, which is a square's where it is one number."""
    return (size, size) if isinstance(size, int) else size


def _values(name: str, values: Any, channels: int) -> tuple[float, ...]:
    """One finite number for each channel."""
    single = isinstance(values, int | float)
    found = (values,) * channels if single else values
    numbers = isinstance(found, tuple | list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in found
    )
    if not numbers or len(found) != channels:
        wanted = "1 finite value" if channels == 1 else f"{channels} finite values"
        raise ValueError(f"{name}={values!r}; give {wanted}, one per channel")
    return tuple(map(float, found))


def _range(mean: Sequence[float], std: Sequence[float]) -> int:
    """What white is for these values: 1, or 255 where only that makes sense."""
    if max(mean) <= 1 and max(std) <= 2:
        return 1
    if (max(mean) > 2 or not any(mean)) and min(mean) >= 0 and 1 <= min(std) <= max(std) <= 255:
        return 255
    raise ValueError(
        f"mean={tuple(mean)} and std={tuple(std)} do not go together; give both for pixels from 0 "
        "to 1, such as 0.5 and 0.5, or both for pixels from 0 to 255, such as 127 and 128"
    )


def _crop_offset(size: int, crop: int) -> int:
    # torchvision's rounding: half to even where it cuts, down where it pads.
    return round((size - crop) / 2) if crop <= size else -((crop - size) // 2)


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device="cpu")[:, None, None]
