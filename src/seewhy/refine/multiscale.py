"""Multi-scale fusion: maps of the image at several sizes, put together."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.core.recording import REFUSALS
from seewhy.maps import of_images, unit, upsample, wide
from seewhy.naming import Method, refinement
from seewhy.options import Range
from seewhy.progress import tracked
from seewhy.refine.refine_cam import MIXERS

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
    tiles: bool = True,
) -> Tensor:
    """The maps of the image at several scales, fused at the finest map's resolution, in [0, 1].

    The positive part of each map is scaled to [0, 1]. A single scale returns its map unchanged.
    A target that is a function gets the outputs at each scale, where the index of a place or a box
    means another one; `targets.Segment` means the same region at all scales.

    scales: factors of the image's size; None is 1, 1.5 and 2, or for "ratio" the authors' sizes, 1
        to 3.7 times the image's.
    combine: "mean", our own, weights each scale by the mass of its map: at scales at which the
        network does not recognise the class, the map is weak and counts little. "ratio" is the
        recursion of the authors' script, see `recursive_fusion`, at the size of the last scale.
        "geometric" mean and "product" are sharper, but if the map is empty at one scale, so is the
        result.
    tiles: if the network takes images of one size only, show it the larger image in tiles of that
        size, see `tiled`: 4 at scale 1.5, 9 at scale 2. False raises an error instead.

    Raises ValueError if the network takes images of one size only and tiles are not possible:
    with tiles=False, at scales below 1, beside another input of the same sides (a depth map), and
    for a region of a segmentation; and if the target fails on the outputs at another scale.
    """
    scales = (_SIZES if combine == "ratio" else (1, 1.5, 2)) if scales is None else scales
    found = [_at(probe, method, scale, tiles) for scale in scales]
    if len(found) == 1:
        return found[0][1]
    if combine == "ratio":
        return recursive_fusion([upsample(maps, at.size).relu() for at, maps in found])
    maps = [each for _, each in found]
    finest = max((each.shape[1:] for each in maps), key=math.prod)
    size = min(finest, probe.size, key=math.prod)
    scaled = torch.stack([unit(upsample(each, size)) for each in maps])
    if combine != "mean":
        return MIXERS[combine](scaled)
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
    return unit(total)


def tiled(probe: Probe, method: Method, images: Tensor) -> Tensor:
    """The map of larger images (B, C, H, W), from tiles of the size of the probe's own.

    A side is covered by evenly spread tiles, as few as overlap by half at least. Each tile is an
    image of its own, of which the probe's question is asked. Where tiles overlap, the map is their
    mean, weighted by how near the middle of each tile a place is: 1 there, falling linearly to 0 at
    the border on each side, the product over sides. Its resolution is that of a tile's map, times
    how much larger the images are.
    """
    size, whole = probe.size, images.shape[2:]
    weights = images.new_ones(())
    for side in size:
        places = torch.arange(side, device=images.device) + 0.5
        weights = weights[..., None] * torch.minimum(places, side - places) / (side / 2)
    total = images.new_zeros(len(images), *whole, dtype=weights.dtype)
    shares, cells = torch.zeros_like(total[0]), torch.Size()
    corners = [_spread(side, length) for side, length in zip(size, whole, strict=True)]
    for corner in tracked("tiles", product(*corners), math.prod(map(len, corners))):
        sides = (slice(at, at + side) for at, side in zip(corner, size, strict=True))
        tile: tuple[Any, ...] = (..., *sides)
        maps = method(probe.with_inputs(images[tile]))
        total[tile] += weights * upsample(wide(maps), size)
        shares[tile] += weights
        cells = maps.shape[1:]
    scaled = zip(cells, whole, size, strict=True)
    return upsample(total / shares, [round(cell * many / one) for cell, many, one in scaled])


def _spread(side: int, length: int) -> list[int]:
    """Where tiles begin along a side."""
    steps = math.ceil(2 * (length - side) / side)
    return [round(step * (length - side) / steps) for step in range(steps + 1)] if steps else [0]


def _at(probe: Probe, method: Method, scale: float, tiles: bool) -> tuple[Probe, Tensor]:
    if scale == 1:
        return probe, method(probe)
    resized = probe.at_scale(scale)
    try:
        return resized, method(resized)
    except torch.cuda.OutOfMemoryError:
        raise
    except REFUSALS as error:  # networks have all kinds
        here, there = (" x ".join(map(str, p.size)) for p in (probe, resized))
        if not _fails(lambda: resized.outputs_of(resized.inputs)):
            if not _fails(lambda: resized.score):
                raise
            raise ValueError(
                f"'multiscale' cannot refine {str(method)!r}: the target failed on the outputs for "
                f"the images at {there} instead of {here} pixels: {error}. Places and boxes have "
                "other indices there; targets.Segment(class, region) names places at any size"
            ) from error
        if tiles and scale > 1 and probe.divisible:
            return resized, tiled(probe, method, resized.inputs)
        instead = "scales above 1 and leave tiles=True, " * probe.divisible
        raise ValueError(
            f"'multiscale' cannot refine {str(method)!r}: the network failed on the images at "
            f"{there} instead of {here} pixels, as networks for one size do, or those of another "
            f"input of the same size: {error}. Build it for all sizes where that can be had, as in "
            "timm.create_model(…, dynamic_img_size=True); or take "
            f"{instead}'+sharpen' or \"+detail(by='gradient')\""
        ) from error


def _fails(ask: Callable[[], Any]) -> bool:
    """Whether the network, or the target, refuses."""
    try:
        ask()
    except REFUSALS:
        return True
    return False
