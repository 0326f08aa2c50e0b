"""Noisy copies of images, as smoothing methods need them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def noisy_copies(images: Tensor, samples: int, noise: float, seed: int) -> Iterator[Tensor]:
    """`samples` copies of images (B, C, H, W) under Gaussian noise, which is the same for all.

    noise: standard deviation as a share of each image's range of values.
    """
    spread = noise * (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))[:, None, None, None]
    # Drawn on the CPU, where a seed means the same on every machine.
    generator = torch.Generator().manual_seed(seed)
    for _ in range(samples):
        yield images + spread * torch.randn(images.shape[1:], generator=generator).to(images)
