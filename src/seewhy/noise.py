"""Noisy copies of images, as smoothing methods need them."""

from collections.abc import Iterator

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
        yield images + spread * drawn(images.shape[1:], generator, images)


def drawn(shape: torch.Size | tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Normal noise, drawn on the CPU in float32, where a seed means the same on every machine."""
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(like)
