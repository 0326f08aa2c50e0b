"""Fills: the start of paths, and the content of hidden pixels."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.maps import of_images
from seewhy.noise import uniform

Kind = Literal["black", "darkest", "blurred", "blur", "random"]
Fill = Kind | float | tuple[float, ...] | Tensor
Border = Literal["replicate", "reflect"]


def filled(
    inputs: Tensor,
    kind: Fill = 0.0,
    seed: int = 0,
    *,
    black: Sequence[float] | None = None,
) -> Tensor:
    """What fills each image, (B, C, H, W), independent of the other images.

    inputs: (B, C, H, W), as the network takes them.
    kind: a number in units of the inputs, or one per channel; 0 is the mean colour where inputs
        are normalised. "black" is black pixels where it is known what the network takes for them
        (`black`), else 0. "darkest" is the lowest value of each of the image's channels, "blurred"
        the image under a Gaussian of a tenth of its shorter side, "blur" under one of 5 pixels, cut
        off there, as torch-cam has it for insertion, "random" noise, equally likely between each
        channel's extremes and the same for all images. A tensor that broadcasts to the inputs is
        itself.
    seed: of the noise.
    black: what the network takes for a black pixel, per channel; a loaded model knows it.

    Raises ValueError for anything else.
    """
    if isinstance(kind, Tensor):
        return _expanded(kind, inputs)
    if kind == "black":
        kind = 0.0 if black is None else tuple(black)
    if kind == "blurred":
        return blurred(inputs, 0.1 * min(inputs.shape[2:]))
    if kind == "blur":
        return blurred(inputs, deviation=5.0, radius=5, border="reflect")
    if kind in ("darkest", "random"):
        flat = inputs.flatten(2)
        low, high = of_images(flat.amin(2), inputs), of_images(flat.amax(2), inputs)
        if kind == "darkest":
            return low.expand_as(inputs)
        noise = uniform(inputs.shape[1:], torch.Generator().manual_seed(seed))
        return low + (high - low) * noise.to(inputs)
    if isinstance(kind, str):
        raise ValueError(
            f"a fill is 'black', 'darkest', 'blurred', 'blur', 'random', a number, one number per "
            f"channel or a tensor, not {kind!r}"
        )
    numbers = torch.tensor(kind, dtype=torch.float64, device="cpu")
    return _expanded(of_images(numbers, inputs[0]), inputs)


def blurred(
    images: Tensor,
    deviation: float,
    *,
    radius: int | None = None,
    border: Border = "replicate",
) -> Tensor:
    """Images (B, C, H, W) under a Gaussian; or signals (B, C, L), or volumes.

    deviation: in pixels. radius: where the Gaussian is cut off, in pixels; three deviations if not
    given. border: whether the edge is repeated or the image mirrored there.
    """
    for dim in range(2, images.ndim):
        reach = min(round(3 * deviation) if radius is None else radius, images.shape[dim] - 1)
        offset = torch.arange(-reach, reach + 1, dtype=torch.float64, device="cpu")
        weights = (-(offset**2) / (2 * deviation**2)).exp()
        images = filtered(images, (weights / weights.sum()).to(images), dim, border)
    return images


def filtered(images: Tensor, kernel: Tensor, dim: int, border: Border = "replicate") -> Tensor:
    """Images (B, ...) under a kernel of odd length along one of their sides."""
    reach = len(kernel) // 2
    lines = images.movedim(dim, -1)  # the other sides are those of a batch
    padded = F.pad(lines.reshape(-1, 1, lines.shape[-1]), (reach, reach), mode=border)
    return F.conv1d(padded, kernel[None, None]).view(lines.shape).movedim(-1, dim)


def _expanded(given: Tensor, inputs: Tensor) -> Tensor:
    given = given.detach().to(inputs.dtype)
    if not given.isfinite().all():
        raise ValueError("the fill holds values that are not finite as numbers of the inputs' type")
    try:
        return given.to(inputs.device, non_blocking=True).expand_as(inputs)
    except RuntimeError:
        raise ValueError(
            f"the fill has shape {tuple(given.shape)}, which does not fit inputs of shape "
            f"{tuple(inputs.shape)}"
        ) from None
