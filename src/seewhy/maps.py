"""What is done to any saliency map: scaling it, and bringing it to another resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def normalize(saliency: Tensor) -> Tensor:
    """Scale each map of (..., H, W) to [0, 1] by its own minimum and maximum.

    A constant map becomes zeros. Integers and booleans become float32.

    Raises:
        ValueError: some values are not finite.
    """
    saliency = finite(saliency)
    low = saliency.amin((-2, -1), keepdim=True)
    high = saliency.amax((-2, -1), keepdim=True)
    return torch.where(high > low, (saliency - low) / (high - low), 0)


def upsample(maps: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Maps (B, h, w) at another size, (B, H, W): bilinear, align_corners=False."""
    if maps.shape[-2:] == size:
        return maps
    resized = F.interpolate(maps[:, None], size=tuple(size), mode="bilinear", align_corners=False)
    return resized[:, 0]


def finite(saliency: Tensor) -> Tensor:
    """The map as floating point, without a graph.

    Raises:
        ValueError: some values are not finite; the message counts them.
    """
    saliency = saliency.detach()
    saliency = saliency if saliency.is_floating_point() else saliency.float()
    if count := int((~saliency.isfinite()).sum()):
        raise ValueError(f"{count} of {saliency.numel()} saliency values are not finite")
    return saliency
