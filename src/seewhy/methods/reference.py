"""Maps that know nothing of the network: what every method should be better than."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.naming import method


@method("baseline: chance", "0")
def random(probe: Probe, *, seed: int = 0) -> Tensor:
    """Uniform noise in [0, 1), the same for all images."""
    # Drawn on the CPU, where a seed means the same on every machine.
    noise = torch.rand(probe.inputs.shape[-2:], generator=torch.Generator().manual_seed(seed))
    return noise.to(probe.inputs).repeat(len(probe.inputs), 1, 1)


@method("baseline: photographers centre their subject", "0")
def center_gaussian(probe: Probe, *, width: float = 0.25) -> Tensor:
    """A Gaussian at the centre of the image, 1 at its top.

    width: standard deviation as a share of each side.

    Raises ValueError for a width that is not positive.
    """
    if width <= 0:
        raise ValueError(f"width={width}; it should be positive")
    rows, columns = (
        (-(((torch.arange(side) + 0.5) / side - 0.5) ** 2) / (2 * width**2)).exp()
        for side in probe.inputs.shape[-2:]
    )
    return (rows[:, None] * columns).to(probe.inputs).repeat(len(probe.inputs), 1, 1)


@method("baseline: Adebayo et al. 2018 compare with an edge detector; Sobel & Feldman 1968", "0")
def edges(probe: Probe) -> Tensor:
    """Steepness of the image by Sobel's operator, the mean of its channels taken first."""
    smooth = probe.inputs.new_tensor([1, 2, 1]) / 4
    slope = probe.inputs.new_tensor([-1, 0, 1]) / 2
    kernels = torch.stack([smooth[:, None] * slope, slope[:, None] * smooth])[:, None]
    grey = F.pad(probe.inputs.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return F.conv2d(grey, kernels).square().sum(1).sqrt()
