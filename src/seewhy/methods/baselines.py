"""Baselines: maps that do not use the network. Every method should be better than these."""

import torch
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.fills import filtered
from seewhy.naming import method
from seewhy.noise import uniform
from seewhy.options import Positive, Seed


@method("baseline: chance", "0", layers="none")
def random(probe: Probe, *, seed: Seed = 0) -> Tensor:
    """Uniform noise in [0, 1), the same for all images."""
    noise = uniform(probe.size, torch.Generator().manual_seed(seed))
    return noise.to(probe.inputs).repeat(len(probe.inputs), *[1] * len(probe.size))


@method("baseline: photographers centre their subject", "0", layers="none")
def center_gaussian(probe: Probe, *, width: Positive = 0.25) -> Tensor:
    """A Gaussian at the centre of the image, 1 at its peak.

    width: standard deviation as a share of each side.
    """
    heights = torch.ones((), dtype=torch.float32, device="cpu")
    for side in probe.size:
        offsets = (torch.arange(side, dtype=torch.float32, device="cpu") + 0.5) / side - 0.5
        heights = heights[..., None] * (-(offsets**2) / (2 * width**2)).exp()
    return heights.to(probe.inputs).repeat(len(probe.inputs), *[1] * len(probe.size))


@method(
    "baseline: Adebayo et al. 2018 compare with an edge detector; Sobel & Feldman 1968",
    "0",
    layers="none",
)
def edges(probe: Probe) -> Tensor:
    """Magnitude of the image's gradient by Sobel's operator, on the mean of the channels."""
    smooth = probe.inputs.new_tensor([1, 2, 1]) / 4
    slope = probe.inputs.new_tensor([-1, 0, 1]) / 2
    grey = probe.inputs.mean(1)
    steepness = torch.zeros_like(grey)
    for along in range(1, grey.ndim):
        change = grey
        for dim in range(1, grey.ndim):
            change = filtered(change, slope if dim == along else smooth, dim)
        steepness += change.square()
    return steepness.sqrt()
