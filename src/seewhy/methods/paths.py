"""Path methods: what the network sees on the way from a baseline to the image.

A path method sums up gradients, or CAMs, at the points of a path x_0 … x_T that leads from a
baseline to the image: a straight line, or a guided path, on which the least salient parts of the
image come first. On a guided path each image goes its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from seewhy.baselines import BaselineLike, baseline
from seewhy.core.probe import Probe
from seewhy.maps import averaged, means, of_images, upsample
from seewhy.naming import method
from seewhy.progress import BatchSize, in_chunks, tracked

Rule = Literal["middle", "left", "right", "trapezoid", "gauss_legendre"]
Aggregate = Literal["maps", "increments"]
Step = tuple[Probe, Tensor]

# Shares of the whole distance that count as rounding errors.
_ROUNDING = 1e-9


# ---------------------------------------------------------------------- gradients along a path


@method("Sundararajan et al. 2017, Axiomatic attribution for deep networks, eq. 1-3", "N (F + B)")
def integrated_gradients(
    probe: Probe,
    *,
    steps: int = 32,
    baseline: BaselineLike = 0.0,
    rule: Rule = "middle",
    seed: int = 0,
    batch_size: BatchSize = "auto",
) -> Tensor:
    """Σ_channels (x - x_0) ⊙ the mean gradient on the straight line from a baseline, signed.

    The map sums to score(x) - score(x_0), up to the error of the sum that stands for an integral.

    baseline: see `seewhy.baselines.baseline`; 0 is the mean colour of normalised inputs.
    rule: how the integral is taken, see `quadrature`.
    batch_size: images per pass; "auto" as many as fit.
    """
    start = _start(probe, baseline, seed)
    positions, weights = quadrature(rule, steps)
    return integrate(probe, start, positions, weights, batch_size).sum(1)


def integrate(
    probe: Probe, start: Tensor, positions: Tensor, weights: Tensor, batch_size: BatchSize = "auto"
) -> Tensor:
    """(x - x_0) ⊙ Σ_i weight_i · gradient(x_0 + position_i (x - x_0)), (B, C, H, W), signed.

    start: x_0, (B, C, H, W); positions and weights: (N,).
    """
    way = probe.inputs - start
    share = of_images(weights.to(way), way[None])

    def run(part: slice) -> Tensor:
        points = torch.lerp(start, probe.inputs, of_images(positions[part].to(way), way[None]))
        at = probe.with_inputs(points.flatten(0, 1)).expect("input")
        return (at.input_gradient.view_as(points) * share[part]).sum(0)

    total = torch.zeros_like(way)
    for part in in_chunks("integrated gradients", run, len(positions), probe.inputs, batch_size):
        total += part
    return way * total


def quadrature(rule: Rule, steps: int) -> tuple[Tensor, Tensor]:
    """Positions in [0, 1] and weights that add up to 1, (N,) each, in float64.

    "middle", "left" and "right" evaluate each of N equal intervals there, "trapezoid" takes N
    points with both ends, and "gauss_legendre" is exact for polynomials up to degree 2N - 1.

    Raises ValueError for an unknown rule or too few steps.
    """
    least = 2 if rule == "trapezoid" else 1
    if steps < least:
        raise ValueError(f"steps={steps}; the rule {rule!r} needs {least} at least")
    whole = torch.arange(steps, dtype=torch.float64)
    even = torch.full((steps,), 1 / steps, dtype=torch.float64)
    if rule == "middle":
        return (whole + 0.5) / steps, even
    if rule == "left":
        return whole / steps, even
    if rule == "right":
        return (whole + 1) / steps, even
    if rule == "trapezoid":
        weights = torch.full((steps,), 1 / (steps - 1), dtype=torch.float64)
        weights[[0, -1]] /= 2
        return whole / (steps - 1), weights
    if rule == "gauss_legendre":
        roots, weights_of_roots = np.polynomial.legendre.leggauss(steps)
        return torch.from_numpy((1 + roots) / 2), torch.from_numpy(weights_of_roots / 2)
    raise ValueError(
        f"rule={rule!r}; it should be 'middle', 'left', 'right', 'trapezoid' or 'gauss_legendre'"
    )


@method("Kapishnikov et al. 2021, Guided integrated gradients, algorithm 1", "T (F + B)")
def guided_integrated_gradients(
    probe: Probe,
    *,
    steps: int = 50,
    baseline: BaselineLike = 0.0,
    fraction: float = 0.25,
    max_distance: float = 0.02,
    seed: int = 0,
) -> Tensor:
    """Σ_channels of the gradients integrated along a path that avoids large gradients, signed.

    fraction: share of the features, those with the least gradients, that move at a time.
    max_distance: how far a feature may be ahead of or behind the straight line; 1 is a free path,
        and 0 the straight line itself.
    """
    start = _start(probe, baseline, seed)
    return integrate_guided(probe, start, steps, fraction, max_distance).sum(1)


def integrate_guided(
    probe: Probe, start: Tensor, steps: int, fraction: float, max_distance: float
) -> Tensor:
    """The gradient at the start of each step ⊙ the step, summed: (B, C, H, W), signed."""

    def steepness(at: Probe) -> Tensor:
        return at.expect("input").input_gradient.abs()

    total = torch.zeros_like(start)
    path = guided_path(probe, start, steps, steepness, fraction, max_distance)
    for at, step in tracked("guided integrated gradients", path, steps):
        total += at.input_gradient * step
    return total


# ---------------------------------------------------------------------- CAMs along a path


@method("Sattarzadeh et al. 2021, Integrated Grad-CAM, eq. 6", "T (F + h)")
def integrated_grad_cam(
    probe: Probe,
    *,
    steps: int = 20,
    baseline: BaselineLike = 0.0,
    aggregate: Aggregate = "maps",
    seed: int = 0,
    batch_size: BatchSize = "auto",
) -> Tensor:
    """Grad-CAM of the change in activations, averaged on the straight line from a baseline.

    aggregate: "maps" is mean_t relu(Σ_k w_k(x_t) (A_k(x_t) - A_k(x_0))), as published;
        "increments" is relu(Σ_t Σ_k w_k(x_t) (A_k(x_t) - A_k(x_{t-1}))). The weights w_k are the
        mean gradients. Where they do not change on the way, as with a logit behind global pooling
        and one Linear, "increments" is Grad-CAM of A(x) - A(x_0) on every path.
    batch_size: images per pass; "auto" as many as fit.
    """
    start = _start(probe, baseline, seed)
    return _cams_along(_straight_path(probe, start, steps, batch_size), steps, probe, aggregate)


@method("Gao et al. 2025, GIG-CAM; the path after Kapishnikov et al. 2021", "T (F + h)")
def gig_cam(
    probe: Probe,
    *,
    steps: int = 20,
    baseline: BaselineLike = 0.0,
    aggregate: Aggregate = "maps",
    fraction: float = 0.25,
    seed: int = 0,
) -> Tensor:
    """Integrated Grad-CAM on a path that each step chooses by the Grad-CAM so far.

    At each point the current Grad-CAM, at the size of the input, ranks the pixels; of those that
    have not arrived, the least salient `fraction` moves first, until the L1 distance to the image
    has fallen by its T-th part. The most salient pixels thus come last, in the surroundings to
    which they belong. The paper's text is not public beyond its abstract; the documentation tells
    what is a reading here, and how it was chosen.

    aggregate: as in `integrated_grad_cam`.
    """
    start = _start(probe, baseline, seed)

    def salience(at: Probe) -> Tensor:
        maps = [_weighted(at, layer, at.activations(layer)) for layer in at.layers]
        return upsample(averaged(maps, probe.size), probe.size)[:, None]

    path = guided_path(probe, start, steps, salience, fraction)
    points = (at for at, _ in path)
    return _cams_along(points, steps, probe, aggregate)


def _cams_along(points: Iterable[Probe], steps: int, probe: Probe, aggregate: Aggregate) -> Tensor:
    """The CAMs at x_1 … x_T put together; `points` are those before the image, which is x_T."""
    if aggregate not in ("maps", "increments"):
        raise ValueError(f"aggregate={aggregate!r}; it should be 'maps' or 'increments'")
    totals: dict[str, Tensor] = {}
    origins: dict[str, Tensor] = {}

    def add(at: Probe) -> None:
        for layer in probe.layers:
            activations = at.activations(layer)
            runs = activations.view(-1, len(probe.inputs), *activations.shape[1:])
            if layer not in origins:
                origins[layer], totals[layer] = runs[0], torch.zeros_like(runs[0, :, 0])
            before = origins[layer][None]
            if aggregate == "increments":
                before = torch.cat([before, runs[:-1]])
                origins[layer] = runs[-1]
            maps = _weighted(at, layer, (runs - before).flatten(0, 1))
            maps = maps.relu() if aggregate == "maps" else maps
            totals[layer] = totals[layer] + maps.view(*runs.shape[:2], *maps.shape[1:]).sum(0)

    for at in tracked("CAMs along the path", points, steps):
        add(at)
    add(probe)
    found = [totals[layer].relu() / (steps if aggregate == "maps" else 1) for layer in probe.layers]
    return averaged(found, probe.size)


def _weighted(at: Probe, layer: str, maps: Tensor) -> Tensor:
    """Σ_k mean_ij(G_k) ⊙ maps_k, signed: (B, K, h, w) -> (B, h, w)."""
    return torch.einsum("bk,bk...->b...", means(at.gradients(layer)), maps)


# ---------------------------------------------------------------------- paths


def _straight_path(
    probe: Probe, start: Tensor, steps: int, batch_size: BatchSize
) -> Iterator[Probe]:
    """Probes at x_0 … x_{T-1} of the straight line, several points in each."""
    positions = torch.arange(steps).to(start) / steps

    def run(part: slice) -> Probe:
        points = torch.lerp(start, probe.inputs, of_images(positions[part], start[None]))
        return probe.with_inputs(points.flatten(0, 1))

    return in_chunks("straight path", run, steps, probe.inputs, batch_size)


def guided_path(
    probe: Probe,
    start: Tensor,
    steps: int,
    salience: Callable[[Probe], Tensor],
    fraction: float = 0.25,
    max_distance: float = 1.0,
) -> Iterator[Step]:
    """Probes at x_0 … x_{T-1}, each with the step (B, C, H, W) to the next point; x_T is the image.

    start: x_0, (B, C, H, W).
    salience: what a probe says of each feature, (B, C, H, W), or of each pixel, (B, 1, H, W). At
        each step the least salient `fraction` of features moves first, among those that have not
        arrived; the L1 distance to the image falls by an equal part with each step.
    max_distance: how far ahead of or behind the straight line a feature may be, in [0, 1].

    Raises ValueError for options out of range.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}; a path needs 1 at least")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction}; it should lie above 0 and not above 1")
    if not 0 <= max_distance <= 1:
        raise ValueError(f"max_distance={max_distance}; it should lie in [0, 1]")
    image, here = probe.inputs, start
    for step in range(steps):
        at = probe.with_inputs(here)
        said = salience(at)
        way = (image - start).abs()
        if step == 0:
            arrived = torch.zeros_like(said, dtype=_precise(start))
        if said.shape[1] == 1:
            way = way.sum(1, keepdim=True)
        done = (step + 1) / steps
        arrived = advanced(
            arrived.flatten(1),
            said.flatten(1),
            way.flatten(1).to(arrived.dtype),
            done,
            (max(done - max_distance, 0.0), min(done + max_distance, 1.0)),
            fraction,
        ).view_as(said)
        there = torch.lerp(start.to(arrived.dtype), image.to(arrived.dtype), arrived)
        there = image if step == steps - 1 else there.to(image.dtype)
        yield at, there - here
        here = there


def advanced(
    arrived: Tensor,
    salience: Tensor,
    way: Tensor,
    done: float,
    bounds: tuple[float, float],
    fraction: float,
) -> Tensor:
    """Let each image's least salient features move on until their L1 distance has fallen enough.

    arrived: how far each feature is on its way, in [0, 1], (B, N); way: its whole distance (B, N).
    done: the share of all the distance that will have been gone.
    bounds: the lowest and the highest share that a feature may have gone.

    Returns the new shares (B, N).
    """
    low, high = bounds
    arrived = arrived.clamp_min(low)
    total = way.sum(1, keepdim=True)
    kth = 1 + int(fraction * (way.shape[1] - 1))
    while True:
        excess = (way * (1 - arrived)).sum(1, keepdim=True) - total * (1 - done)
        closed = (arrived >= high) | (way == 0)
        moving = (excess > _ROUNDING * total) & ~closed.all(1, keepdim=True)
        if not moving.any():
            return arrived
        order = salience.masked_fill(closed, torch.inf)
        threshold = order.kthvalue(kth, dim=1, keepdim=True).values
        chosen = (order <= threshold) & ~closed & moving
        reachable = (way * (high - arrived) * chosen).sum(1, keepdim=True)
        gain = (excess / reachable).clamp(max=1)
        moved = torch.where(gain < 1, arrived + gain * (high - arrived), high)
        arrived = torch.where(chosen, moved, arrived)


def _precise(like: Tensor) -> torch.dtype:
    """float64, so that the order of features does not hang on rounding; where the device has it."""
    return torch.float32 if like.device.type == "mps" else torch.float64


def _start(probe: Probe, kind: BaselineLike, seed: int) -> Tensor:
    return baseline(probe.inputs, kind, seed)
