"""Does the map depend on the class and on the weights, and is it stable?

Some metrics compute further maps: `explain(images, index)` gives maps (N, H, W) for `images`
(N, C, H, W), where `index` (N,) says from which of the B explained images, and so for which
target, each of them is made. Each image has its own value, whatever else is in the batch.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seewhy.core.observing import graphs
from seewhy.metrics._maps import check_maps
from seewhy.metrics.faithfulness import Score, scores_of
from seewhy.metrics.quality import pearson, spearman
from seewhy.metrics.registry import register_metric, shared
from seewhy.noise import normal, uniform
from seewhy.options import Count, Positive, Seed, Share, checking

Explain = Callable[[Tensor, Tensor], Tensor]

_YEH = "Yeh et al. 2019, On the (in)fidelity and sensitivity of explanations"


@checking
def uniform_noise(
    inputs: Tensor, radius: Positive = 0.02, samples: Count = 10, seed: Seed = 0
) -> Iterator[Tensor]:
    """Perturbations (C, H, W) drawn evenly from [-radius, radius], in units of the inputs.

    All images share them, so that none depends on its place in the batch.
    """
    draw = torch.Generator().manual_seed(seed)
    for _ in range(samples):
        yield (radius * (2 * uniform(inputs.shape[1:], draw) - 1)).to(inputs)


@checking
def square_removals(
    inputs: Tensor, fraction: Share = 0.25, samples: Count = 50, seed: Seed = 0
) -> Iterator[Tensor]:
    """Perturbations (B, C, H, W) that, subtracted, set a random square of the images to zero.

    Of signals it is a stretch, and of volumes a cube. Its side is `fraction` of the image's
    shortest one, its place the same in all images. Source: Yeh et al. 2019, "On the (in)fidelity
    and sensitivity of explanations".
    """
    draw = torch.Generator().manual_seed(seed)
    sides = inputs.shape[2:]
    side = max(1, round(fraction * min(sides)))
    for _ in range(samples):
        starts = [
            int(torch.randint(whole - side + 1, (), generator=draw, device="cpu"))
            for whole in sides
        ]
        removed = torch.zeros_like(inputs)
        square: tuple[Any, ...] = (..., *(slice(start, start + side) for start in starts))
        removed[square] = inputs[square]
        yield removed


@register_metric(_YEH, "SE", higher_is_better=False, range=(0.0, inf))
def max_sensitivity(
    explain: Explain,
    inputs: Tensor,
    saliency: Tensor,
    perturbations: Iterable[Tensor] | None = None,
    *,
    radius: Positive = 0.02,
    samples: Count = 10,
    seed: Seed = 0,
) -> Tensor:
    """The largest relative change of the map under small noise, (B,), from 0; lower is better.

    max ‖S(x + d) - S(x)‖ / ‖S(x)‖ over the perturbations d, each (C, H, W) or (B, C, H, W); by
    default `samples` draws of `uniform_noise` within `radius`. nan for a map of zeros. Costs one
    explanation per perturbation. Source: Yeh et al. 2019.
    """
    saliency = check_maps(saliency, inputs=inputs)
    if perturbations is None:
        perturbations = uniform_noise(inputs, radius, samples, seed)
    index = torch.arange(len(inputs), device=inputs.device)
    before = saliency.flatten(1).double()  # squares of small or large values would be lost
    size = before.norm(dim=1)
    changes = [
        (explain(inputs + noise, index).flatten(1).to(before) - before).norm(dim=1)
        for noise in perturbations
    ]
    if not changes:
        raise ValueError("perturbations is empty; give one at least")
    return torch.where(size > 0, torch.stack(changes).amax(0) / size, torch.nan).to(saliency.dtype)


@register_metric(_YEH, "SF", higher_is_better=False)
def infidelity(
    score: Score,
    inputs: Tensor,
    saliency: Tensor,
    perturbations: Iterable[Tensor] | None = None,
    *,
    fraction: Share = 0.25,
    samples: Count = 50,
    seed: Seed = 0,
) -> Tensor:
    """How badly the map predicts the change of the score, (B,), from 0; lower is better.

    The mean of (b·Σ I S - (f(x) - f(x - I)))² over the perturbations I, each (C, H, W) or
    (B, C, H, W), by default `samples` `square_removals`, `fraction` of the image wide. A pixel's
    saliency counts for all its channels. The factor b that fits the image best is taken out, since
    a saliency map has no unit: Captum's `normalize=True`. Costs one forward per perturbation.
    Source: Yeh et al. 2019.
    """
    saliency = check_maps(saliency, inputs=inputs)
    if perturbations is None:
        perturbations = square_removals(inputs, fraction, samples, seed)
    original = scores_of(score, inputs)
    predicted, actual = [], []
    for change in perturbations:
        predicted.append((change.sum(-saliency.ndim) * saliency).flatten(1).sum(1))
        actual.append(original - scores_of(score, inputs - change))
    if not predicted:
        raise ValueError("perturbations is empty; give one at least")
    # Squares of small or large saliency would be lost in single precision.
    dot, fall = torch.stack(predicted).double(), torch.stack(actual).double()
    square = (dot**2).mean(0)
    factor = (dot * fall).mean(0) / torch.where(square > 0, square, 1)
    return ((factor * dot - fall) ** 2).mean(0).to(original.dtype)


class Cascade(NamedTuple):
    """Rank correlations (L, B) with the first map after each of L layers is randomised, too."""

    layers: list[str]
    correlation: Tensor


@shared("cascade")
def randomization_cascade(
    model: nn.Module,
    explain_network: Callable[[nn.Module], Tensor],
    layers: Sequence[str] | None = None,
    seed: Seed = 0,
) -> Cascade:
    """How the maps change as the network's weights are randomised from the output down.

    `explain_network(model)` gives the maps (B, H, W) of a network. `layers` names the modules to
    randomise, each with all inside it and all before it in the list; by default every module with
    parameters of its own, last registered first. Parameters are drawn anew from a normal
    distribution with their own mean and deviation, so that activations keep their scale; constant
    ones stay. All this happens to a copy: `model` is not touched. Costs one explanation per layer
    and one more.
    Raises ValueError for a name that the model does not have. Source: Adebayo et al. 2018, "Sanity
    checks for saliency maps", with Spearman's rank correlation.
    """
    with graphs():  # a copy that can be explained, also under the caller's inference mode
        clone = copy.deepcopy(model)
    modules = dict(clone.named_modules())
    if layers is None:
        owners = [
            name for name, m in modules.items() if next(m.parameters(False), None) is not None
        ]
        layers = owners[::-1]
    if not layers:
        raise ValueError("the model has no weights to randomise")
    for name in layers:
        if name not in modules:
            raise ValueError(f"layers names {name!r}, which the model does not have")
    draw = torch.Generator().manual_seed(seed)
    before = explain_network(model)
    steps = []
    for name in layers:
        with torch.no_grad():
            for parameter in modules[name].parameters():
                mean, deviation = parameter.mean(), parameter.std(unbiased=False)
                parameter.copy_(mean + deviation * normal(parameter.shape, draw).to(parameter))
        steps.append(spearman(before, explain_network(clone)))
    return Cascade(list(layers), torch.stack(steps))


@register_metric("Adebayo et al. 2018", "(S + 1)E", higher_is_better=False, range=(-1.0, 1.0))
def parameter_randomization(cascade: Cascade) -> Tensor:
    """The mean rank correlation along a `randomization_cascade`, (B,), in [-1, 1].

    Lower is better: a map that survives random weights does not show what the network learned.
    """
    return cascade.correlation.mean(0)


@register_metric("correlation of two targets' maps", higher_is_better=False, range=(-1.0, 1.0))
def target_selectivity(saliency: Tensor, other_target_saliency: Tensor) -> Tensor:
    """Pearson's correlation of the maps of two targets on the same image, (B,), in [-1, 1].

    Lower is better, on images with both classes: the map should depend on the target class.
    """
    return pearson(saliency, other_target_saliency)
