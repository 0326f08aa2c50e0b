"""A signal drawn as a curve over the colours of its map."""

from typing import Annotated

import torch
from PIL import Image
from torch import Tensor

from seewhy.draw.overlays import colorize, draw_lines, one_map
from seewhy.options import Range, checking

Pixels = Annotated[int, Range(least=1, most=10_000)]

_ZOOM = 3  # of the drawing that is shrunk to the picture


@checking
def overlay_signal(
    signal: Tensor,
    saliency: Tensor,
    *,
    cmap: str | None = None,
    signed: bool = False,
    width: Pixels = 900,
    height: Pixels = 140,
) -> Image.Image:
    """Draw a signal as a curve, one for each channel, over the colours of its map.

    signal: (L,) or (C, L). Each channel is scaled by its own minimum and maximum.
    saliency: (l,) of any length, stretched over the whole signal.
    cmap, signed: as in `seewhy.draw.colorize`.
    width: of the picture, in pixels.
    height: of each channel, in pixels.

    Raises ValueError for wrong shapes, values that are not finite, or an unknown colour map.
    """
    rows = signal.detach().cpu().float()
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or not rows.numel():
        raise ValueError(f"signal is {tuple(signal.shape)}; give one signal, (L,) or (C, L)")
    if not rows.isfinite().all():
        raise ValueError("signal has values that are not finite")
    strip = colorize(one_map(saliency, rows.shape[1:])[None], cmap, signed=signed)
    picture = strip.resize((width, height * len(rows)), Image.Resampling.BILINEAR)
    # The middle colour of a signed map is pale, the weakest of the others dark.
    ink, halo = ((0, 0, 0), (255, 255, 255)) if signed else ((255, 255, 255), (0, 0, 0))
    curves = [_points(row, number, width, height) for number, row in enumerate(rows)]
    for line, colour in ((4, halo), (2, ink)):
        draw_lines(picture, curves, colour, line * _ZOOM, _ZOOM)
    return picture


def _points(row: Tensor, number: int, width: int, height: int) -> list[float]:
    """The curve of one channel, x and y in turn, in pixels of the large drawing."""
    low, high = row.amin(), row.amax()
    share = (row - low) / (high - low) if high > low else torch.full_like(row, 0.5)
    # As wide as a map's cell, whose centre the value is at.
    x = (torch.arange(len(row), dtype=row.dtype, device="cpu") + 0.5) * width / len(row)
    y = height * (number + 0.9 - 0.8 * share)
    points: list[float] = (torch.stack([x, y], 1) * _ZOOM).flatten().tolist()
    return points if len(row) > 1 else [0.0, points[1], width * float(_ZOOM), points[1]]
