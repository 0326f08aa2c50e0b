"""Saliency as pictures: pure functions from maps and photos to PIL images, and to files.

A picture is for the eye, so where `colorize` and `overlay` scale a map, its strongest half percent
of pixels saturates: a single outlier would otherwise darken all the rest. `overlay` also spreads
the values of a map that is high nearly everywhere, see `Scale`. `normalize`, `save_saliency` and
the levels of `contour` are plain min-max.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from seewhy.data.images import Source, encoded, load_image
from seewhy.maps import finite, normalize, upsample, wide
from seewhy.options import Range, Share, checking, shown

# Perceptually uniform and safe for the colour-blind. Chosen by eye among those of matplotlib: on
# photos, which are rarely violet, its glow stands out most.
SEQUENTIAL = "inferno"
DIVERGING = "coolwarm"  # red is evidence for the target, blue against it
WEAKEST = 0.3  # where `overlay` enters a sequential colour map, whose dark end would soil a photo
ALPHA = 0.85  # opacity of the strongest saliency
BRIGHTNESS = 0.95  # of the photo beneath
RELIEF = 32  # light and shade finer than about this part of the photo show through the colours
# The mean strength to which `overlay` spreads a map that is high nearly everywhere, and by what
# power at most. Chosen by eye on twenty photos: the gradation of broad plateaus becomes visible.
SPREAD, MOST_POWER = 0.2, 4.0


@checking
def colorize(saliency: Tensor, cmap: str | None = None, *, signed: bool = False) -> Image.Image:
    """Paint a map (H, W) with a colour map, as an RGB image of the same size.

    saliency: one map, any range.
    cmap: name of a matplotlib colour map; by default "inferno", and "coolwarm" if `signed`.
    signed: the middle colour is zero and both signs share one scale; otherwise the colours run
        from the map's minimum to its maximum.

    Raises ValueError for another shape, values that are not finite, or an unknown colour map.
    """
    map = one_map(saliency)
    linear = colour_scale(map, signed=signed)._replace(power=1.0)
    return _paint(_strength(map, linear, signed), cmap, signed)


class Scale(NamedTuple):
    """How `overlay` scales a map: a value v has the strength ((v - zero) / full) ** power.

    The quotient is clipped to [0, 1]; of a signed map to [-1, 1], its size being raised to the
    power. A power above 1 keeps the order of the values, and tells those of a plateau apart.
    """

    zero: float
    full: float
    power: float = 1.0


def colour_scale(saliency: Tensor, *, seen: Tensor | None = None, signed: bool = False) -> Scale:
    """How `overlay` scales a map (H, W) by what was seen of it."""
    values = wide(saliency if seen is None else saliency[seen]).detach().cpu().numpy()
    if not values.size:
        return Scale(0.0, 1.0)
    low = 0.0 if signed else float(values.min())
    values = np.abs(values - low)
    # Where less than half a percent is salient at all, that quantile is zero.
    top = float(np.quantile(values, 0.995)) or float(values.max()) or 1.0
    mean = float(np.minimum(values / top, 1).mean())
    power = math.log(SPREAD) / math.log(mean) if SPREAD < mean < 1 else 1.0
    return Scale(low, top, min(power, MOST_POWER))


@checking
def overlay(
    image: Source,
    saliency: Tensor | npt.NDArray[Any],
    *,
    cmap: str | None = None,
    alpha: Share = ALPHA,
    seen: Tensor | None = None,
    signed: bool = False,
) -> Image.Image:
    """Draw a map over a photo: the more salient, the brighter and the more opaque.

    The photo keeps its colours and is slightly darker, so that the map's colours stand out. Its
    fine contrast shows through the map, so that you can recognise what is salient. Parts that the
    network did not see are bleached and hatched, and do not influence the scaling of the map.

    image: the photo, its path, or an array, read as `seewhy.load_image` does.
    saliency: (h, w) of any size, stretched over the whole photo.
    cmap, signed: as in `seewhy.draw.colorize`.
    alpha: opacity of the strongest saliency, 0 to 1.
    seen: (H, W) bool at the photo's size; False where the network did not see the photo.

    Raises ValueError for wrong shapes, values that are not finite, an unknown colour map, or a
    photo that cannot be read.
    """
    image = load_image(image)
    seen = None if seen is None else check_mask("seen", seen, image)
    map = one_map(torch.as_tensor(saliency, device="cpu"), (image.height, image.width))
    strength = _strength(map, colour_scale(map, seen=seen, signed=signed), signed)
    # Faint saliency would drown in the photo; but faint colours of a signed map are a pale fog.
    opacity = _grey(strength.abs().pow(1.0 if signed else 0.7) * alpha)
    darker = ImageEnhance.Brightness(image).enhance(BRIGHTNESS)
    colour = strength if signed else WEAKEST + (1 - WEAKEST) * strength
    picture = Image.composite(_in_relief(_paint(colour, cmap, signed), image), darker, opacity)
    return picture if seen is None else _hatch_unseen(picture, image, seen)


@checking
def contour(
    image: Source,
    saliency: Tensor,
    levels: Sequence[Annotated[float, Range(above=0, below=1)]] = (0.5, 0.75),
    *,
    cmap: str | None = None,
    seen: Tensor | None = None,
) -> Image.Image:
    """Outline the salient regions on a photo that otherwise keeps its colours.

    The map is smoothed first (by about 1 % of the shorter side), since the outlines of a pixel-fine
    map would be confetti.

    image: the photo, as in `overlay`.
    saliency: (h, w) of any size, stretched over the whole photo.
    levels: where to draw, as fractions of the smoothed map's range, each between 0 and 1.
    cmap: each line has the colour of its level, by default in "inferno".
    seen: (H, W) bool at the photo's size; False where the network saw nothing.

    Raises ValueError for wrong shapes or levels, values not finite, or an unknown colour map.
    """
    import contourpy

    image = load_image(image)
    saliency = one_map(saliency, (image.height, image.width))
    if seen is not None:
        seen = check_mask("seen", seen, image)
        image = _hatch_unseen(image, image, seen)
        saliency = saliency.where(seen, saliency.min())
    grid = normalize(_smoothed(saliency)).numpy()
    contours = contourpy.contour_generator(z=grid, line_type=contourpy.LineType.Separate)
    # A large picture needs no antialiasing.
    zoom = 4 if max(image.size) < 1500 else 1
    scale = np.array([image.width / grid.shape[1], image.height / grid.shape[0]]) * zoom
    width = max(1.6, min(image.size) / 160) * zoom
    for level in sorted(levels):
        lines: list[npt.NDArray[np.float64]] = list(contours.lines(level))  # type: ignore[arg-type]
        paths = [((line + 0.5) * scale).ravel().tolist() for line in lines]
        colour = colours(cmap or SEQUENTIAL)[round(255 * (0.45 + 0.5 * level))]
        for stroke, ink in ((2.4 * width, (0, 0, 0)), (1.3 * width, tuple(colour.tolist()))):
            draw_lines(image, paths, ink, round(stroke), zoom)
    return image


def draw_lines(
    image: Image.Image, paths: Sequence[list[float]], ink: tuple[int, ...], width: int, zoom: int
) -> None:
    """Draw lines onto an image. Pillow does so without antialiasing: paths and width are zoomed."""
    mask = Image.new("L", (image.width * zoom, image.height * zoom))
    draw = ImageDraw.Draw(mask)
    for path in paths:
        draw.line(path, fill=255, width=width, joint="curve")
    image.paste(ink, (0, 0), mask.resize(image.size, Image.Resampling.BOX))


@checking
def save_saliency(path: str | Path, saliency: Tensor) -> None:
    """Write a map itself, in the format that the suffix names.

    .npy and .npz (under the name "saliency") hold the values as they are, float32; .png is 16-bit
    grey (H, W), min-max normalised, so that its absolute values are lost.

    Raises ValueError for another suffix, another shape than (H, W), or values that are not finite.
    """
    path = Path(path)
    values = finite(one_map(saliency).float())
    match path.suffix.lower():
        case ".npy":
            with path.open("wb") as file:  # given a name, NumPy would append to some suffixes
                np.save(file, values.numpy())
        case ".npz":
            with path.open("wb") as file:
                np.savez_compressed(file, saliency=values.numpy())
        case ".png":
            levels = (normalize(values).double() * 65535).round().numpy().astype(np.uint16)
            path.write_bytes(encoded(Image.fromarray(levels), "PNG"))
        case suffix:
            raise ValueError(f"{path}: suffix {suffix!r}; saliency is saved as .npy, .npz or .png")


def one_map(saliency: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """A map of a picture, signal or volume at another size; None for a picture's at its own.

    Raises ValueError for another number of dimensions, and values that are not finite.
    """
    wanted = {1: ", (l,)", 2: " (H, W)", 3: ", (d, h, w)"}
    sides = 2 if size is None else len(size)
    if saliency.ndim != sides or not saliency.numel():
        raise ValueError(f"saliency is {tuple(saliency.shape)}; give one map{wanted[sides]}")
    found = wide(finite(saliency)).cpu()
    return found if size is None else upsample(found[None], size)[0]


def check_mask(name: str, mask: Tensor, image: Image.Image) -> Tensor:
    """A part of a photo, on the CPU. Raises ValueError where it is no mask of the photo's size."""
    if mask.dtype != torch.bool or mask.shape != (image.height, image.width):
        raise ValueError(
            f"{name} is {tuple(mask.shape)}, {mask.dtype}; give ({image.height}, {image.width}), "
            "torch.bool, as the photo"
        )
    return mask.cpu()


def _strength(saliency: Tensor, scale: Scale, signed: bool) -> Tensor:
    """The map in [0, 1], or [-1, 1] if signed, as `Scale` tells; its outliers saturate."""
    linear = ((saliency - scale.zero) / scale.full).clamp(-1 if signed else 0, 1)
    return linear.sign() * linear.abs().pow(scale.power)


def _smoothed(saliency: Tensor) -> Tensor:
    """The map with a shorter side of at most 192, near-Gaussian blurred by about 2.5 of these."""
    height, width = saliency.shape
    shrink = min(1.0, 192 / min(height, width))
    size = (max(2, round(height * shrink)), max(2, round(width * shrink)))
    grid = interpolate(saliency[None, None], size, mode="bilinear", antialias=True)
    for _ in range(3):
        grid = avg_pool2d(grid, 5, stride=1, padding=2, count_include_pad=False)
    return grid[0, 0]


def colours(cmap: str) -> npt.NDArray[np.uint8]:
    """The 256 colours of a colour map of matplotlib, (256, 3), from weakest to strongest.

    Raises ValueError for an unknown name.
    """
    import matplotlib

    if cmap not in matplotlib.colormaps:
        raise ValueError(f"cmap={shown(cmap)}; give a colour map of matplotlib, such as 'inferno'")
    colours: npt.NDArray[np.uint8] = matplotlib.colormaps[cmap](np.arange(256) / 255, bytes=True)
    return colours[:, :3]


def _grey(values: Tensor) -> Image.Image:
    return Image.fromarray((values * 255).round().byte().cpu().numpy())


def _paint(strength: Tensor, cmap: str | None, signed: bool) -> Image.Image:
    picture = _grey((strength + 1) / 2 if signed else strength)
    picture.putpalette(colours(cmap or (DIVERGING if signed else SEQUENTIAL)).tobytes())
    return picture.convert("RGB")


def _in_relief(colour: Image.Image, image: Image.Image) -> Image.Image:
    """Colours with the fine light and shade of a photo."""
    grey = image.convert("L")
    blur = ImageFilter.BoxBlur(max(2, round(min(image.size) / RELIEF)))
    coarse = grey.filter(blur).filter(blur)
    light, shade = ImageChops.subtract(grey, coarse), ImageChops.subtract(coarse, grey)
    lit = ImageChops.add(colour, Image.merge("RGB", [light] * 3))
    return ImageChops.subtract(lit, Image.merge("RGB", [shade] * 3))


def _hatch_unseen(picture: Image.Image, image: Image.Image, seen: Tensor) -> Image.Image:
    """Replace what was not seen by the bleached photo under diagonal lines."""
    if seen.all():
        return picture
    bleached = Image.blend(
        image.convert("L").convert("RGB"), Image.new("RGB", image.size, "white"), 0.7
    )
    period = max(8.0, max(image.size) / 40)
    count = image.width + image.height - 1
    diagonal = torch.arange(count, dtype=torch.float32, device="cpu")  # x + y of a pixel
    # Distance to the nearest line in pixels, which also antialiases its edges.
    distance = (diagonal % period - period / 2).abs() / 2**0.5
    lines = (0.07 * period + 0.5 - distance).clamp(0, 1) * 0.28
    grey = Image.new("RGB", image.size, (92, 92, 92))
    hatched = Image.composite(grey, bleached, _grey(lines.unfold(0, image.width, 1)))
    return Image.composite(picture, hatched, _grey(seen.float()))
