"""Noise, drawn on the CPU in float32, where a seed means the same on every machine."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from seewhy.maps import of_images


def noisy_copies(images: Tensor, samples: int, noise: float, seed: int) -> Iterator[Tensor]:
    """`samples` copies of images (B, C, H, W) under Gaussian noise, which is the same for all.

    noise: standard deviation as a share of each image's range of values.
    """
    values = images.flatten(1)
    spread = noise * of_images(values.amax(1) - values.amin(1), images)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(samples):
        yield images + spread * normal(images.shape[1:], generator).to(images)


def normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Normal noise of deviation 1."""
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


def uniform(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Noise in [0, 1), all numbers equally likely."""
    return torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu")
