"""A volume drawn as a montage of slices, its map laid over them."""

import math

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from seewhy.draw.overlays import ALPHA, one_map, overlay
from seewhy.maps import normalize
from seewhy.options import Count, Share, checking

_GAP = 3  # pixels between slices
_SHORT = 128  # slices with a shorter side below are enlarged to that


@checking
def overlay_volume(
    volume: Tensor,
    saliency: Tensor,
    *,
    slices: Count = 12,
    columns: Count | None = None,
    cmap: str | None = None,
    alpha: Share = ALPHA,
    signed: bool = False,
) -> Image.Image:
    """Lay a map over evenly spaced slices of a volume, or over frames of a video.

    All slices share one scale of colours. Each has its number, counted from 0.

    volume: (D, H, W), grey, or (3, D, H, W), colour; scaled by its own minimum and maximum.
    saliency: (d, h, w) of any size, stretched over the whole volume.
    slices: how many at most, first and last among them.
    columns: of the montage; by default about as many as it has rows.
    cmap, alpha, signed: as in `overlay`.

    Raises ValueError for wrong shapes, values that are not finite, or options out of range.
    """
    shown = volume.detach().cpu().float()
    shown = shown[None] if shown.ndim == 3 else shown
    if shown.ndim != 4 or shown.shape[0] not in (1, 3) or not shown.numel():
        raise ValueError(
            f"volume is {tuple(volume.shape)}; give one volume, (D, H, W) or (3, D, H, W)"
        )
    depth = shown.shape[1]
    count = min(slices, depth)
    numbers = torch.linspace(0, depth - 1, count, dtype=torch.float64, device="cpu").round().long()
    zoom = max(1, math.ceil(_SHORT / min(shown.shape[2:])))
    height, width = (side * zoom for side in shown.shape[2:])
    maps = one_map(saliency, (depth, height, width))[numbers]
    # All slices beside each other are one picture with one scale.
    strip = overlay(
        _photo(normalize(shown, 4)[:, numbers], zoom),
        maps.movedim(0, 1).flatten(1),
        cmap=cmap,
        alpha=alpha,
        signed=signed,
    )
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    size = (columns * (width + _GAP) - _GAP, -(-count // columns) * (height + _GAP) - _GAP)
    montage = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(montage)
    for place, number in enumerate(numbers.tolist()):
        x, y = place % columns * (width + _GAP), place // columns * (height + _GAP)
        montage.paste(strip.crop((place * width, 0, (place + 1) * width, height)), (x, y))
        draw.text((x + 4, y + 2), str(number), "white", stroke_width=1, stroke_fill="black")
    return montage


def _photo(slices: Tensor, zoom: int) -> Image.Image:
    """Slices (C, n, H, W) in [0, 1] beside each other."""
    pixels = (slices.movedim(1, 2).flatten(2) * 255).round().byte()  # (C, H, n·W)
    photo = Image.fromarray(pixels.expand(3, -1, -1).movedim(0, 2).numpy())
    return photo.resize((photo.width * zoom, photo.height * zoom), Image.Resampling.BICUBIC)
