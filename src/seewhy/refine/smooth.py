"""Smoothing: the mean of the maps of noisy or mirrored copies of the image."""

from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.maps import wide
from seewhy.naming import Method, refinement
from seewhy.noise import noisy_copies
from seewhy.options import Count, NotNegative, Seed
from seewhy.progress import tracked


@refinement(
    "Smilkov et al. 2017, SmoothGrad, eq. 1", "(samples - 1) x method, (2 samples - 1) x with flips"
)
def smooth(
    probe: Probe,
    method: Method,
    *,
    samples: Count = 16,
    noise: NotNegative = 0.15,
    flips: bool = False,
    seed: Seed = 0,
) -> Tensor:
    """The mean of the maps of noisy copies of the image, and of their mirror images with `flips`.

    samples: number of noisy copies; without noise it is one copy, the image itself.
    noise: standard deviation as a share of each image's range of values.
    flips: average each copy's map with that of its mirror image (left and right swapped).
    seed: of the noise, which is the same for all images.
    """
    copies = noisy_copies(probe.inputs, samples, noise, seed) if noise else [probe.inputs]
    count = samples if noise else 1
    total: Tensor | None = None
    for copy in tracked("smoothing", copies, count):
        at = probe.with_inputs(copy) if noise else probe
        maps = [method(at)]
        if flips:
            maps.append(method(at.mirrored()).flip(-1))
        for found in maps:  # added up as they come: all of them may not fit into memory
            total = wide(found) if total is None else total + wide(found)
    assert total is not None
    return (total / (count * len(maps))).to(found.dtype)
