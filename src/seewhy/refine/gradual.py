"""Gradual Extrapolation: a coarse map regains the resolution that the network took away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.maps import normalize, of_images, upsample
from seewhy.naming import Method, refinement


@refinement(
    "Szandala 2021, Enhancing deep neural network saliency visualizations", "0", reads=("stages",)
)
def gradual(
    probe: Probe,
    method: Method,
    *,
    depth: int | None = None,
    power: float = 1.0,
    image: Literal["signed", "bright", "none"] = "signed",
    standardize: bool = False,
) -> Tensor:
    """The map, upsampled stage by stage and multiplied by each stage's activations on the way.

    depth: how many stages to climb, from the deepest; None is all of them.
    power: of each stage's factor; below 1 the activations sharpen less. Negative activations then
        count as 0.
    image: the last factor: the sum of the input's channels, "signed" as they are or "bright",
        scaled to [0, 1] by the image's extremes, or "none".
    standardize: give the map in [0, 1]: z-scores clipped to ±1 and scaled, as the author shows it.

    Raises ValueError where the map already has the resolution of the input, or where the network
    has one resolution all the way.
    """
    if image not in ("signed", "bright", "none"):
        raise ValueError(f"image={image!r}; it should be 'signed', 'bright' or 'none'")
    maps = method(probe)
    if maps.shape[1:] == probe.size:
        raise ValueError(
            f"'gradual' cannot refine {str(method)!r}: its maps already have the resolution of the "
            "input; use it with a method that reads one layer's maps, such as 'grad_cam'"
        )
    finer = [stage for stage in probe.stages.values() if _cells(stage) > _cells(maps)]
    if not finer:
        raise ValueError(
            f"'gradual' cannot refine {str(method)!r}: the network has no stages of a higher "
            "resolution than the map's to extrapolate by, as in a plain vision transformer"
        )
    stages = finer[::-1][:depth]
    if power == 1:
        factors = [brightness(stage) for stage in stages]
    else:
        factors = [brightness(stage.relu()) ** power for stage in stages]
    if image != "none" and depth is None:
        inputs = probe.inputs
        if image == "bright":
            inputs = inputs - of_images(inputs.flatten(1).amin(1), inputs)
        factors.append(brightness(inputs))
    extrapolated = extrapolate(maps, factors)
    return standardized(extrapolated) if standardize else extrapolated


def brightness(activations: Tensor) -> Tensor:
    """Σ_channels E / max(E), the maximum that of each image: (B, K, h, w) -> (B, h, w)."""
    peak = activations.flatten(1).amax(1)
    total = activations.sum(1)
    return total / of_images(torch.where(peak == 0, 1, peak), total)


def extrapolate(maps: Tensor, factors: Iterable[Tensor]) -> Tensor:
    """The maps (B, h, w), resized to each factor (B, H, W) in turn and multiplied by it."""
    for factor in factors:
        maps = upsample(maps, factor.shape[1:]) * factor
    return maps


def standardized(maps: Tensor) -> Tensor:
    """Each map's z-scores, clipped to ±1 and scaled to [0, 1]; a constant map becomes zeros."""
    flat = maps.flatten(1)
    deviation = flat.std(1, keepdim=True)
    scores = (flat - flat.mean(1, keepdim=True)) / torch.where(deviation > 0, deviation, 1)
    return normalize(scores.clamp(-1, 1), sides=1).view(maps.shape)


def _cells(maps: Tensor) -> int:
    """Cells of maps (B, h, w), or of maps (B, K, h, w) of a stage."""
    return maps[0].numel()
