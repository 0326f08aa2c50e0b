"""Multi-scale fusion: maps of the image at several sizes, put together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.maps import normalize, of_images, unit, upsample
from seewhy.naming import Method, refinement
from seewhy.options import Range

# The sizes of the paper's script as factors of its first: 224, 324 … 824 pixels.
_SIZES = tuple(size / 224 for size in range(224, 825, 100))
_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@refinement("Gao et al. 2025, GIG-CAM: multi-scale fusion", "(Σ scale² - 1) x method")
def multiscale(
    probe: Probe,
    method: Method,
    *,
    scales: tuple[Annotated[float, Range(above=0, most=16)], ...] | None = None,
    combine: Literal["mean", "ratio", "geometric", "product"] = "mean",
) -> Tensor:
    """The maps of the image at several scales, fused at the finest map's resolution, in [0, 1].

    The positive part of each map is scaled to [0, 1]. A single scale returns its map unchanged.

    scales: factors of the image's size; None is 1, 1.5 and 2, or for "ratio" the authors' sizes, 1
        to 3.7 times the image's.
    combine: "mean", our own, weights each scale by the mass of its map: at scales at which the
        network does not recognise the class, the map is weak and counts little. "ratio" is the
        recursion of the authors' script, see `recursive_fusion`, at the size of the last scale.
        "geometric" mean and "product" are sharper, but if the map is empty at one scale, so is the
        result.

    Raises ValueError if the network takes images of one size only.
    """
    scales = (_SIZES if combine == "ratio" else (1, 1.5, 2)) if scales is None else scales
    if not scales:
        raise ValueError("scales=(); it should hold one factor at least")
    found = [_at(probe, method, scale) for scale in scales]
    if len(found) == 1:
        return found[0][1]
    if combine == "ratio":
        return recursive_fusion([upsample(maps, at.size).relu() for at, maps in found])
    maps = [each for _, each in found]
    finest = max((each.shape[1:] for each in maps), key=math.prod)
    size = min(finest, probe.size, key=math.prod)
    scaled = torch.stack([unit(upsample(each, size)) for each in maps])
    if combine == "product":
        return scaled.prod(0)
    if combine == "geometric":
        return scaled.prod(0) ** (1 / len(maps))
    masses = torch.stack([each.relu().flatten(1).sum(1) for each in maps])
    masses = of_images(masses, scaled)
    return (masses * scaled).sum(0) / masses.sum(0).clamp_min(torch.finfo(masses.dtype).tiny)


def recursive_fusion(maps: Sequence[Tensor]) -> Tensor:
    """The fusion of the authors' script: maps S_1 … S_n, (B, h, w) each, not negative -> (B, H, W).

    R_i = S_i / up(avgpool(S_i)), 0 where that is 0, says where a map is above its surroundings;
    F_1 = S_1, F_i = up(F_(i-1)) ⊙ R_i. The sum of all F, resized along, is scaled to [0, 1] by its
    minimum and maximum. The result has the size of S_n.
    """
    first, *others = maps
    fused = total = first
    for each in others:
        size = each.shape[1:]
        around = upsample(_POOLS[len(size)](each[:, None], 2)[:, 0], size)
        ratio = torch.where(around == 0, 0, each / around)
        fused = upsample(fused, size) * ratio
        total = upsample(total, size) + fused
    return normalize(total, total.ndim - 1)


def _at(probe: Probe, method: Method, scale: float) -> tuple[Probe, Tensor]:
    if scale == 1:
        return probe, method(probe)
    resized = probe.at_scale(scale)
    try:
        return resized, method(resized)
    except torch.cuda.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        here, there = (" x ".join(map(str, p.size)) for p in (probe, resized))
        raise ValueError(
            f"'multiscale' cannot refine {str(method)!r}: the network failed on the images at "
            f"{there} instead of {here} pixels, as networks for one size do: {error}. Build it for "
            "all sizes where that can be had, as in timm.create_model(…, dynamic_img_size=True); "
            "or take '+sharpen' or \"+detail(by='gradient')\""
        ) from error
