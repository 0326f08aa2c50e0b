"""Target-selective gradient backprop (TSGB): gradients that follow activations and not weights.

The rules are written in terms of *relevance*, gradient ⊙ value. A convolution needs of its output
only the relevance summed over channels, which a batch norm and an activation leave as it is. So one
channel travels beside the output of a convolution (its `_Share`) through these to the next
convolution, and what lies between needs neither gradients nor memory. Wherever anything else reads
such a tensor, it meets an ordinary node of the graph that turns its gradient into relevance.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import GradientEdge
from torch.nn.grad import conv1d_input, conv2d_input, conv3d_input

from seewhy.core.probe import Probe
from seewhy.core.rules import Rules, nearest, substitute, tensors
from seewhy.core.targets import Score
from seewhy.methods.gradients import relevance
from seewhy.naming import method
from seewhy.options import NotNegative

Function = Callable[..., Tensor]
Groups = Literal["separate", "joint"]
Activations = Literal["kept", "gradient"]
Strides = Literal["even", "uneven"] | None

EPS = 1e-10  # as in the authors' code


@method("Cheng et al. 2022, TSGB: Target-selective gradient backprop", passes="F + rule pass")
def tsgb(
    probe: Probe,
    *,
    balance: NotNegative = 1.0,
    groups: Groups = "separate",
    activations: Activations = "kept",
    strides: Strides = None,
    signed: bool = False,
) -> Tensor:
    """The positive part of Σ_channels gradient ⊙ value of the TSGB backward pass.

    At the input and its resolution, or at the probe's layers if any were named.

    balance: weight of the classifier's negative contributions relative to the positive ones; the
        authors use 0.75 to 0.9 for ResNets.
    groups: "separate" distributes relevance within each group of a grouped convolution, "joint"
        across all groups, as in the authors' code.
    activations: "kept" passes relevance unchanged through all element-wise activations, as the
        authors do for ReLUs; "gradient" uses the ordinary gradient of all others, as in the
        authors' code, and loses the strongest evidence where they saturate (ReLU6 above 6).
    strides: with a stride, some cells lie in more windows than their neighbours. "even" corrects
        for that; "uneven" does not, as in the authors' code, and draws a grid. None is "even" if
        activations other than ReLUs are "kept", otherwise "uneven".
    signed: return the whole sum instead of its positive part; the authors show the positive part.

    In a product with a gate (a sigmoid, one number per channel, a constant) all relevance goes to
    the gated signal. With groups="joint", activations="gradient" and signed=True the maps equal
    those of the authors' code.

    Raises ValueError for networks with attention, for which TSGB is not defined.
    """
    maps = relevance(selective(probe, balance, groups, activations, strides))
    return maps if signed else maps.clamp(min=0)


def selective(
    probe: Probe,
    balance: float = 1.0,
    groups: Groups = "separate",
    activations: Activations = "kept",
    strides: Strides = None,
) -> Probe:
    """The same question under TSGB's backward pass; one forward pass serves all targets."""

    def ruled() -> Probe:
        return probe.with_rules(rules(groups, activations, strides), probe.named)

    shared: Probe = probe.shared(("tsgb", groups, activations, strides, probe.named), ruled)
    return _balanced(shared.with_target(probe.asked), balance)


def rules(
    groups: Groups = "separate", activations: Activations = "kept", strides: Strides = None
) -> Rules:
    """The rules of TSGB for one forward pass."""
    return _Pass(groups, activations, strides).table()


# ------------------------------------------------------------------------------ the classifier


@dataclass
class _Weighted:
    """A linear layer or convolution, (input, weight) -> output, which may be the classifier."""

    layer: Callable[[Tensor, Tensor], Tensor]
    input: Tensor
    weight: Tensor


def _balanced(ruled: Probe, balance: float) -> Probe:
    """The probe of a score whose gradient at the classifier's input is the balanced one."""
    score = ruled.target(ruled.outputs)
    starts = []
    for node in nearest(score, lambda node: _classifier(node) is not None):
        classifier, edge = _classifier(node), GradientEdge(node, 0)
        (gradient,) = torch.autograd.grad(score.sum(), edge, retain_graph=True, allow_unused=True)
        if classifier is not None and gradient is not None:
            starts.append((classifier.input, _balance(gradient, classifier, balance)))

    def linear(_: Any) -> Tensor:
        return torch.stack([(x * gradient).flatten(1).sum(1) for x, gradient in starts]).sum(0)

    return ruled.with_target(Score(linear)) if starts else ruled


def _classifier(node: Any) -> _Weighted | None:
    """The layer whose output a node of the graph is, or of whose activation."""
    weighted: Callable[[], _Weighted | None] = getattr(node, "weighted", lambda: None)
    return weighted()


def _balance(gradient: Tensor, classifier: _Weighted, balance: float) -> Tensor:
    """TSGB-FC: Σ_c g_c (w⁺_c + β_c w⁻_c) with β_c = balance · x·w⁺_c / |x·w⁻_c|.

    Where the layer is applied at several places, x·w is summed over them, weighted by |g_c|: were
    they balanced one by one, no place would have any relevance. Only classes with a gradient are
    multiplied out. Where x·w⁻ = 0 there is nothing to balance, and β is 0.
    """
    layer, weight = classifier.layer, classifier.weight
    axis = 1 if weight.ndim > 2 else -1  # of the classes
    chosen = gradient.movedim(axis, 0).flatten(1).any(1).nonzero()[:, 0]
    if weight.ndim == 2:  # convolutions may have groups
        gradient, weight = gradient[..., chosen], weight[chosen]
    with torch.enable_grad():
        x = classifier.input.detach().requires_grad_()
        speaking, against = layer(x, weight.clamp(min=0)), layer(x, weight.clamp(max=0))

    def total(output: Tensor) -> Tensor:
        weighed = output.detach() * gradient.abs()
        others = [d for d in range(1, output.ndim) if d != axis % output.ndim]
        return weighed.sum(others, keepdim=True, dtype=_precise(output)) if others else weighed

    beta = balance * total(speaking) / total(against).abs()
    beta = beta.nan_to_num(nan=0, posinf=0, neginf=0).to(gradient)
    (passed,) = torch.autograd.grad((speaking, against), x, (gradient, gradient * beta))
    return passed


# ------------------------------------------------------------------------------ the rules


class _Share(NamedTuple):
    """What is known of a tensor that a rule made.

    relevance: (B, groups, h, w), whose gradient is the tensor's relevance summed over the channels
        of each group; None where only the ordinary gradient leads back. Its values mean nothing.
    sparse: whether it can be zero where the input that it was computed from is not: behind an
        activation, and where a channel sees few of the channels before.
    rectified: whether it comes from a ReLU: not negative, and zero where no gradient passes.
    weighted: the convolution, if it is one, or an activation behind one.
    pads: how many cells on each side are padding, as `F.pad` takes it.
    """

    relevance: Tensor | None = None
    sparse: bool = False
    rectified: bool = False
    gate: bool = False
    pads: tuple[int, ...] = ()
    weighted: Callable[[], _Weighted | None] = lambda: None


@dataclass
class _Strides:
    """Whether strided windows are made even; None is no, until the network is seen."""

    even: bool | None

    def beyond(self) -> None:
        """The network has an activation that is not in the authors' networks."""
        if self.even is None:
            self.even = True


_UNKNOWN = _Share()
_INPUT = {1: conv1d_input, 2: conv2d_input, 3: conv3d_input}
_CONVOLUTION = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class _Pass:
    """The rules of TSGB for one forward pass, and what they know of its tensors."""

    def __init__(self, groups: Groups, activations: Activations, strides: Strides) -> None:
        self.separate, self.kept = groups == "separate", activations == "kept"
        self.strides = _Strides(None if strides is None else strides == "even")
        # By the tensors' ids, with the tensor and its version when this was found: a change in
        # place makes it void.
        self.shares: dict[int, tuple[weakref.ref[Tensor], int, _Share]] = {}
        # The convolutions wider than 1×1 that may be the classifier: only the last may, and the
        # input of each would take memory.
        self.last: deque[_Weighted] = deque(maxlen=4)

    def table(self) -> Rules:
        """The rules: everything else keeps its ordinary gradient."""
        activations = (
            F.relu, F.relu6, F.hardtanh, F.leaky_relu, F.prelu, F.rrelu, F.elu, F.selu, F.celu,
            F.gelu, F.silu, F.mish, F.hardswish, torch.tanh,
        )  # fmt: skip
        attention = (
            torch.matmul, torch.bmm, torch.einsum, F.scaled_dot_product_attention,
            F.multi_head_attention_forward,
        )  # fmt: skip
        averages = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
        return {
            **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), self.convolution),
            **dict.fromkeys(activations, self.activation),
            **dict.fromkeys((torch.sigmoid, F.hardsigmoid), self.gate),
            **dict.fromkeys(averages, _average_pool),
            **dict.fromkeys(attention, _no_attention),
            F.linear: self.linear,
            F.pad: self.pad,
            F.batch_norm: self.batch_norm,
            F.layer_norm: _layer_norm,
            torch.mul: self.product,
        }

    def share(self, tensor: Tensor) -> _Share:
        """What is known of a tensor."""
        found = self.shares.get(id(tensor))
        if found is None:
            return _UNKNOWN
        of, version, share = found
        return share if of() is tensor and tensor._version == version else _UNKNOWN

    def remember(self, tensor: Tensor, share: _Share) -> Tensor:
        """The tensor, of which this is known from now on."""
        key, shares = id(tensor), self.shares
        of = weakref.ref(tensor, lambda _: shares.pop(key, None))
        shares[key] = (of, tensor._version, share)
        return tensor

    def with_share(self, value: Tensor, share: _Share) -> Tensor:
        """A value whose gradient goes back as relevance."""
        output = _Relevance.apply(value, share.relevance, share.weighted)  # type: ignore[no-untyped-call]
        return self.remember(output, share)

    def convolution(
        self,
        function: Function,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
    ) -> Tensor:
        """TSGB-Conv: an output's relevance is shared out over its window in proportion to |input|.

        Per window the share is Σ|x| over its part of the window / Σ|x| over the window.
        """
        value = function(input.detach(), weight, bias, stride, padding, dilation, groups)
        parts = groups if self.separate else 1
        known = self.share(input)
        # The finest division that both the shares that come in and those that go out respect.
        fine = parts if known.relevance is None else math.lcm(known.relevance.shape[1], parts)
        magnitude = _magnitude(input.detach(), known.rectified, fine)
        size = value.shape[2:]
        window = _Window(
            weight.shape[2:], stride, padding, dilation, parts, size, known.pads, self.strides
        )
        relevance = _Spread.apply(  # type: ignore[no-untyped-call]
            input if known.relevance is None else known.relevance,
            magnitude,
            window,
            known.relevance is None,
            known.rectified,
        )

        def layer(x: Tensor, w: Tensor) -> Tensor:
            return function(x, w, None, stride, padding, dilation, groups)

        weighted = _Weighted(layer, input, weight)
        if math.prod(weight.shape[2:]) == 1 and groups == 1:
            return self.with_share(value, _Share(relevance, weighted=lambda: weighted))
        self.last.append(weighted)
        share = _Share(relevance, sparse=groups > 1, weighted=weakref.ref(weighted))
        return self.with_share(value, share)

    def linear(
        self, linear: Function, input: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """The ordinary gradient, unless it is the classifier."""
        weighted = _Weighted(lambda x, w: linear(x, w), input, weight)
        value = linear(input.detach(), weight, bias)
        return _Linear.apply(value, input, weight, weighted)  # type: ignore[no-untyped-call, no-any-return]

    def activation(self, function: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Relevance is left as it is: gradient ⊙ output / input.

        Of a ReLU that is the ordinary gradient. Of the others the ordinary one would lose what is
        strongest, where they saturate.
        """
        known = self.share(input)
        rectified = function.__name__ in ("relu", "relu6")
        relu = function.__name__ == "relu"
        if not self.kept and not relu:
            return self.remember(function(input, *args, **kwargs), _Share(rectified=rectified))
        if not relu:
            self.strides.beyond()
        if known.relevance is not None:
            value = function(input.detach(), *args, **kwargs)
            return self.with_share(value, known._replace(sparse=True, rectified=rectified))
        if relu:
            output = function(input, *args, **kwargs)
        else:
            x = input.detach()
            value = function(x, *args, **kwargs)
            output = substitute(value, input * torch.where(x == 0, 0, value / x))
        return self.remember(output, _Share(sparse=True, rectified=rectified))

    def pad(
        self,
        function: Function,
        input: Tensor,
        pad: Sequence[int],
        mode: str = "constant",
        value: float | None = None,
    ) -> Tensor:
        """The ordinary gradient; a strided convolution asks which cells are zeros from here."""
        output = function(input, pad, mode, value)
        if mode != "constant" or value or min(pad) < 0 or len(pad) > 2 * (input.ndim - 2):
            return output
        return self.remember(output, _Share(rectified=self.share(input).rectified, pads=(*pad,)))

    def gate(self, function: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The ordinary gradient; a product with the result gives it none."""
        return self.remember(function(input, *args, **kwargs), _Share(gate=True))

    def product(self, mul: Function, a: Any, b: Any, **kwargs: Any) -> Tensor:
        """All relevance goes to what is gated: by a sigmoid, by one number per channel, by a
        constant."""
        signal, factor = (b, a) if self.is_gate(a, b) else (a, b)
        if not self.is_gate(factor, signal):
            return mul(a, b, **kwargs)
        factor = factor.detach() if isinstance(factor, Tensor) else factor
        known = self.share(signal)
        if known.relevance is None:
            return mul(signal, factor, **kwargs)
        value = mul(signal.detach(), factor, **kwargs)
        # A constant of another sign or size may follow: no longer a ReLU's.
        return self.with_share(value, known._replace(sparse=True, rectified=False))

    def is_gate(self, factor: Any, signal: Any) -> bool:
        """Whether a factor lets through a part of the signal."""
        if not isinstance(signal, Tensor) or not signal.requires_grad:
            return False
        if not isinstance(factor, Tensor) or not factor.requires_grad:
            return not isinstance(factor, Tensor) or _broadcasts(factor, signal)
        if factor.ndim != signal.ndim:
            return False
        broadcast = factor.numel() < signal.numel() and signal.ndim > 2
        return self.share(factor).gate or broadcast

    def batch_norm(self, function: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Gradient ⊙ output / input: relevance is left as it is."""
        value = function(input.detach(), *args, **kwargs)
        known = self.share(input)
        # Zeros take no relevance, so it is only left as it is where there are none. And in double
        # precision the authors' EPS does show.
        if known.relevance is None or known.sparse or torch.finfo(value.dtype).eps < EPS:
            return substitute(value, input * (value * _inverse(input.detach())))
        return self.with_share(value, known._replace(rectified=False))


def _broadcasts(factor: Tensor, signal: Tensor) -> bool:
    """Whether a factor takes on the signal's shape, and not the other way round."""
    sides = zip(reversed(factor.shape), reversed(signal.shape), strict=False)
    return factor.ndim <= signal.ndim and all(a in (1, b) for a, b in sides)


def _average_pool(pool: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Relevance goes back through the pool as a gradient would: Pᵀ(gradient ⊙ output) / input."""
    value = pool(input.detach(), *args, **kwargs)
    inverse = _inverse(input.detach())
    return substitute(value, pool(input * inverse, *args, **kwargs) * value)


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
        f"each other ({function.__name__}), as attention does; for transformers use "
        "'attention_gradient', 'le_grad', 'grad_cam', 'layer_cam' or 'integrated_gradients'"
    )


# --------------------------------------------------------------------------- relevance


class _Relevance(torch.autograd.Function):
    """A value whose gradient goes back as relevance, summed over the channels of each group."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, relevance: Tensor, weighted: Callable[[], _Weighted | None]
    ) -> Tensor:
        ctx.groups, ctx.weighted = relevance.shape[1], weighted
        ctx.save_for_backward(value)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        (value,) = ctx.saved_tensors
        return None, _sums(gradient * value, ctx.groups), None


class _Linear(torch.autograd.Function):
    """A linear layer's value with its ordinary gradient."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, input: Tensor, weight: Tensor, weighted: _Weighted
    ) -> Tensor:
        ctx.weight, ctx.weighted = weight, lambda: weighted
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None]:
        return None, gradient @ ctx.weight, None, None


class _Spread(torch.autograd.Function):
    """The relevance of a convolution's output, from that of its input, or from the input itself.

    Backward, each output's relevance goes to its window in proportion to the input's magnitude;
    to an input whose own relevance is unknown as a gradient, relevance / input.
    """

    @staticmethod
    def forward(
        ctx: Any,
        source: Tensor,
        magnitude: Tensor,
        window: _Window,
        as_gradient: bool,
        rectified: bool,
    ) -> Tensor:
        ctx.window, ctx.as_gradient = window, as_gradient
        ctx.groups, ctx.dtype = source.shape[1], source.dtype
        ctx.save_for_backward(magnitude, source if as_gradient and not rectified else None)
        # Nobody reads the values: one number for all of them.
        shape = (len(source), window.parts, *window.size)
        return torch.zeros((), dtype=magnitude.dtype, device=source.device).expand(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None, None, None, None]:
        magnitude, input = ctx.saved_tensors
        window: _Window = ctx.window
        share = window.share(relevance, _sums(magnitude, window.parts))
        if not ctx.as_gradient:
            shared = magnitude * _repeated(share, magnitude.shape[1])
            return _sums(shared, ctx.groups), None, None, None, None
        gradient = _repeated(share, ctx.groups).to(ctx.dtype)
        return gradient if input is None else gradient * input.sign(), None, None, None, None


@dataclass
class _Window:
    """The windows of a convolution, whose channels are taken together within each of the `parts`.

    size: resolution of the output. pads: which of the cells are padding already.
    strides: whether they are made even. With a stride, some cells lie in more windows than their
        neighbours, and cells at the border share with nobody; a few such layers draw a grid and a
        bright border into the map.
    """

    kernel: tuple[int, ...]
    stride: int | tuple[int, ...]
    padding: int | tuple[int, ...] | str
    dilation: int | tuple[int, ...]
    parts: int
    size: tuple[int, ...]
    pads: tuple[int, ...]
    strides: _Strides

    def __post_init__(self) -> None:
        """Find out whether each window is one cell, and there is one for each cell."""
        self.stepping = self.stride != 1 and set(_each(self.stride)) != {1}
        one_cell = math.prod(self.kernel) == 1 and not self.stepping
        self.single = one_cell and not any(_each(self._pads()))

    def share(self, relevance: Tensor, magnitude: Tensor) -> Tensor:
        """What a cell's magnitude is worth: the relevance of its windows / their magnitude.

        relevance: (B, parts, h', w'); magnitude: (B, parts, h, w).
        """
        size = magnitude.shape[2:]
        if not (self.strides.even and self.stepping):
            return self.spread(relevance / (self.sums(magnitude) + EPS), size)
        once, inside = self._evenness(magnitude)
        total = self.sums(magnitude * once)
        return self.spread(relevance * inside / (total + EPS), size) * once

    def _evenness(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """What a cell counts in each of its windows, and which part of a window is in the image.

        The first is 1 / (number of its windows), (1, 1, h, w), the second (1, 1, h', w'). What
        falls on the padding is lost.
        """
        one, ones = replace(self, parts=1), maps.new_ones(1, 1, *self.size)
        once = 1 / one.spread(ones, maps.shape[2:]).clamp(min=1)
        inner = [side - sum(p) for side, p in zip(maps.shape[2:], self._padded(), strict=True)]
        image = F.pad(maps.new_ones(1, 1, *inner), self.pads)
        # In a window away from the border the cells count as much as there are cells for each.
        whole = math.prod(len({step * d % s for step in range(k)}) for k, s, d in self._sides())
        return once, (one.sums(once * image) / whole).clamp(max=1)

    def _sides(self) -> Iterable[tuple[int, int, int]]:
        """Kernel, stride and dilation of each side."""
        stride, dilation = (
            [given] * len(self.kernel) if isinstance(given, int) else given
            for given in (self.stride, self.dilation)
        )
        return zip(self.kernel, stride, dilation, strict=True)

    def _padded(self) -> list[Sequence[int]]:
        """Before and behind each side."""
        pairs = [self.pads[i : i + 2] for i in range(0, len(self.pads), 2)]
        return [*[(0, 0)] * (len(self.kernel) - len(pairs)), *reversed(pairs)]

    def sums(self, maps: Tensor) -> Tensor:
        """The sum over each window: (B, parts, h, w) -> (B, parts, h', w')."""
        if self.single:
            return maps
        convolution = _CONVOLUTION[len(self.kernel)]
        return convolution(
            maps, self._ones(maps), None, self.stride, self.padding, self.dilation, self.parts
        )

    def spread(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """The transpose: each window's value to all of its cells, added up."""
        if self.single:
            return maps
        shape = (*maps.shape[:2], *size)
        found: Tensor = _INPUT[len(self.kernel)](  # type: ignore[no-untyped-call]
            shape, self._ones(maps), maps, self.stride, self._pads(), self.dilation, self.parts
        )
        return found

    def _ones(self, maps: Tensor) -> Tensor:
        return maps.new_ones(self.parts, 1, *self.kernel)

    def _pads(self) -> int | tuple[int, ...]:
        if not isinstance(self.padding, str):
            return self.padding
        if self.padding == "valid":
            return 0
        return tuple(d * (k - 1) // 2 for k, _, d in self._sides())


def _each(sides: int | Sequence[int]) -> Sequence[int]:
    return (sides,) if isinstance(sides, int) else sides


def _magnitude(input: Tensor, rectified: bool, groups: int) -> Tensor:
    """Σ|x| over the channels of each group, in single precision at least: (B, groups, h, w)."""
    return _sums(input if rectified else input.abs(), groups)


def _sums(maps: Tensor, groups: int) -> Tensor:
    """Sums over the channels of each group: (B, C, h, w) -> (B, groups, h, w)."""
    if maps.shape[1] == groups:
        return maps.to(_precise(maps))
    if groups == 1:
        return maps.sum(1, keepdim=True, dtype=_precise(maps))
    b, c, *size = maps.shape
    return maps.reshape(b, groups, c // groups, *size).sum(2, dtype=_precise(maps))


def _repeated(maps: Tensor, channels: int) -> Tensor:
    """Each group's value for each of its channels: (B, groups, h, w) -> (B, channels, h, w)."""
    groups = maps.shape[1]
    if groups == 1:
        return maps.expand(-1, channels, *maps.shape[2:])
    return maps.repeat_interleave(channels // groups, 1) if channels != groups else maps


def _precise(tensor: Tensor) -> torch.dtype:
    return _promoted(tensor.dtype)


@lru_cache
def _promoted(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _inverse(value: Tensor) -> Tensor:
    """1 / value; 0 where the value is too small for that."""
    eps = max(EPS, torch.finfo(value.dtype).tiny)
    return torch.where(value.abs() < 10 * eps, 0, 1 / (value + eps))
