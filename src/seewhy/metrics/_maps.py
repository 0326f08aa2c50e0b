"""What several metrics share: checks, and the order of the pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def check_maps(saliency: Tensor, **others: Tensor) -> None:
    """Raise ValueError unless `saliency` is (B, H, W), finite, and all `others` fit it.

    Images, (B, C, H, W), fit by their batch and size, everything else by its whole shape.
    """
    if saliency.ndim != 3:
        raise ValueError(f"saliency has shape {tuple(saliency.shape)}; it should be (B, H, W)")
    if not saliency.isfinite().all():
        broken = (~saliency.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        raise ValueError(f"saliency has values that are not finite in images {broken}")
    for name, other in others.items():
        shape = tuple(other.shape)
        if (shape[:1] + shape[2:] if len(shape) == 4 else shape) != tuple(saliency.shape):
            raise ValueError(
                f"{name} has shape {shape}, which does not fit saliency maps of shape "
                f"{tuple(saliency.shape)}; resize the maps first"
            )


def ranks(saliency: Tensor) -> Tensor:
    """The place of each pixel in its map's order, (B, H, W): 0 is the most salient one.

    Among equals the first in reading order comes first.
    """
    order = saliency.flatten(1).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view_as(saliency)
