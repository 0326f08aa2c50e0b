"""Excitation backprop: a probability is passed back from the class along positive weights.

The backward pass computes, instead of a gradient, the probability that a random walk from the
explained class reaches a neuron.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import GradientEdge

from seewhy.core.gates import gated
from seewhy.core.probe import Probe
from seewhy.core.rules import LIKE_RELU, Rules, apply_of, nearest, substitute
from seewhy.core.targets.parts import with_gradients
from seewhy.maps import averaged, wide
from seewhy.naming import method

Function = Callable[..., Tensor]
Layer = Callable[[Tensor], Tensor]
Contrast = Callable[[Tensor, Tensor], Tensor]
Skip = Literal["share", "copy"]

EPS = 1e-20  # as in TorchRay


@method(
    "Zhang et al. 2018, Excitation backprop, eq. 3-8",
    "2F + 2B",
    reads=("stages",),
    layers="named",
)
def excitation_backprop(probe: Probe, *, skip: Skip = "share", at_input: bool = False) -> Tensor:
    """Σ_channels of the excitation, at the stage before the last; it sums to 1 over the layer.

    If you name layers, the map is taken there. Negative inputs of convolutions and fully-connected
    layers get no share, like neurons that are not active. If all inputs of an output are negative,
    its share is lost, and the sum is less than 1. At the image, pixels darker than the mean get no
    share. In a product with a gate (a sigmoid, one number per channel, a constant) the gated signal
    gets the whole share.

    skip: at the sum of a skip connection, "share" divides the probability in proportion to the
        summands; "copy" passes all of it to both, as plain autograd would.
    at_input: take the map at the image.
    """
    return _excitation(_ruled(probe, skip, at_input))


@method(
    "Zhang et al. 2018, Excitation backprop, eq. 3-8",
    "2F + 2B",
    reads=("stages",),
    layers="named",
)
def contrastive_excitation_backprop(
    probe: Probe, *, skip: Skip = "share", at_input: bool = False
) -> Tensor:
    """Positive part of the excitation minus that of the opposite class.

    The opposite class has the last layer's weights with the sign changed. Where that layer is
    applied at several places, such as the 1x1 convolution of SqueezeNet, the two are shared out
    over all of them together: at each place alone they would cancel. Layers are those of
    `excitation_backprop`.

    skip: as in `excitation_backprop`.
    at_input: as in `excitation_backprop`.
    """
    ruled = _ruled(probe, skip, at_input)
    _ = ruled.layer_calls  # raises where a layer was not run
    score = ruled.scored()
    starts = []
    for node in nearest(score, lambda node: getattr(node, "seewhy_contrast", None) is not None):
        edge = GradientEdge(node, 0)
        (p,) = torch.autograd.grad(score.sum(), edge, retain_graph=True, allow_unused=True)
        if p is not None:
            (input,) = node.saved_tensors
            starts.append((input, node.seewhy_contrast(p, input)))
    if not starts:
        raise ValueError(
            "the contrast is made in the last Linear or convolution between the layer and the "
            "score, and there is none; use 'excitation_backprop'"
        )
    contrast = with_gradients(starts, len(ruled.inputs))
    return _excitation(ruled.with_target(contrast)).clamp(min=0)


def _ruled(probe: Probe, skip: Skip, at_input: bool) -> Probe:
    rules = _rules(skip)
    if at_input:
        return probe.with_rules(rules)
    if probe.named:
        return probe.with_rules(rules, probe.named)
    # The last stage is coarse; earlier ones hit the object less often.
    *_, layer = [*probe.layers, *probe.stages]
    return probe.with_rules(rules, layer)


def _excitation(ruled: Probe) -> Tensor:
    if not ruled.layers:
        return ruled.input_gradient.sum(1)
    maps = [ruled.gradients(layer).sum(1) for layer in ruled.layers]
    return averaged(maps, ruled.size)


def _rules(skip: Skip) -> Rules:
    """Everything else (max pooling, concatenation) keeps its ordinary gradient.

    So does a ReLU: what it stops has no share. The gradients of other activations would lose it
    where they saturate, and through a layer norm none of it would be left.
    """
    norms = (F.batch_norm, F.group_norm, F.instance_norm, F.layer_norm, F.rms_norm)
    rules: Rules = {
        **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d, F.linear), _weighted),
        **dict.fromkeys((F.avg_pool1d, F.avg_pool2d, F.avg_pool3d), _pooled),
        **dict.fromkeys((F.adaptive_avg_pool1d, F.adaptive_avg_pool2d), _pooled),
        F.adaptive_avg_pool3d: _pooled,
        torch.mean: _mean,
        **dict.fromkeys((*norms, *LIKE_RELU), _passed),
        **dict.fromkeys((torch.mul, torch.div), _scaled),
    }
    return {**rules, torch.add: _shared} if skip == "share" else rules


def _weighted(
    layer: Function,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """Shares of the inputs in an output: those of x⁺ ⊙ w⁺.

    The paper's neurons have no negative values. With them, a sum may come close to 0, and its
    shares would be arbitrarily large.
    """

    def positive(x: Tensor) -> Tensor:
        return layer(x.clamp(min=0), wide(weight).clamp(min=0), None, *args, **kwargs)

    def opposite(x: Tensor) -> Tensor:
        return layer(x.clamp(min=0), -wide(weight).clamp(max=0), None, *args, **kwargs)

    def contrast(p: Tensor, input: Tensor) -> Tensor:
        classes = p.ndim - weight.ndim + 1  # a convolution may be without an axis of images
        places = tuple(axis for axis in range(1, p.ndim) if axis != classes)
        return _shares(p, input, positive, places) - _shares(p, input, opposite, places)

    value = layer(input.detach(), weight, bias, *args, **kwargs)
    return _excitation_of((value,), input, positive, contrast)


def _pooled(pool: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Shares of the inputs in their mean: those of x⁺."""
    value = pool(input.detach(), *args, **kwargs)
    return _excitation_of((value,), input, lambda x: pool(x.clamp(min=0), *args, **kwargs), None)


def _mean(mean: Function, input: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    """A mean over places is a pool by another name, also where these are rows of tokens."""
    dim = kwargs.pop("axis", dim)  # as NumPy calls it
    sides = [dim] if isinstance(dim, int) else dim or [0]
    if not all(side % input.ndim > 0 for side in sides):
        return mean(input, dim, *args, **kwargs)
    return _pooled(mean, input, dim, *args, **kwargs)


def _passed(function: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return substitute(function(input.detach(), *args, **kwargs), input)


def _scaled(function: Function, input: Any, other: Any, **kwargs: Any) -> Tensor:
    """What is scaled has all of the probability: the gate, or the constant, has none."""
    parts = gated(input, other)
    with torch.set_grad_enabled(parts is None):
        value = function(input, other, **kwargs)
    return substitute(value, parts[0]) if parts else value


def _shared(add: Function, input: Tensor, other: Any, **kwargs: Any) -> Tensor:
    """Shares of the summands in the sum.

    One of them may be the same for all images, such as the positions of patches: of a single image
    it looks like any other.
    """
    if not isinstance(other, Tensor) or kwargs or not _alike(input, other):
        return add(input, other, **kwargs)
    value = add(input.detach(), other.detach())
    summands = torch.stack([input.expand_as(value), other.expand_as(value)], 1)
    return _excitation_of((value,), summands, lambda x: x.sum(1), None)


def _alike(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same shape, however many images there are."""
    return a.ndim == b.ndim > 0 and a.shape[1:] == b.shape[1:]


class _Excitation(torch.autograd.Function):
    """A value whose gradient is shared out among the inputs by a linear layer without negatives.

    contrast: the shares (p, input) less those of the opposite class, of a layer with weights.
    """

    @staticmethod
    def forward(
        ctx: Any, value: tuple[Tensor], input: Tensor, layer: Layer, contrast: Contrast | None
    ) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(input)
        ctx.seewhy_layer, ctx.seewhy_contrast = layer, contrast
        return value[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, probability: Tensor | None) -> tuple[None, Tensor | None, None, None]:
        if probability is None:
            return None, None, None, None
        (input,) = ctx.saved_tensors
        return None, _shares(probability, input, ctx.seewhy_layer), None, None


_excitation_of = apply_of(_Excitation)


def _shares(
    probability: Tensor, input: Tensor, layer: Layer, places: tuple[int, ...] = ()
) -> Tensor:
    """x ⊙ ∂l/∂xᵀ(p / l(x)), in single precision at least.

    places: axes over which p and l(x) are summed first, where p is not 0.
    """
    with torch.enable_grad():
        x = wide(input.detach()).requires_grad_()
        excitation = layer(x)
        p, total = wide(probability), excitation.detach()
        if places:
            here = p != 0
            p = here * p.sum(places, keepdim=True)
            total = (here * total).sum(places, keepdim=True)
        (back,) = torch.autograd.grad(excitation, x, p / (total + EPS))
    return torch.mul(x.detach(), back).to(input.dtype)
