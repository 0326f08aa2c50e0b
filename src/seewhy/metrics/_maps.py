"""What several metrics share: checks, and the order of the pixels.

Maps of images are (B, H, W); what is said of them holds for maps of signals, (B, L), and of
volumes, (B, D, H, W), too, unless a metric says otherwise.
"""

import torch
from torch import Tensor


def check_maps(saliency: Tensor, **others: Tensor) -> Tensor:
    """The maps in float32 or float64: sums over pixels leave halves, bytes and booleans.

    Raises ValueError unless `saliency` is (B, H, W), finite, and all `others` fit it: `inputs`,
    (B, C, H, W), by their batch and size, everything else by its whole shape.
    """
    if not 2 <= saliency.ndim <= 4 or 0 in saliency.shape[1:]:
        raise ValueError(
            f"saliency has shape {tuple(saliency.shape)}; it should be (B, H, W), or (B, L) of "
            "signals, or (B, D, H, W) of volumes"
        )
    if not saliency.isfinite().all():
        broken = (~saliency.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        raise ValueError(f"saliency has values that are not finite in images {broken}")
    for name, other in others.items():
        shape = tuple(other.shape)
        if (shape[:1] + shape[2:] if name == "inputs" else shape) != tuple(saliency.shape):
            raise ValueError(
                f"{name} has shape {shape}, which does not fit saliency maps of shape "
                f"{tuple(saliency.shape)}; resize the maps first"
            )
    return saliency if saliency.dtype == torch.float64 else saliency.float()


def check_flat(saliency: Tensor, why: str) -> None:
    """Raise ValueError unless the maps are those of images, (B, H, W)."""
    if saliency.ndim != 3:
        raise ValueError(
            f"saliency has shape {tuple(saliency.shape)}; it should be (B, H, W): {why}"
        )


def ranks(saliency: Tensor) -> Tensor:
    """The place of each pixel in its map's order, (B, H, W): 0 is the most salient one.

    Among equals the first in reading order comes first.
    """
    order = saliency.flatten(1).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view_as(saliency)
