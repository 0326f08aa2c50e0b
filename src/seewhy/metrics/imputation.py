"""Fill in missing pixels from their neighbours: the noisy linear imputation of ROAD, batched.

Every missing pixel is the weighted mean of its eight neighbours, missing ones included: a sparse
linear system per image, symmetric and positive definite. It is solved for all images at once by
conjugate gradients, each round preconditioned at halved resolutions too, which carries the known
values into large holes (Bramble, Pasciak and Xu 1990, "Parallel multilevel preconditioners").
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.maps import wide

_CACHED = 400_000  # so many values at a time stay in a CPU's cache, which doubles the speed


def linear_imputation(images: Tensor, missing: Tensor, tolerance: float = 1e-6) -> Tensor:
    """The images (N, C, H, W) with their missing pixels (N, H, W) bool imputed, without noise.

    Direct neighbours weigh 1/6 and diagonal ones 1/12, more at the border where some are absent.
    `tolerance` bounds the residual relative to the first one, as preconditioned. Raises
    ValueError if an image has no pixel left. Source: Rong et al. 2022, "A consistent and efficient
    evaluation strategy for attribution methods".
    """
    if missing.flatten(1).all(1).any():
        raise ValueError("an image has no pixel left to impute the missing ones from")
    on_cpu = images.device.type == "cpu"
    count = max(1, _CACHED // images[0].numel()) if on_cpu else len(images)
    exact = wide(images)  # in halves residuals of this size are lost
    parts = zip(torch.split(exact, count), torch.split(missing, count), strict=True)
    solved = [_solve(part, hole[:, None].to(part), tolerance) for part, hole in parts]
    return torch.cat(solved).to(images.dtype)


def _solve(images: Tensor, hole: Tensor, tolerance: float) -> Tensor:
    """Preconditioned conjugate gradients (Golub and Van Loan 2013, algorithm 11.5.1).

    The system A x = b, where pixels are missing: A is minus the Laplacian, and b the Laplacian of
    the known pixels. Each round goes one step in a new direction p, which the preconditioner M
    proposes for the residual r, and which is independent of those before.
    """
    grids = _grids(hole)
    known = images * (1 - hole)
    solution = torch.zeros_like(images)  # x = 0
    residual = _laplacian(grids[0], known).mul_(hole)  # r = b - A x
    direction = torch.zeros_like(images)
    energy = torch.ones_like(images[:, :, :1, :1])
    goal = None
    while True:
        proposed = _preconditioned(grids, residual)  # z = M⁻¹ r
        before, energy = energy, _dot(residual, proposed)  # r·z, the error that is left
        goal = energy * tolerance**2 if goal is None else goal
        # What has converged stands still, so that no image depends on how long others take.
        active = energy > goal
        if not active.any():
            return known + solution
        share = torch.where(active, energy / before, 0)
        direction = torch.addcmul(proposed, direction, share)  # p = z + (r·z / its last) p
        bent = _laplacian(grids[0], direction).mul_(hole)  # -A p
        length = torch.where(active, -energy / _dot(direction, bent), 0)  # r·z / p·A p
        solution.addcmul_(direction, length)  # x = x + length p
        residual.addcmul_(bent, length)  # r = r - length A p


class _Grid(NamedTuple):
    """The system at one resolution: where pixels are missing, and its diagonal."""

    hole: Tensor
    diagonal: Tensor
    inverse: Tensor  # of minus the system's diagonal, where pixels are missing


def _grids(hole: Tensor) -> list[_Grid]:
    """The system at halved resolutions; a coarse pixel is missing if all its pixels are."""
    grids: list[_Grid] = []
    while not grids or (min(hole.shape[2:]) >= 3 and hole.any()):
        neighbours = _square(torch.ones_like(hole[:1])) - 4
        grids.append(_Grid(hole, neighbours + 4, hole / neighbours))
        hole = 1 - F.max_pool2d(1 - hole, 2, ceil_mode=True)
    return grids


def _square(x: Tensor) -> Tensor:
    """The sums over 3 x 3 pixels with weights 1 2 1, 2 4 2, 1 2 1, and zeros beyond the border."""
    padded = F.pad(x, (1, 1, 1, 1))
    rows = (padded[..., :-2] + padded[..., 2:]).add_(padded[..., 1:-1], alpha=2)
    return (rows[..., :-2, :] + rows[..., 2:, :]).add_(rows[..., 1:-1, :], alpha=2)


def _laplacian(grid: _Grid, x: Tensor) -> Tensor:
    """12 times each pixel's weighted sum of its differences to the neighbours; 0 if imputed."""
    return _square(x).addcmul_(grid.diagonal, x, value=-1)


def _preconditioned(grids: list[_Grid], residual: Tensor) -> Tensor:
    """Roughly the correction that takes the residual away: a Jacobi step of each resolution."""
    grid, *coarser = grids
    step = grid.inverse * residual
    if coarser:
        correction = _preconditioned(coarser, _halved(residual).mul_(coarser[0].hole))
        height, width = step.shape[2:]
        fine = F.interpolate(correction, scale_factor=2, mode="bilinear")[..., :height, :width]
        step.addcmul_(fine, grid.hole)
    return step


def _halved(x: Tensor) -> Tensor:
    """What bilinear doubling is the transpose of, as symmetry demands."""
    x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    rows = (x[:, :, 1:-1:2] + x[:, :, 2::2]).mul_(3).add_(x[:, :, :-2:2]).add_(x[:, :, 3::2])
    both = (rows[..., 1:-1:2] + rows[..., 2::2]).mul_(3)
    return both.add_(rows[..., :-2:2]).add_(rows[..., 3::2]).div_(16)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((2, 3), keepdim=True)
