"""Multi-scale fusion: maps of the image at several sizes, put together."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.maps import of_images, unit, upsample
from seewhy.naming import Method, refinement


@refinement("Gao et al. 2025, GIG-CAM: multi-scale fusion", "(Σ scale² - 1) x method")
def multiscale(
    probe: Probe,
    method: Method,
    *,
    scales: tuple[float, ...] = (1, 1.5, 2),
    combine: Literal["mean", "geometric", "product"] = "mean",
) -> Tensor:
    """The maps of the image at several scales, fused at the finest map's resolution, in [0, 1].

    Each map's positive part is scaled to [0, 1] by itself. A single scale gives its map as it is.

    scales: factors of the image's size.
    combine: "mean" weights each scale by the mass of its map: where the network no longer sees
        the class, the map is weak and counts little. "geometric" mean and "product" are sharper,
        but of a scale at which the map is empty they make an empty map. The paper's recursion is
        not public; the documentation tells how the default was chosen.

    Raises ValueError where the network takes no images of another size.
    """
    if not scales or any(scale <= 0 for scale in scales):
        raise ValueError(f"scales={scales}; it should hold factors above 0")
    if combine not in ("mean", "geometric", "product"):
        raise ValueError(f"combine={combine!r}; it should be 'mean', 'geometric' or 'product'")
    maps = [_at(probe, method, scale) for scale in scales]
    if len(maps) == 1:
        return maps[0]
    finest = max((found.shape[1:] for found in maps), key=math.prod)
    size = min(finest, probe.size, key=math.prod)
    scaled = torch.stack([unit(upsample(found, size)) for found in maps])
    if combine == "product":
        return scaled.prod(0)
    if combine == "geometric":
        return scaled.prod(0) ** (1 / len(maps))
    masses = torch.stack([found.relu().flatten(1).sum(1) for found in maps])
    masses = of_images(masses, scaled)
    return (masses * scaled).sum(0) / masses.sum(0).clamp_min(torch.finfo(masses.dtype).tiny)


def _at(probe: Probe, method: Method, scale: float) -> Tensor:
    if scale == 1:
        return method(probe)
    resized = probe.at_scale(scale)
    try:
        return method(resized)
    except torch.cuda.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        here, there = (" x ".join(map(str, p.size)) for p in (probe, resized))
        raise ValueError(
            f"'multiscale' cannot refine {str(method)!r}: the network failed on the images at "
            f"{there} instead of {here} pixels, as networks for one size do: {error}"
        ) from error
