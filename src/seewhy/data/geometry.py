"""Where a photo lies in a network's input, and how its maps are laid back on it.

Coordinates are continuous and count from the top-left *edge*: pixel i covers [i, i + 1], its
centre is i + 0.5, and a box over the whole image is (0, 0, width, height).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """How photo and network input lie on one another; every pair is (x, y) or (width, height).

    original: size of the photo.
    resized: its size after resizing.
    offset: of the crop's top-left corner in the resized photo; negative where it was padded.
    input: size of the network's input.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]
    input: tuple[int, int]

    def points_to_input(self, xy: Tensor) -> Tensor:
        """Points (..., 2) of the photo in the input's coordinates; those not seen lie outside."""
        xy = xy if xy.is_floating_point() else xy.float()
        scale = [new / old for new, old in zip(self.resized, self.original, strict=True)]
        return xy * xy.new_tensor(scale) - xy.new_tensor(self.offset)

    def boxes_to_input(self, xyxy: Tensor) -> Tensor:
        """Boxes (..., 4) = (left, top, right, bottom) in the input's coordinates.

        They are clipped to the input; a box that the network never saw has no area.
        """
        corners = self.points_to_input(xyxy.reshape(*xyxy.shape[:-1], 2, 2))
        limit = corners.new_tensor(self.input)
        return corners.clamp(limit.new_zeros(2), limit).reshape(xyxy.shape)

    def mask_to_input(self, mask: Tensor) -> Tensor:
        """Masks (..., H, W) of the photo as (..., h, w) of the input, same dtype.

        An input pixel takes the photo's pixel under its centre; padding is zero (False).
        """
        width, height = self.original
        if mask.shape[-2:] != (height, width):
            raise ValueError(
                f"mask is {tuple(mask.shape)}; the photo wants (..., {height}, {width})"
            )
        inside = []
        for axis, dim in _AXES:
            original, resized = self.original[axis], self.resized[axis]
            at = (_centres(self.input[axis]) + self.offset[axis]) * original / resized
            inside.append(((at >= 0) & (at < original)).to(mask.device))
            index = at.floor().long().clamp(0, original - 1)
            mask = mask.index_select(dim, index.to(mask.device))
        return mask.masked_fill(~(inside[1][:, None] & inside[0]), 0)

    def input_to_original(self, map: Tensor) -> tuple[Tensor, Tensor]:
        """Lay a map of the input back on the photo.

        map: (h, w) or (B, h, w), floating, of any resolution; it spans the whole input.

        Returns the map (H, W) or (B, H, W), sampled bilinearly at the centres of the photo's
        pixels, zero where the network never saw the photo; and `seen` (H, W), bool.
        """
        if map.ndim not in (2, 3) or not map.is_floating_point():
            raise ValueError(
                f"map is {tuple(map.shape)}, {map.dtype}; give (h, w) or (B, h, w), floating"
            )
        inside = []
        for axis, dim in _AXES:
            original, size = self.original[axis], self.input[axis]
            at = _centres(original) * self.resized[axis] / original - self.offset[axis]
            inside.append(((at >= 0) & (at < size)).to(map.device))
            map = _sample(map, at / size * map.shape[dim], dim)
        seen = inside[1][:, None] & inside[0]
        return map.masked_fill(~seen, 0), seen


# (index into an (x, y) pair, dimension of a (..., H, W) tensor)
_AXES = ((0, -1), (1, -2))


def _centres(size: int) -> Tensor:
    # float64, because a photo's coordinates times a ratio would lose the pixel in float32.
    return torch.arange(size, dtype=torch.float64, device="cpu") + 0.5


def _sample(map: Tensor, at: Tensor, dim: int) -> Tensor:
    """Linear interpolation along `dim` at coordinates `at`; constant beyond the outer centres."""
    last = map.shape[dim] - 1
    at = (at - 0.5).clamp(0, last)
    low = at.floor().long()
    high = (low + 1).clamp(max=last)
    weight = (at - low).to(map)
    if dim == -2:
        weight = weight[:, None]
    low, high = low.to(map.device), high.to(map.device)
    return torch.lerp(map.index_select(dim, low), map.index_select(dim, high), weight)
