"""Scaling and resizing of saliency maps.

Maps of images are (B, h, w), those of signals (B, l), and those of volumes (B, d, h, w).
"""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.options import Range, checking

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}  # how to resize what has so many sides


@checking
def normalize(saliency: Tensor, sides: Annotated[int, Range(least=1)] = 2) -> Tensor:
    """Scale each map of (..., H, W) to [0, 1] by its own minimum and maximum.

    A constant map becomes zeros. Integers and booleans become float32.

    sides: number of dimensions of a map: 2 for images, 1 for signals (..., L), 3 for volumes.

    Raises ValueError if some values are not finite, or there are fewer dimensions than that.
    """
    if saliency.ndim < sides or 0 in saliency.shape[-sides:]:
        raise ValueError(f"saliency is {tuple(saliency.shape)}; a map has {sides} dimensions")
    saliency = finite(saliency)
    axes = tuple(range(-sides, 0))
    low = saliency.amin(axes, keepdim=True)
    high = saliency.amax(axes, keepdim=True)
    return torch.where(high > low, (saliency - low) / (high - low), 0)


def unit(maps: Tensor) -> Tensor:
    """The positive part of each map (B, ...) scaled to [0, 1]; a map without one becomes zeros."""
    return normalize(maps.relu(), maps.ndim - 1)


def upsample(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, h, w) at another size, (B, H, W): bilinear, align_corners=False.

    Raises ValueError where the map has other sides than the size: a layer's of a network that
    changes the number of dimensions on the way.
    """
    if maps.shape[1:] == tuple(size):
        return maps
    if maps.ndim - 1 != len(size):
        raise ValueError(
            f"a map of shape {tuple(maps.shape[1:])} cannot be brought to the size of the inputs, "
            f"{tuple(size)}; ask for it with size='layer', or choose a layer of as many dimensions"
        )
    mode = MODES[len(size)]
    return F.interpolate(maps[:, None], size=tuple(size), mode=mode, align_corners=False)[:, 0]


def averaged(maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """The mean at another size, (B, H, W), of maps of several layers; of one layer its own map."""
    if len(maps) == 1:
        return maps[0]
    return torch.stack([upsample(m, size) for m in maps]).mean(0)


def means(maps: Tensor) -> Tensor:
    """The mean of each channel: (B, K, h, w) -> (B, K)."""
    return maps.mean(tuple(range(2, maps.ndim)))


def sums(maps: Tensor) -> Tensor:
    """The sum of each channel, (B, K, h, w) -> (B, K), of halves in float32."""
    return wide(maps).flatten(2).sum(2)


def of_images(values: Tensor, like: Tensor) -> Tensor:
    """Values (B,) or (B, K), as they multiply a tensor of (B, K, h, w)."""
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim))


def wide(values: Tensor) -> Tensor:
    """The numbers in float32 where they are halves: sums and products of many leave those."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def finite(saliency: Tensor) -> Tensor:
    """The map as floating point, without a graph.

    Raises ValueError if some values are not finite; the message counts them.
    """
    saliency = saliency.detach()
    usual = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    saliency = saliency if saliency.dtype in usual else saliency.float()
    if count := int((~saliency.isfinite()).sum()):
        raise ValueError(
            f"{count} of {saliency.numel()} saliency values are not finite in {saliency.dtype}"
        )
    return saliency
