"""Gradual Extrapolation: brings a coarse map to the resolution of the image."""

import math
from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.maps import normalize, of_images, upsample, wide
from seewhy.naming import Method, refinement
from seewhy.options import Range


@refinement(
    "Szandala 2021, Enhancing deep neural network saliency visualizations",
    "0",
    reads=("excitations", "stages"),
)
def gradual(
    probe: Probe,
    method: Method,
    *,
    stages: Literal["author", "last"] = "author",
    depth: Annotated[int, Range(least=1)] | None = None,
    rectified: bool = False,
    power: Annotated[float, Range(above=0, most=10)] = 1.0,
    image: bool = True,
    standardize: bool = False,
) -> Tensor:
    """The map, resized to each stage's activations E in turn and multiplied by Σ_k E_k / max(E).

    The stages are used from the deepest to the finest, as in the author's code.

    stages: "author" uses the outputs of max pools and strided convolutions, unchanged, also those
        coarser than the map, and finally the input of the first of them: the image in most
        networks, an activation in VGG. "last" uses the last activation at each finer resolution,
        and finally the image.
    depth: how many factors to use, from the deepest; None is all of them.
    rectified: set negative activations to 0.
    power: exponent of each factor; a power other than 1 needs `rectified`. Below 1 the map is less
        sharp.
    image: whether to use the last factor, the image.
    standardize: scale the map to [0, 1] by z-scores clipped to ±1, as the author shows it.

    Raises ValueError for options out of range, if the map already has the resolution of the input,
    and if the network has no stages.
    """
    if power != 1 and not rectified:
        raise ValueError(f"power={power} needs rectified=True: negative numbers have no power")
    maps = method(probe)
    if maps.shape[1:] == probe.size:
        raise ValueError(
            f"'gradual' cannot refine {str(method)!r}: its maps already have the resolution of the "
            "input; use it with a method that reads one layer's maps, such as 'grad_cam', and name "
            "one layer at most"
        )
    if stages == "author":
        first, *climbed = probe.excitations or [probe.inputs]
    else:
        first, climbed = probe.inputs, list(probe.stages.values())
    finer = _finer(climbed, maps)
    if not finer:
        if stages == "author" and _finer(probe.stages.values(), maps):
            raise ValueError(
                f"'gradual' cannot refine {str(method)!r}: none of the network's modules is a max "
                "pool or a strided convolution of a higher resolution than the map's; functional "
                "ones are not recorded; take gradual(stages='last')"
            )
        raise ValueError(
            f"'gradual' cannot refine {str(method)!r}: the network has no "
            + ("max pools or strided convolutions" if stages == "author" else "stages")
            + " of a higher resolution than the map's to extrapolate by, as in a plain vision "
            "transformer; try '+multiscale', '+sharpen' or \"+detail(by='gradient')\" instead"
        )
    factors = ([first] if image else []) + (climbed if stages == "author" else finer)
    if rectified:
        factors = [factor.relu() for factor in factors]
    climbing = (brightness(factor) ** power for factor in factors[::-1][:depth])
    extrapolated = extrapolate(maps, climbing)
    return standardized(extrapolated) if standardize else extrapolated


def _finer(stages: Iterable[Tensor], maps: Tensor) -> list[Tensor]:
    """Those of a higher resolution than the maps."""
    return [stage for stage in stages if math.prod(stage.shape[2:]) > math.prod(maps.shape[1:])]


def brightness(activations: Tensor) -> Tensor:
    """Σ_channels E / max(E), the maximum that of each image: (B, K, h, w) -> (B, h, w)."""
    activations = wide(activations)
    peak = activations.flatten(1).amax(1)
    total = activations.sum(1)
    return total / of_images(torch.where(peak == 0, 1, peak), total)


def extrapolate(maps: Tensor, factors: Iterable[Tensor]) -> Tensor:
    """The maps (B, h, w), resized to each factor (B, H, W) in turn and multiplied by it."""
    maps = wide(maps)
    for factor in factors:
        maps = upsample(maps, factor.shape[1:]) * factor
    return maps


def standardized(maps: Tensor) -> Tensor:
    """Each map's z-scores, clipped to ±1 and scaled to [0, 1]; a constant map becomes zeros."""
    flat = maps.flatten(1)
    deviation = flat.std(1, keepdim=True)
    scores = (flat - flat.mean(1, keepdim=True)) / torch.where(deviation > 0, deviation, 1)
    return normalize(scores.clamp(-1, 1), sides=1).view(maps.shape)
