"""Baselines: the image without information from which a path to the explained one begins."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

BaselineLike = float | tuple[float, ...] | str | Tensor


def baseline(inputs: Tensor, kind: BaselineLike = 0.0, seed: int = 0) -> Tensor:
    """The baseline of each image, (B, C, H, W), independent of the other images.

    inputs: (B, C, H, W), as the network takes them.
    kind: a number in units of the inputs, or one per channel; 0 is the mean colour where inputs
        are normalised. "black" is the lowest value of each of the image's channels, "blurred" the
        image under a Gaussian of a tenth of its shorter side, "random" noise, equally likely
        between each channel's extremes and the same for all images. A tensor that broadcasts to
        the inputs is itself.
    seed: of the noise.

    Raises ValueError for anything else.
    """
    low, high = inputs.amin((2, 3), keepdim=True), inputs.amax((2, 3), keepdim=True)
    if isinstance(kind, Tensor):
        return _expanded(kind, inputs)
    if isinstance(kind, tuple | list):
        return _expanded(torch.tensor(kind)[:, None, None], inputs)
    if kind == "black":
        return low.expand_as(inputs)
    if kind == "blurred":
        return blurred(inputs, 0.1 * min(inputs.shape[-2:]))
    if kind == "random":
        # Drawn on the CPU, where a seed means the same on every machine.
        noise = torch.rand(inputs.shape[1:], generator=torch.Generator().manual_seed(seed))
        return low + (high - low) * noise.to(inputs)
    if isinstance(kind, str):
        raise ValueError(
            f"baseline={kind!r}; it should be 'black', 'blurred', 'random', a number, one number "
            "per channel or a tensor"
        )
    return _expanded(torch.tensor(kind), inputs)


def blurred(
    images: Tensor,
    deviation: float,
    *,
    radius: int | None = None,
    border: Literal["replicate", "reflect"] = "replicate",
) -> Tensor:
    """Images (B, C, H, W) under a Gaussian.

    deviation: in pixels. radius: where the Gaussian is cut off, in pixels; three deviations if not
    given. border: whether the edge is repeated or the image mirrored there.
    """
    for dim in (2, 3):
        reach = min(round(3 * deviation) if radius is None else radius, images.shape[dim] - 1)
        offset = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
        weights = (-(offset**2) / (2 * deviation**2)).exp()
        shape = [images.shape[1], 1, 1, 1]
        shape[dim] = -1
        kernel = (weights / weights.sum()).expand(images.shape[1], -1).reshape(shape)
        margin = [0, 0, reach, reach] if dim == 2 else [reach, reach, 0, 0]
        padded = F.pad(images, margin, mode=border)
        images = F.conv2d(padded, kernel, groups=images.shape[1])
    return images


def _expanded(given: Tensor, inputs: Tensor) -> Tensor:
    try:
        return given.detach().to(inputs).expand_as(inputs)
    except RuntimeError:
        raise ValueError(
            f"baseline has shape {tuple(given.shape)}, which does not fit inputs of shape "
            f"{tuple(inputs.shape)}"
        ) from None
