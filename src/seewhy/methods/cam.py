"""The gradient CAM family: pure functions of activations and gradients that read as published.

Each takes the activations A and the gradients G = ∂score/∂A of one layer, both (B, K, h, w), and
returns one map per image, (B, h, w), not negative and not normalised. Of signals (B, K, l) and
volumes (B, K, d, h, w) they are the same formulas.
"""

from collections.abc import Callable
from functools import wraps
from math import nan
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.core.layers import Call
from seewhy.core.probe import Probe
from seewhy.maps import averaged, means, of_images, sums, wide
from seewhy.naming import method
from seewhy.options import NotNegative

Cam = Callable[..., Tensor]


def cam_method(source: str) -> Callable[[Cam], Cam]:
    """Register a function `(activations, gradients, **options) -> (B, h, w)` as a method.

    Of several layers the maps are averaged at the resolution of the input.
    """

    def register(function: Cam) -> Cam:
        @wraps(function)
        def of_probe(probe: Probe, **options: Any) -> Tensor:
            maps = [
                function(probe.activations(layer), probe.gradients(layer), **options)
                for layer in probe.layer_calls
            ]
            return averaged(maps, probe.size)

        method(source, passes="F + h")(of_probe)
        return function

    return register


def weighted(weights: Tensor, activations: Tensor) -> Tensor:
    """relu(Σ_k w_k A_k): weights (B, K), activations (B, K, h, w) -> (B, h, w)."""
    # Where autocast is the network's own, scores may be wider than maps.
    return torch.einsum("bk,bk...->b...", weights.to(activations), activations).relu()


def weighted_layers(probe: Probe, weights_of: Callable[[Call], Tensor]) -> Tensor:
    """relu(Σ_k w_k A_k) of each layer's weights (B, K), several layers averaged."""
    maps = [weighted(weights_of(layer), probe.activations(layer)) for layer in probe.layer_calls]
    return averaged(maps, probe.size)


@cam_method("Selvaraju et al. 2017, Grad-CAM, eq. 1-2")
def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """relu(Σ_k w_k A_k), each channel weighted by its mean gradient."""
    return weighted(means(gradients), activations)


def grad_cam_plus_plus_weights(
    activations: Tensor, gradients: Tensor, *, eps: float = 1e-6
) -> Tensor:
    """Σ_ij α relu(G) with α = G² / (2G² + ΣA·G³ + eps), zero where G = 0: (B, K)."""
    gradients = wide(gradients)  # of halves the cubes would be 0
    return weights_of_derivatives(activations, gradients, gradients**2, gradients**3, eps)


def weights_of_derivatives(
    activations: Tensor, first: Tensor, second: Tensor, third: Tensor, eps: float
) -> Tensor:
    """Σ_ij α relu(D¹) with α = D² / (2D² + ΣA·D³ + eps), zero where D² = 0: (B, K).

    D¹, D² and D³, each (B, K, h, w), are the score's derivatives at each place, of exp(score) up
    to a common factor.
    """
    denominator = 2 * second + of_images(sums(activations), third) * third + eps
    # Where D² = 0 the weight is zero whatever the denominator; without eps that would be 0/0.
    alpha = second / denominator.masked_fill(second == 0, 1)
    return sums(alpha * first.relu())


@cam_method("Chattopadhyay et al. 2018, Grad-CAM++, eq. 6 and 19")
def grad_cam_plus_plus(
    activations: Tensor, gradients: Tensor, *, eps: NotNegative = 1e-6
) -> Tensor:
    """relu(Σ_k w_k A_k), positive gradients weighted so that each position counts equally.

    The paper has no `eps` (`eps=0`); 1e-6 is customary. It matters if gradients are small, such as
    those of a probability.
    """
    weights = grad_cam_plus_plus_weights(activations, gradients, eps=eps)
    return weighted(weights, activations)


@cam_method("Fu et al. 2020, Axiom-based Grad-CAM (XGrad-CAM), eq. 7")
def xgrad_cam(activations: Tensor, gradients: Tensor, *, eps: NotNegative = 1e-7) -> Tensor:
    """relu(Σ_k w_k A_k), gradients averaged with the activations as weights: ΣG·A / (ΣA + eps)."""
    totals = sums(activations) + eps
    # Without eps a channel that is zero all over would be 0/0.
    weights = sums(gradients * activations) / totals.masked_fill(totals == 0, 1)
    return weighted(weights, activations)


@cam_method("Draelos & Carin 2020, HiResCAM, eq. 3")
def hires_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """relu(Σ_k G_k ⊙ A_k): without averaging, so it is the linear contribution of each position."""
    return (gradients * activations).sum(1).relu()


@cam_method("Jiang et al. 2021, LayerCAM, eq. 6-7")
def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """relu(Σ_k relu(G_k) ⊙ A_k): each position weighted by its own positive gradient."""
    return (gradients.relu() * activations).sum(1).relu()


@cam_method("Muhammad & Yeasin 2020, Eigen-CAM")
def eigen_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """First principal component of the activations; it does not depend on the target.

    The sign of a component is arbitrary; it is chosen to agree with the mean activation.
    """
    return principal_component(activations).relu()


@cam_method("Eigen-CAM of the activations weighted by their gradients (pytorch-grad-cam)")
def eigen_grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """First principal component of G ⊙ A: Eigen-CAM with a target."""
    return principal_component(gradients * activations).relu()


def principal_component(maps: Tensor) -> Tensor:
    """Each position's projection on the first principal axis: (B, K, h, w) -> (B, h, w).

    The sign agrees with the mean over the channels.
    """
    _, k, *grid = maps.shape
    # Eigenvectors need float32 at least; of the two Gram matrices the smaller one is cheaper.
    places = wide(maps.flatten(2).mT)
    centred = places - places.mean(1, keepdim=True)
    if places.shape[1] <= k:
        values, vectors = leading(centred @ centred.mT)
        projection = vectors * values[:, None].clamp_min(0).sqrt()
    else:
        _, vectors = leading(centred.mT @ centred)
        projection = (centred @ vectors[..., None])[..., 0]
    agreement = (projection * centred.mean(2)).sum(1, keepdim=True)
    signed = torch.where(agreement < 0, -projection, projection)
    return signed.reshape(-1, *grid).to(maps.dtype)


def leading(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """The largest eigenvalue (B,) and its eigenvector (B, n) of symmetric matrices (B, n, n).

    None of their eigenvalues is negative. NaN for a matrix that is not finite: others are not lost.
    """
    if matrices.device.type != "cpu":
        return leading_by_squaring(matrices)  # there eigenvectors are found matrix by matrix
    known = matrices.isfinite().all((1, 2))
    try:
        values, vectors = torch.linalg.eigh(matrices.where(known[:, None, None], 0))
    except RuntimeError:  # it does not converge, as where many eigenvalues are near 0
        return leading_by_squaring(matrices)
    return values[:, -1].where(known, nan), vectors[..., -1].where(known[:, None], nan)


def leading_by_squaring(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """As `leading`, by squaring the matrices 24 times: products of matrices alone.

    What is left of the second component is (λ₂/λ₁)^(2^24) of it.
    """
    # In float64 where there is one, so that no setting for faster products rounds the squares.
    double = matrices.device.type != "mps"
    # So many squarings between two scalings to trace 1 lower it to n^-63 at least, or n^-7, which
    # the type has.
    squarings = 6 if double else 3

    def to_trace_one(power: Tensor) -> Tensor:
        trace = power.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
        return power / trace.clamp_min(torch.finfo(power.dtype).tiny)

    power = to_trace_one(matrices.double() if double else matrices)
    for _ in range(24 // squarings):
        power = to_trace_one(torch.linalg.matrix_power(power, 2**squarings))
    power = power.to(matrices.dtype)
    # All columns are multiples of the eigenvector by then; the longest has the least rounding.
    longest = power.diagonal(dim1=1, dim2=2).argmax(1)[:, None, None]
    vectors = F.normalize(
        power.take_along_dim(longest, 2), dim=1, eps=torch.finfo(power.dtype).tiny
    )
    return (vectors.mT @ matrices @ vectors)[:, 0, 0], vectors[..., 0]
