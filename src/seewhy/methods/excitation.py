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

from seewhy.core.probe import Probe
from seewhy.core.rules import Rules, nearest, substitute
from seewhy.core.targets import Score
from seewhy.maps import averaged
from seewhy.naming import method

Function = Callable[..., Tensor]
Skip = Literal["share", "copy"]

EPS = 1e-20  # as in TorchRay


@method("Zhang et al. 2018, Excitation backprop, eq. 3-8", "2F + 2B", reads=("stages",))
def excitation_backprop(probe: Probe, *, skip: Skip = "share", at_input: bool = False) -> Tensor:
    """Σ_channels of the excitation, at the stage before the last; it sums to 1 over the layer.

    If layers were named, at these. The sum is 1 if the inputs of all later layers are not negative,
    which is rarely so at the image.

    skip: at the sum of a skip connection, "share" divides the probability in proportion to the
        summands; "copy" passes all of it to both, as plain autograd would.
    at_input: take the map at the image.
    """
    return _excitation(_ruled(probe, skip, at_input))


@method("Zhang et al. 2018, Excitation backprop, eq. 3-8", "2F + 2B", reads=("stages",))
def contrastive_excitation_backprop(
    probe: Probe, *, skip: Skip = "share", at_input: bool = False
) -> Tensor:
    """Positive part of the excitation minus that of the opposite class.

    The opposite class has the last layer's weights with the sign changed. Layers are those of
    `excitation_backprop`.

    skip: as in `excitation_backprop`.
    at_input: as in `excitation_backprop`.
    """
    ruled = _ruled(probe, skip, at_input)
    score = ruled.target(ruled.outputs)
    starts = []
    for node in nearest(score, lambda node: hasattr(node, "seewhy_walk")):
        edge = GradientEdge(node, 0)
        (p,) = torch.autograd.grad(score.sum(), edge, retain_graph=True, allow_unused=True)
        if p is not None:
            input, weight = node.saved_tensors
            starts.append(
                (input, node.seewhy_walk(p, input, weight) - node.seewhy_walk(p, input, -weight))
            )
    if not starts:
        raise ValueError(
            "the contrast is made in the last Linear or convolution before the score, and there "
            "is none; use 'excitation_backprop'"
        )

    def contrast(_: Any) -> Tensor:
        return torch.stack([(x * p).flatten(1).sum(1) for x, p in starts]).sum(0)

    return _excitation(ruled.with_target(Score(contrast))).clamp(min=0)


def _ruled(probe: Probe, skip: Skip, at_input: bool) -> Probe:
    rules = _rules(skip)
    if at_input:
        return probe.with_rules(rules)
    if probe.named:
        return probe.with_rules(rules, probe.named)
    # The last stage is coarse; towards the image, the errors at negative inputs pile up.
    *_, layer = [*probe.layers, *probe.stages]
    return probe.with_rules(rules, layer)


def _excitation(ruled: Probe) -> Tensor:
    if not ruled.layers:
        return ruled.input_gradient.sum(1)
    maps = [ruled.gradients(layer).sum(1) for layer in ruled.layers]
    return averaged(maps, ruled.size)


def _rules(skip: Skip) -> Rules:
    """Everything else (ReLU, max pooling, concatenation) keeps its ordinary gradient."""
    rules: Rules = {
        **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d, F.linear), _weighted),
        **dict.fromkeys((F.avg_pool1d, F.avg_pool2d, F.avg_pool3d), _pooled),
        **dict.fromkeys((F.adaptive_avg_pool1d, F.adaptive_avg_pool2d), _pooled),
        F.adaptive_avg_pool3d: _pooled,
        torch.mean: _mean,
        F.batch_norm: _passed,
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
    """Shares of the inputs in an output: those of x ⊙ w⁺."""

    def unbiased(x: Tensor, w: Tensor) -> Tensor:
        return layer(x, w, None, *args, **kwargs)

    value = layer(input.detach(), weight, bias, *args, **kwargs)
    return _Excitation.apply((value,), input, weight, unbiased)  # type: ignore[no-any-return, no-untyped-call]


def _pooled(pool: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Shares of the inputs in their mean."""
    shares = pool(input * input.detach(), *args, **kwargs)
    value = pool(input.detach(), *args, **kwargs)
    return substitute(value, shares / (value + _eps(value)))


def _mean(mean: Function, input: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    """A mean over places is a pool by another name."""
    sides = [dim] if isinstance(dim, int) else dim or [0]
    if not all(side % input.ndim > 1 for side in sides):
        return mean(input, dim, *args, **kwargs)
    return _pooled(mean, input, dim, *args, **kwargs)


def _passed(batch_norm: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return substitute(batch_norm(input.detach(), *args, **kwargs), input)


def _shared(add: Function, input: Tensor, other: Any, **kwargs: Any) -> Tensor:
    """Shares of the summands in the sum."""
    if not isinstance(other, Tensor) or kwargs or input.shape != other.shape:
        return add(input, other, **kwargs)
    value = add(input.detach(), other.detach())
    return substitute(
        value, add(input * input.detach(), other * other.detach()) / (value + _eps(value))
    )


class _Excitation(torch.autograd.Function):
    """p ↦ x ⊙ ∂/∂x(w⁺x)ᵀ(p / w⁺x)."""

    @staticmethod
    def forward(
        ctx: Any,
        value: tuple[Tensor],
        input: Tensor,
        weight: Tensor,
        layer: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        ctx.save_for_backward(input, weight)

        def walk(probability: Tensor, input: Tensor, weight: Tensor) -> Tensor:
            with torch.enable_grad():
                x = input.detach().requires_grad_()
                excitation = layer(x, weight.clamp(min=0))
            (back,) = torch.autograd.grad(
                excitation, x, probability / (excitation.detach() + _eps(excitation))
            )
            return torch.mul(x.detach(), back)

        ctx.seewhy_walk = walk
        return value[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, probability: Tensor) -> tuple[None, Tensor, None, None]:
        return None, ctx.seewhy_walk(probability, *ctx.saved_tensors), None, None


def _eps(tensor: Tensor) -> float:
    return max(EPS, torch.finfo(tensor.dtype).tiny)
