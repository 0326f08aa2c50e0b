"""Target-selective gradient backprop (TSGB): gradients that follow activations and not weights.

The rules are written in terms of *relevance*, gradient ⊙ value. A convolution needs of its output
only the relevance summed over channels, which a batch norm and a ReLU leave as it is. So one
channel travels beside the output of a convolution (its `_Share`) through these to the next
convolution, and what lies between needs neither gradients nor memory. Wherever anything else reads
such a tensor, it meets an ordinary node of the graph that turns its gradient into relevance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seewhy.core.probe import Probe
from seewhy.core.rules import Rules, nodes, substitute, tensors
from seewhy.core.targets import logits
from seewhy.methods.gradients import relevance
from seewhy.naming import method

Function = Callable[..., Tensor]

EPS = 1e-10  # as in the authors' code


@method("Cheng et al. 2022, TSGB: Target-selective gradient backprop", passes="F + rule pass")
def tsgb(
    probe: Probe,
    *,
    groups: Literal["joint", "separate"] = "joint",
    classifier: str | None = None,
    clamp: bool = False,
) -> Tensor:
    """Σ_channels gradient ⊙ value of the TSGB backward pass, signed.

    At the input and its resolution, or at the layers of the probe where such were named.

    groups: whether the groups of a grouped convolution share out their relevance together, as in
        the authors' code, or each on its own.
    classifier: name of the Linear or 1×1 convolution whose negative weights are balanced; None is
        the last one before the scores.
    clamp: keep the positive part only.

    Raises ValueError for networks with attention, for which TSGB is not defined, and where no
    classifier is found; TypeError for compiled and scripted networks.
    """
    maps = relevance(with_tsgb(probe, groups, classifier))
    return maps.clamp(min=0) if clamp else maps


def with_tsgb(
    probe: Probe, groups: Literal["joint", "separate"] = "joint", classifier: str | None = None
) -> Probe:
    """The same question under the backward pass of TSGB, one forward pass for any targets:

    ruled = with_tsgb(Probe(model, images))
    maps = [relevance(ruled.with_target(target)) for target in targets]
    """
    if groups not in ("joint", "separate"):
        raise ValueError(f"groups must be 'joint' or 'separate', not {groups!r}")
    ruled = probe.with_rules(rules(groups), probe.named)
    _classifier(ruled, classifier).balanced = True
    return ruled


@lru_cache
def rules(groups: Literal["joint", "separate"] = "joint") -> Rules:
    """The rules of TSGB; the classifier's own is switched on in its node of the graph."""
    return {
        F.conv2d: partial(_conv2d, separate=groups == "separate"),
        F.linear: _linear,
        F.batch_norm: _batch_norm,
        F.layer_norm: _layer_norm,
        F.relu: _relu,
        F.avg_pool2d: _avg_pool2d,
        torch.matmul: _no_attention,
        torch.bmm: _no_attention,
        torch.einsum: _no_attention,
        F.scaled_dot_product_attention: _no_attention,
        F.multi_head_attention_forward: _no_attention,
    }


# ------------------------------------------------------------------------------ the rules


def _conv2d(
    convolution: Function,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    *,
    separate: bool,
) -> Tensor:
    """TSGB-Conv: an output's relevance is shared out over its window in proportion to |input|.

    Per window the share is Σ|x| over its part of the window / Σ|x| over the window. Written as a
    weighted mean of the incoming shares, autograd itself does the rest: the gradient of Σ_c |x_c|
    is sign(x), and that of a sum over windows is the transposed convolution.
    """
    value = convolution(input.detach(), weight, bias, stride, padding, dilation, groups)
    parts = groups if separate else 1

    def windows(maps: Tensor) -> Tensor:
        if weight.shape[2:] == (1, 1) and padding in (0, (0, 0)):
            down, across = (stride, stride) if isinstance(stride, int) else stride
            return maps[:, :, ::down, ::across]
        ones = weight.new_ones(parts, 1, *weight.shape[2:])
        return F.conv2d(maps, ones, None, stride, padding, dilation, parts)

    known = _share_of(input)
    if known.relevance is None:
        activity = windows(_sums(_magnitude(input, known), parts))
        total = activity.detach()
    else:
        # The finest division that both the shares that come in and those that go out respect.
        fine = math.lcm(known.relevance.shape[1], parts)
        magnitude = _sums(_magnitude(input.detach(), known), fine)
        shares = known.relevance.repeat_interleave(fine // known.relevance.shape[1], 1)
        activity = windows(_sums(magnitude * shares, parts))
        total = windows(_sums(magnitude, parts))
    relevance = activity / (total + _eps(total))
    pointwise = weight.shape[2:] == (1, 1) and groups == 1 and value.shape[2:] == input.shape[2:]
    layer = (input, weight) if pointwise else None
    return _with_share(value, _Share(relevance, sparse=groups > 1, layer=layer))


def _linear(linear: Function, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The ordinary gradient, or TSGB-FC in the classifier."""
    value = linear(input.detach(), weight, bias)
    return _Linear.apply(value, input, weight)  # type: ignore[no-any-return, no-untyped-call]


def _relu(relu: Function, input: Tensor) -> Tensor:
    """The ordinary gradient, which leaves relevance as it is: the output is the input or zero."""
    known = _share_of(input)
    if known.relevance is None:
        output = relu(input)
        return _remember(output, _Share(None, sparse=True, rectified=True))
    return _with_share(relu(input.detach()), replace(known, sparse=True, rectified=True))


def _batch_norm(batch_norm: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Gradient ⊙ output / input: relevance is left as it is."""
    value = batch_norm(input.detach(), *args, **kwargs)
    known = _share_of(input)
    # Zeros take no relevance, so it is only left as it is where there are none. And in double
    # precision the authors' EPS does show.
    if known.relevance is None or known.sparse or torch.finfo(value.dtype).eps < EPS:
        return substitute(value, input * (value * _inverse(input.detach())))
    return _with_share(value, _Share(known.relevance))


def _avg_pool2d(avg_pool2d: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Relevance goes back through the pool as a gradient would: Pᵀ(gradient ⊙ output) / input."""
    value = avg_pool2d(input.detach(), *args, **kwargs)
    inverse = _inverse(input.detach())
    return substitute(value, avg_pool2d(input * inverse, *args, **kwargs) * value)


def _layer_norm(
    layer_norm: Function,
    input: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *args: Any,
) -> Tensor:
    """The gradient for a constant deviation (Ali et al. 2022, XAI for Transformers, eq. 9).

    The ordinary gradient is orthogonal to the input: it leaves no relevance at all, anywhere.
    """
    axes = tuple(range(-len(shape), 0))
    centred = input - input.mean(axes, keepdim=True)
    deviation = (centred.detach().square().mean(axes, keepdim=True) + eps).sqrt()
    scaled = centred / deviation
    value = layer_norm(input.detach(), shape, weight, bias, eps, *args)
    return substitute(value, scaled if weight is None else scaled * weight)


def _no_attention(function: Function, *args: Any, **kwargs: Any) -> Any:
    if sum(tensor.requires_grad for tensor in tensors((args, kwargs))) < 2:
        return function(*args, **kwargs)
    # Not a TypeError: Python would take that for an unsupported operand of `@`.
    raise ValueError(
        f"TSGB is defined for convolutional networks, and this one multiplies activations with "
        f"each other ({function.__name__}), as attention does; for transformers use 'grad_cam', "
        "'layer_cam', 'input_x_gradient' or 'integrated_gradients'"
    )


# --------------------------------------------------------------------------- relevance


@dataclass(frozen=True)
class _Share:
    """What is known of a tensor that a rule made.

    relevance: (B, groups, h, w), whose gradient is the tensor's relevance summed over the channels
        of each group; None where only the ordinary gradient leads back. Its values are all 1.
    sparse: whether it can be zero where the input that it was computed from is not: behind a ReLU,
        and where a channel sees few of the channels before.
    rectified: whether it comes from a ReLU: not negative, and zero where no gradient passes.
    layer: input and weight of a 1×1 convolution that could turn out to be the classifier.
    version: of the tensor when this was found; a change in place makes it void.
    """

    relevance: Tensor | None = None
    sparse: bool = False
    rectified: bool = False
    layer: tuple[Tensor, Tensor] | None = None
    version: int = 0


_UNKNOWN = _Share()


def _share_of(tensor: Tensor) -> _Share:
    share: _Share = getattr(tensor, "_tsgb_share", _UNKNOWN)
    return share if share.version == tensor._version else _UNKNOWN


def _remember(tensor: Tensor, share: _Share) -> Tensor:
    setattr(tensor, "_tsgb_share", replace(share, version=tensor._version))  # noqa: B010
    return tensor


def _with_share(value: Tensor, share: _Share) -> Tensor:
    layer = share.layer or (None, None)
    output = _Relevance.apply(value, share.relevance, *layer)  # type: ignore[no-untyped-call]
    return _remember(output, share)


class _Relevance(torch.autograd.Function):
    """A value whose gradient goes back as relevance; or through the 1×1 convolution it is, if this
    turns out to be the classifier."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, relevance: Tensor, input: Tensor | None, weight: Tensor | None
    ) -> Tensor:
        ctx.groups = relevance.shape[1]
        ctx.save_for_backward(value, input, weight)
        if weight is not None:
            ctx.balanced = False
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        value, input, weight = ctx.saved_tensors
        if not getattr(ctx, "balanced", False):
            return None, _sums(gradient * value, ctx.groups), None, None
        through_relu = gradient.where(value != 0, 0).movedim(1, -1)
        passed = _balanced(through_relu, input.movedim(1, -1), weight.flatten(1))
        return None, None, passed.movedim(-1, 1), None


class _Linear(torch.autograd.Function):
    """A linear layer with its ordinary gradient; balanced if it turns out to be the classifier."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, input: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(None, input, weight)
        ctx.balanced = False
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        _, input, weight = ctx.saved_tensors
        return None, _balanced(gradient, input, weight) if ctx.balanced else gradient @ weight, None


def _balanced(gradient: Tensor, input: Tensor, weight: Tensor) -> Tensor:
    """TSGB-FC: Σ_c g_c (w⁺_c + β_c w⁻_c) with β_c = x·w⁺_c / |x·w⁻_c|.

    gradient (B, ..., classes), input (B, ..., features), weight (classes, features). Where the
    layer is applied at several places, x·w is summed over them, weighted by |g_c|: were they
    balanced one by one, no place would have any relevance. Only classes with a gradient are
    multiplied out. Where x·w⁻ = 0 there is nothing to balance, and β is 0.
    """
    classes = gradient.flatten(0, -2).any(0).nonzero()[:, 0]
    g = gradient[..., classes].reshape(len(input), -1, len(classes))
    x = input.reshape(len(input), -1, input.shape[-1])
    positive, negative = weight[classes].clamp(min=0), weight[classes].clamp(max=0)
    speaks_for = (x @ positive.T * g.abs()).sum(1, keepdim=True)
    against = (x @ negative.T * g.abs()).sum(1, keepdim=True)
    beta = (speaks_for / against.abs()).nan_to_num(nan=0, posinf=0, neginf=0)
    return (g @ positive + (g * beta) @ negative).reshape(input.shape)


def _classifier(probe: Probe, name: str | None) -> Any:
    """The node of the classifier: the one with this name, or the nearest to the scores."""
    scores = logits(probe.outputs)
    weight = None if name is None else _weight_of(probe.model, name)
    for node in nodes(scores):
        if hasattr(node, "balanced") and (
            weight is None or node.saved_tensors[2].data_ptr() == weight.data_ptr()
        ):
            return node
    raise ValueError(
        "TSGB balances the weights of the last Linear or 1×1 convolution before the scores, and "
        "found none; name one with the option classifier"
        if name is None
        else f"classifier {name!r} has no part in the scores, or is wider than 1×1"
    )


def _weight_of(model: nn.Module, name: str) -> Tensor:
    module = dict(model.named_modules()).get(name)
    if not isinstance(module, nn.Linear | nn.Conv2d):
        raise ValueError(
            f"classifier {name!r} should be the name of a Linear or Conv2d of the network"
        )
    return module.weight


def _sums(maps: Tensor, groups: int) -> Tensor:
    """Sums over the channels of each group: (B, C, h, w) -> (B, groups, h, w)."""
    b, c, *size = maps.shape
    return maps.reshape(b, groups, c // groups, *size).sum(2)


def _magnitude(tensor: Tensor, share: _Share) -> Tensor:
    return tensor if share.rectified else tensor.abs()


def _inverse(value: Tensor) -> Tensor:
    """1 / value; 0 where the value is too small for that."""
    return torch.where(value.abs() < 10 * _eps(value), 0, 1 / (value + _eps(value)))


def _eps(tensor: Tensor) -> float:
    return max(EPS, torch.finfo(tensor.dtype).tiny)
