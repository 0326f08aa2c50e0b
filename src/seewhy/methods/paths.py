"""Path methods: gradients and CAMs on the path from a baseline to the image.

A path method sums up gradients, or CAMs, at the points of a path x_0 … x_T that leads from a
baseline to the image: a straight line, or a guided path, on which the least salient parts of the
image come first. On a guided path each image goes its own way.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from seewhy.core.choice import OneByOneError
from seewhy.core.layers import Call
from seewhy.core.probe import Probe
from seewhy.fills import Fill, filled
from seewhy.maps import averaged, means, of_images, upsample
from seewhy.naming import method
from seewhy.options import Count, Range, Seed, Share
from seewhy.progress import BatchSize, in_chunks, report, tracked

Quadrature = Literal["middle", "left", "right", "trapezoid", "gauss_legendre"]
# Below it, one step would take ever so many rounds.
Fraction = Annotated[float, Range(least=0.01, most=1)]

# Finding N points takes a matrix of N x N and time that grows with N³: these take half a minute.
_MOST_OF_GAUSS = 5000

# How far a distance may be from the one to be reached, as a share of it.
_CLOSE = 1e-9


# ---------------------------------------------------------------------- gradients along a path


@method(
    "Sundararajan et al. 2017, Axiomatic attribution for deep networks, eq. 1-3",
    "N (F + B)",
    layers="none",
)
def integrated_gradients(
    probe: Probe,
    *,
    steps: Count = 32,
    baseline: Fill = 0.0,
    rule: Quadrature = "middle",
    seed: Seed = 0,
    batch_size: BatchSize = "auto",
) -> Tensor:
    """Σ_channels (x - x_0) ⊙ the mean gradient on the straight line from a baseline, signed.

    The map sums to score(x) - score(x_0), up to the error of numerical integration.

    baseline: a number in units of the input, "black", "darkest", "blurred", "blur", "random" or a
        tensor, see `seewhy.fills.filled`; 0 is the mean colour of normalised
        inputs.
    rule: the integration rule: "middle", "left" or "right" of equal intervals, "trapezoid" or
        "gauss_legendre".
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


def quadrature(rule: Quadrature, steps: int) -> tuple[Tensor, Tensor]:
    """Positions in [0, 1] and weights that add up to 1, (N,) each, in float64.

    "middle", "left" and "right" evaluate each of N equal intervals there, "trapezoid" takes N
    points with both ends, and "gauss_legendre" is exact for polynomials up to degree 2N - 1.

    Raises ValueError for a trapezoid without both ends, and for too many points of Gauss.
    """
    if rule == "gauss_legendre":
        if steps > _MOST_OF_GAUSS:
            raise ValueError(
                f"steps={steps}; the rule {rule!r} takes {_MOST_OF_GAUSS} at most, others more"
            )
        roots, weights_of_roots = np.polynomial.legendre.leggauss(steps)
        return torch.from_numpy((1 + roots) / 2), torch.from_numpy(weights_of_roots / 2)
    whole = torch.arange(steps, dtype=torch.float64, device="cpu")
    if rule == "trapezoid":
        if steps < 2:
            raise ValueError(f"steps={steps}; the rule {rule!r} needs 2 at least")
        weights = torch.full_like(whole, 1 / (steps - 1))
        weights[[0, -1]] /= 2
        return whole / (steps - 1), weights
    place = {"left": 0.0, "middle": 0.5, "right": 1.0}[rule]
    return (whole + place) / steps, torch.full_like(whole, 1 / steps)


@method(
    "Kapishnikov et al. 2021, Guided integrated gradients, algorithm 1", "T (F + B)", layers="none"
)
def guided_integrated_gradients(
    probe: Probe,
    *,
    steps: Count = 50,
    baseline: Fill = 0.0,
    fraction: Fraction = 0.25,
    max_distance: Share = 0.02,
    seed: Seed = 0,
) -> Tensor:
    """Σ_channels of the gradients integrated along a path that avoids large gradients, signed.

    fraction: share of the features, those with the smallest gradients, that move in a round; at
        least 0.01.
    max_distance: how far a feature may be ahead of or behind the straight line; 1 is a free path,
        and 0 the straight line itself.

    Rounding decides which of nearly equal features moves first. So on a CPU images are processed
    one by one; on an accelerator they are processed together, and a map may depend on the batch.

    Raises ValueError if a gradient is not finite.
    """
    starts = _start(probe, baseline, seed)

    def alone(probe: Probe, start: Tensor) -> Tensor:
        return integrate_guided(probe, start, steps, fraction, max_distance).sum(1)

    return _image_by_image(probe, starts, alone)


def integrate_guided(
    probe: Probe, start: Tensor, steps: int, fraction: float, max_distance: float
) -> Tensor:
    """The gradient at the start of each step ⊙ the step, summed: (B, C, H, W), signed."""

    def slope(at: Probe) -> Tensor:
        return at.expect("input").input_gradient

    total = torch.zeros_like(start)
    path = guided_path(probe, start, steps, slope, fraction, max_distance)
    for gradient, step, _ in tracked("guided integrated gradients", path, steps):
        total += gradient * step
    return total


# ---------------------------------------------------------------------- CAMs along a path


@method("Sattarzadeh et al. 2021, Integrated Grad-CAM, eq. 6", "T (F + h)")
def integrated_grad_cam(
    probe: Probe,
    *,
    steps: Count = 50,
    baseline: Fill = "black",
    difference: bool = False,
    seed: Seed = 0,
    batch_size: BatchSize = "auto",
) -> Tensor:
    """Σ_t relu(Σ_k w_k(x_t) A_k(x_t)), the sum of the Grad-CAMs of points on the straight line.

    As in the authors' demo, the points are x_0 … x_{T-1}, and the path begins at black pixels.

    baseline: a number in units of the input, "black", "darkest", "blurred", "blur", "random" or a
        tensor, see `seewhy.fills.filled`.
    difference: use A(x_t) - A(x_0) at x_1 … x_T, as in equation 6 of the paper.
    batch_size: images per pass; "auto" as many as fit.
    """
    start = _start(probe, baseline, seed)
    first = 1 if difference else 0
    origin = probe.with_inputs(start)

    def run(part: slice) -> list[Tensor]:
        positions = (
            torch.arange(part.start + first, part.stop + first, device="cpu").to(start) / steps
        )
        points = torch.lerp(start, probe.inputs, of_images(positions, start[None]))
        at = probe.with_inputs(points.flatten(0, 1))
        found = []
        for layer in probe.layer_calls:
            maps = at.activations(layer)
            if difference:
                maps = maps - origin.activations(layer).repeat(len(points), *[1] * (maps.ndim - 1))
            cams = _weighted(at, layer, maps).relu().view(*points.shape[:2], *maps.shape[2:])
            found.append(cams.sum(0))
        return found

    def total(size: BatchSize) -> list[Tensor]:
        # Added up here: a part that runs out of memory is run again.
        parts = in_chunks("Integrated Grad-CAM", run, steps, probe.inputs, size)
        return reduce(lambda sums, part: [a + b for a, b in zip(sums, part, strict=True)], parts)

    try:
        maps = total(batch_size)
    except OneByOneError:  # of a network that takes its images one by one: so are the points
        maps = total(len(probe.inputs))
    return averaged(maps, probe.size)


@method("Gao et al. 2025, GIG-CAM; the path after Kapishnikov et al. 2021", "T (F + h)")
def gig_cam(
    probe: Probe,
    *,
    steps: Count = 30,
    baseline: Fill = "black",
    fraction: Fraction = 0.25,
    max_distance: Share = 0.02,
    seed: Seed = 0,
) -> Tensor:
    """Integrated Grad-CAM on a path that is chosen step by step by the current Grad-CAM, (B, H, W).

    At each point the magnitude of the current Grad-CAM before its ReLU, at the size of the input,
    ranks the pixels. Of the pixels that have not reached the image yet, the least salient
    `fraction` moves first, all channels together, until the L1 distance to the image has fallen by
    its T-th part. The map is the sum of the Grad-CAMs at x_0 … x_{T-1}, each counted as often as
    pixels were chosen at this point, as in the authors' code.

    baseline: a number in units of the input, "black", "darkest", "blurred", "blur", "random" or a
        tensor, see `seewhy.fills.filled`.
    fraction: share of the pixels that moves in a round, from 0.01 to 1.
    max_distance: how far a pixel may be ahead of or behind the straight line; 1 is a free path.

    Rounding decides which of nearly equal pixels moves first. So on a CPU images are processed one
    by one; on an accelerator they are processed together, and a map may depend on the batch.

    Raises ValueError if a Grad-CAM is not finite.
    """
    starts = _start(probe, baseline, seed)

    def alone(probe: Probe, start: Tensor) -> Tensor:
        def signed_cam(at: Probe) -> Tensor:
            maps = [_weighted(at, layer, at.activations(layer)) for layer in at.layer_calls]
            return upsample(averaged(maps, probe.size), probe.size)[:, None]

        total = torch.zeros_like(start[:, 0])
        path = guided_path(probe, start, steps, signed_cam, fraction, max_distance)
        for signed, _, rounds in tracked("GIG-CAM", path, steps):
            cam = signed[:, 0].relu()
            total += of_images(rounds.to(cam), cam) * cam
        return total

    return _image_by_image(probe, starts, alone)


def _weighted(at: Probe, layer: Call, maps: Tensor) -> Tensor:
    """Σ_k mean_ij(G_k) ⊙ maps_k, signed: (B, K, h, w) -> (B, h, w)."""
    return (maps * of_images(means(at.gradients(layer)), maps)).sum(1)


def _image_by_image(probe: Probe, starts: Tensor, run: Callable[[Probe, Tensor], Tensor]) -> Tensor:
    """The maps of images that each go their own way.

    On a guided path rounding decides which feature comes first, and the rounding of a pass depends
    on how many images share it. So they go one by one, where that costs no time: on a CPU. On an
    accelerator they go together.
    """
    if starts.device.type != "cpu":
        return run(probe, starts)
    each = [run(probe.image(i), starts[i : i + 1]) for i in range(len(starts))]
    return torch.cat(each)


# ---------------------------------------------------------------------- paths


def guided_path(
    probe: Probe,
    start: Tensor,
    steps: int,
    evidence: Callable[[Probe], Tensor],
    fraction: float = 0.25,
    max_distance: float = 1.0,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The evidence at x_0 … x_{T-1}, each with the step (B, C, H, W) to the next; x_T is the image.

    The third of each is how often features were chosen to move on, (B,).

    start: x_0, (B, C, H, W).
    evidence: what a probe says of each feature, (B, C, H, W), or of each pixel, whose channels move
        together, (B, 1, H, W); signed. At each step the `fraction` of features with the smallest
        magnitude moves first, among those that have not arrived; the L1 distance to the image falls
        by an equal part with each step.
    max_distance: how far ahead of or behind the straight line a feature may be, in [0, 1].

    Raises ValueError where the evidence is not finite.
    """
    image, here = probe.inputs, start
    for step in range(steps):
        said = evidence(probe.with_inputs(here))
        finite = said.isfinite().all()
        if step == 0:
            together = said.shape[1] == 1
            begin, end = _features(start, together), _features(image, together)
            x, total = begin, _distance(begin, end)
        done = (step + 1) / steps
        bounds = (max(done - max_distance, 0.0), min(done + max_distance, 1.0))
        ranks = _features(said.abs().nan_to_num(), together)[..., 0]
        x, rounds = advanced(begin, end, x, ranks, total * (1 - done), bounds, fraction)
        if not finite:  # asked only now, when an accelerator has the answer
            raise ValueError(
                f"what the network says at step {step} of the path is not finite: its weights, the "
                "inputs or the baseline may hold values that are too large, or NaN"
            )
        there = image if step == steps - 1 else _inputs(x, image)
        yield said, there - here, rounds
        here = there


def advanced(
    begin: Tensor,
    end: Tensor,
    x: Tensor,
    salience: Tensor,
    left: Tensor,
    bounds: tuple[float, float],
    fraction: float,
) -> tuple[Tensor, Tensor]:
    """Let each image's least salient features move on until their L1 distance has fallen enough.

    begin, end, x: where they begin, where they go and where they are, (B, N, C) each.
    salience: finite, (B, N).
    left: the distance that is to be left, (B,).
    bounds: the lowest and the highest share of its way that a feature may have gone.

    Returns where they are then, and how often features were chosen, (B,), once at least.
    """
    way = end - begin
    behind, ahead = ((way * share).add_(begin) for share in bounds)
    gone = (x - begin).div_(way)  # NaN where there is no way to go
    x = torch.where(gone < bounds[0], behind, x)
    kth = 1 + int(fraction * (salience.shape[1] - 1))
    rounds = torch.zeros(len(x), dtype=torch.long, device=x.device)
    unfinished = torch.ones_like(rounds, dtype=torch.bool)
    # As `all(2)`, which takes several times as long for a few channels.
    arrived = reduce(torch.logical_and, (x == ahead).unbind(2))
    while True:
        rounds += unfinished
        distance = _distance(x, end)
        moving = unfinished & _beyond(distance, left) & ~arrived.all(1)
        # The least salient of those that have not arrived; so each round moves one at least.
        order = salience.masked_fill(arrived, torch.inf)
        least = order <= _smallest(order, kth)
        chosen = least & ~arrived & moving[:, None]
        # Of what lies ahead of them, the share that is to be gained. If that is more than all, they
        # arrive, and others follow in the next round.
        further = (ahead - x).mul_(chosen.to(x)[:, :, None])
        share = torch.where(moving, (distance - left) / _total(further.abs()), 0)
        unfinished = share > 1
        moved = further.mul_(of_images(share.to(x), x)).add_(x)
        report()
        if not unfinished.any():
            return moved, rounds
        arrived |= chosen & unfinished[:, None]
        x = torch.where(arrived[:, :, None], ahead, moved)


def _beyond(distance: Tensor, left: Tensor) -> Tensor:
    """Whether a distance is larger than the one to be left, by more than rounding."""
    close = (distance - left).abs() <= _CLOSE * torch.maximum(distance, left).clamp_min(1)
    return ~close & (distance > left)


def _smallest(values: Tensor, k: int) -> Tensor:
    """The k-th smallest of each image's numbers, (B, N) -> (B, 1)."""
    if values.device.type != "cpu":
        return values.kthvalue(k, dim=1, keepdim=True).values
    # As PyTorch's, in a third of the time.
    return torch.from_numpy(np.partition(values.numpy(), k - 1, axis=1)[:, k - 1 : k])


def _distance(x: Tensor, end: Tensor) -> Tensor:
    """The L1 distance to the end, (B,)."""
    return _total((x - end).abs_())


def _total(values: Tensor) -> Tensor:
    """The sum of each image's numbers, (B, N, C) -> (B,), in the precision of a path.

    On a CPU as NumPy adds them: which of two equally salient pixels comes first hangs on the
    rounding here, and so the authors' numbers come out to the last digits.
    """
    if values.device.type != "cpu":
        dtype = torch.float32 if values.device.type == "mps" else torch.float64
        return values.flatten(1).sum(1, dtype=dtype)
    return torch.from_numpy(np.stack([image.sum() for image in values.contiguous().numpy()]))


def _features(images: Tensor, together: bool) -> Tensor:
    """Images (B, C, H, W) as numbers of pixels, (B, H·W, C), or of features, (B, H·W·C, 1).

    On a CPU in float64, so that the order of features does not hang on rounding; on an accelerator,
    where that takes several times as long, in float32, and only sums over them in float64.
    """
    dtype = torch.float64 if images.device.type == "cpu" else torch.float32
    rows = images.to(dtype).movedim(1, -1).flatten(1, -2).contiguous()
    return rows if together else rows.flatten(1)[:, :, None]


def _inputs(x: Tensor, like: Tensor) -> Tensor:
    """Features as images (B, C, H, W) again."""
    channels = like.shape[1]
    return x.reshape(len(x), *like.shape[2:], channels).movedim(-1, 1).to(like).contiguous()


def _start(probe: Probe, kind: Fill, seed: int) -> Tensor:
    return filled(probe.inputs, kind, seed, black=probe.black)
