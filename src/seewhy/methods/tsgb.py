"""Target-selective gradient backprop (TSGB): gradients that follow activations and not weights.

The rules are written in terms of *relevance*, gradient ⊙ value. A convolution needs of its output
only the relevance summed over channels, which a batch norm and an activation leave as it is. So
what leaves a convolution carries its `_Shares`, a step of the backward walk, through these to the
next convolution, and what lies between needs neither gradients nor memory. Wherever anything else
reads such a tensor, its node in the graph turns the gradient into relevance for that step.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.core.gates import broadcasts, gated, is_sigmoid, made_by
from seewhy.core.probe import Probe
from seewhy.core.rules import (
    LIKE_RELU,
    Edge,
    Rules,
    apply_of,
    check_kept,
    nearest,
    passing,
    substitute,
    tensors,
)
from seewhy.core.targets.parts import with_gradients
from seewhy.core.walk import edges_to, gradients, walk
from seewhy.methods.gradients import relevance
from seewhy.naming import method
from seewhy.options import NotNegative

Function = Callable[..., Tensor]
Groups = Literal["separate", "joint"]
Activations = Literal["kept", "gradient"]
Strides = Literal["even", "uneven"] | None

EPS = 1e-10  # as in the authors' code
LAST = 4  # convolutions that may be the classifier; of few networks it is an earlier one


@method(
    "Cheng et al. 2022, TSGB: Target-selective gradient backprop",
    passes="F + rule pass",
    layers="named",
)
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

    The map is taken at the input, or at the layers that you name.

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
    the gated signal. Constants that are added per channel get none, so a network may normalise its
    input itself. A convolution with a single window counts as a fully-connected layer. Apart from
    these three cases, the maps with groups="joint", activations="gradient" and signed=True equal
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

    def under(last: int | None) -> Probe:
        def ruled() -> Probe:
            table = rules(groups, activations, strides, last)
            return probe.with_rules(table, probe.named, gradients)

        key = ("tsgb", groups, activations, strides, last, probe.named)
        shared: Probe = probe.shared(key, ruled)
        return shared.with_target(probe.asked)

    for last in (LAST, None):  # of a network with many heads by a pass that remembers all
        ruled = under(last)
        score = ruled.scored()
        ends = {(node, 0): _noted(node)() for node in nearest(score, _noted)}
        if all(ends.values()):
            break
    return _balanced(ruled, score, ends, balance)


def rules(
    groups: Groups = "separate",
    activations: Activations = "kept",
    strides: Strides = None,
    last: int | None = LAST,
) -> Rules:
    """The rules of TSGB for one forward pass; gradients are those of a walk.

    last: of how many convolutions wider than 1×1 the inputs are kept, which take memory; None is
        all of them.
    """
    return _Pass(groups, activations, strides, last).table()


# ------------------------------------------------------------------------------ the classifier


@dataclass
class _Weighted:
    """A linear layer or convolution, (input, weight) -> output, which may be the classifier."""

    layer: Callable[[Tensor, Tensor], Tensor]
    input: Tensor
    weight: Tensor


def _balanced(
    ruled: Probe, score: Tensor, ends: dict[tuple[Any, int], _Weighted | None], balance: float
) -> Probe:
    """The probe of a score whose gradient at the classifier's input is the balanced one.

    ends: the layer nearest to the score on each path, by its node.
    """
    if not ends:
        return ruled
    starts = [
        (classifier.input, _balance(gradient, classifier, balance))
        for end, gradient in walk(score, ends, through=False).items()
        if (classifier := ends[end]) is not None
    ]
    images = len(ruled.inputs)
    return ruled.with_target(with_gradients(starts, images)) if starts else ruled


def _noted(node: Any) -> Any:
    """What returns the layer whose output a node of the graph is, or went into its activation.

    None for any other node.
    """
    return getattr(node, "metadata", {}).get("seewhy_weighted")  # the walk's own nodes have none


def _balance(gradient: Tensor, classifier: _Weighted, balance: float) -> Tensor:
    """TSGB-FC: Σ_c g_c (w⁺_c + β_c w⁻_c) with β_c = balance · x·w⁺_c / |x·w⁻_c|.

    Where the layer is applied at several places, x·w is summed over them, weighted by |g_c|: were
    they balanced one by one, no place would have any relevance. On a CPU only classes with a
    gradient are multiplied out. Where x·w⁻ = 0 there is nothing to balance, and β is 0. Of an
    activation behind it g is the gradient, also where a ReLU is off: as if there was none.
    """
    layer, weight = classifier.layer, classifier.weight
    axis = 1 if weight.ndim > 2 else -1  # of the classes
    # Convolutions may have groups. An accelerator multiplies out all sooner than it tells which.
    if weight.ndim == 2 and gradient.device.type == "cpu":
        chosen = gradient.reshape(-1, gradient.shape[-1]).any(0).nonzero()[:, 0]
        gradient, weight = gradient[..., chosen], weight[chosen]
    with torch.enable_grad():
        # Autocast may have made the input a half.
        x = classifier.input.detach().to(weight.dtype).requires_grad_()
        speaking, against = layer(x, weight.clamp(min=0)), layer(x, weight.clamp(max=0))

    def total(output: Tensor) -> Tensor:
        weighed = output.detach() * gradient.abs()
        others = [d for d in range(1, output.ndim) if d != axis % output.ndim]
        return (
            weighed.sum(others, keepdim=True, dtype=_precise(output.dtype)) if others else weighed
        )

    beta = balance * total(speaking) / total(against).abs()
    beta = beta.nan_to_num(nan=0, posinf=0, neginf=0).to(gradient)
    (passed,) = torch.autograd.grad((speaking, against), x, (gradient, gradient * beta))
    return passed


# ------------------------------------------------------------------------------ the rules


class _Known(NamedTuple):
    """What is known of a tensor that a rule made; its node in the graph holds it.

    shares: where its relevance goes, summed over the channels of each group: (B, groups, h, w).
    sparse: whether the tensor can be zero where the convolution's output is not: behind an
        activation, and where a channel sees few of the channels before.
    rectified: whether it comes from a ReLU: not negative, and zero where no gradient passes.
    weighted: the convolution, if it is one, or an activation behind one.
    """

    shares: _Shares
    sparse: bool
    rectified: bool
    weighted: Callable[[], _Weighted | None]


def _known(tensor: Tensor) -> _Known | None:
    """What is known of a tensor, unless it was made by no rule, or written into since."""
    node: Any = tensor.grad_fn
    known: _Known | None = getattr(node, "seewhy_known", None)
    return known if known is None or node.version == tensor._version else None


@dataclass
class _Strides:
    """Whether strided windows are made even; None is no, until the network is seen.

    That is when it has an activation that is not in the authors' networks.
    """

    even: bool | None

    def saw_activation(self) -> None:
        self.even = True if self.even is None else self.even


class _Pass:
    """The rules of TSGB for one forward pass."""

    def __init__(
        self, groups: Groups, activations: Activations, strides: Strides, last: int | None
    ) -> None:
        self.separate, self.kept = groups == "separate", activations == "kept"
        self.strides = _Strides(None if strides is None else strides == "even")
        # The convolutions wider than 1×1 that may be the classifier.
        # The input of each takes memory.
        self.last: deque[_Weighted] = deque(maxlen=last)

    def table(self) -> Rules:
        """The rules: everything else keeps its ordinary gradient."""
        attention = (
            torch.matmul, torch.bmm, torch.einsum, F.scaled_dot_product_attention,
            F.multi_head_attention_forward,
        )  # fmt: skip
        averages = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
        return {
            **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), self.convolution),
            **dict.fromkeys((F.relu, *LIKE_RELU), self.activation),
            **dict.fromkeys(averages, _average_pool),
            **dict.fromkeys(attention, _no_attention),
            F.linear: _linear,
            **dict.fromkeys((F.batch_norm, F.group_norm, F.instance_norm), _norm),
            F.layer_norm: _layer_norm,
            torch.mul: self.product,
            **dict.fromkeys((torch.add, torch.sub, torch.rsub), _shift),
        }

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

        Per window the share is Σ|x| over its part of the window / Σ|x| over the window. With a
        single window it is a fully-connected layer, and has the ordinary gradient: the relevance of
        all channels together, which a balanced classifier makes 0, would be all that is shared out.
        """
        if input.ndim < weight.ndim:  # an image by itself
            return self.convolution(
                function, input[None], weight, bias, stride, padding, dilation, groups
            )[0]
        kernel = weight.shape[2:]
        if isinstance(padding, str):
            input, padding = _padded(input, padding, kernel, dilation)

        def layer(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
            return function(x, w, b, stride, padding, dilation, groups)

        value = layer(input, weight, bias)
        if math.prod(value.shape[2:]) == 1:
            return _ordinary(value, layer, input, weight, bias)
        x, known = input.detach(), _known(input)
        weighted = _Weighted(layer, input, weight)
        strides, paddings, dilations = (_each(how, kernel) for how in (stride, padding, dilation))
        parts = groups if self.separate else 1
        window = _Window(
            kernel, strides, paddings, dilations, parts, _zeros_around(input), self.strides
        )
        # The finest division that both the shares that come in and those that go out respect.
        fine = parts if known is None else math.lcm(known.shares.window.parts, parts)
        rectified = made_by(input, "Relu") if known is None else known.rectified
        magnitude = _sums(x if rectified else x.abs(), fine)
        if known is not None:
            to, groups_of_input = [(known.shares, 0)], known.shares.window.parts

            def onward(share: Tensor) -> Tensor:
                return _sums(magnitude * _repeated(share, fine), groups_of_input)

        else:
            to, dtype = edges_to(input), x.dtype
            channels, signs = x.shape[1], None if rectified else x

            def onward(share: Tensor) -> Tensor:
                gradient = _repeated(share, channels).to(dtype)
                return gradient if signs is None else gradient * signs.sign()

        shares = _Shares(window, magnitude, to, onward)
        if groups == 1 and max(kernel) == 1:
            return _with(_Known(shares, False, False, lambda: weighted), value.detach)
        self.last.append(weighted)
        return _with(_Known(shares, groups > 1, False, weakref.ref(weighted)), value.detach)

    def activation(self, function: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Relevance is left as it is: gradient ⊙ output / input.

        Of a ReLU that is the ordinary gradient. Of the others the ordinary one would lose what is
        strongest, where they saturate.
        """
        name = function.__name__
        if name != "relu":
            if not self.kept:
                return function(input, *args, **kwargs)
            self.strides.saw_activation()
        known = _known(input)
        if known is None and name == "relu":
            return function(input, *args, **kwargs)
        if known is None:
            x = input.detach()
            value = function(x, *args, **kwargs)
            return _scaled(value, input * torch.where(x == 0, 0, value / x))
        known = known._replace(sparse=True, rectified=name in ("relu", "relu6"))
        return _with(known, lambda: function(input, *args, **kwargs))

    def product(self, mul: Function, input: Any, other: Any, **kwargs: Any) -> Tensor:
        """All relevance goes to what is gated: by a sigmoid, by one number per channel, by a
        constant."""
        parts = gated(input, other)
        if parts is None:
            return mul(input, other, **kwargs)
        signal, factor = parts
        if isinstance(factor, Tensor):
            if self.kept and factor.shape == signal.shape and is_sigmoid(factor):
                self.strides.saw_activation()  # a SiLU's, say
            factor = factor.detach()
        known = _known(signal)
        if known is None:
            return mul(signal, factor, **kwargs)
        # A constant of another sign or size may follow: no longer a ReLU's.
        known = known._replace(sparse=True, rectified=False)
        return _with(known, lambda: mul(signal, factor, **kwargs))


def _linear(linear: Function, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The ordinary gradient, unless it is the classifier."""
    return _ordinary(linear(input, weight, bias), linear, input, weight, bias)


def _zeros_around(input: Tensor) -> tuple[int, ...]:
    """Which cells of a tensor are padding, as `F.pad` takes it."""
    pads: tuple[int, ...] = getattr(input.grad_fn, "_saved_pad", ())
    inside = len(pads) <= 2 * (input.ndim - 2) and min(pads, default=0) >= 0
    return pads if inside else ()


def _padded(
    input: Tensor, padding: str, kernel: Sequence[int], dilation: int | Sequence[int]
) -> tuple[Tensor, tuple[int, ...]]:
    """The input and the padding in numbers, of which there is one for both ends of a side."""
    spans = [d * (k - 1) for d, k in zip(_each(dilation, kernel), kernel, strict=True)]
    spans = spans if padding == "same" else [0 for _ in spans]
    odd = [cells for span in reversed(spans) for cells in (0, span % 2)]
    return F.pad(input, odd) if any(odd) else input, tuple(span // 2 for span in spans)


def _norm(function: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Gradient ⊙ output / input: relevance is left as it is."""
    known = _known(input)
    # Zeros take no relevance, so it is only left as it is where there are none. And in double
    # precision the authors' EPS does show.
    if known is None or known.sparse or input.dtype == torch.float64:
        x = input.detach()
        value = function(x, *args, **kwargs)
        return _scaled(value, input * (value * _inverse(x)))
    return _with(known, lambda: function(input, *args, **kwargs))


def _shift(function: Function, input: Any, other: Any, **kwargs: Any) -> Tensor:
    """A constant per channel takes no relevance, as in a batch norm; it may come first."""
    if _shifts(other, input):
        return _norm(function, input, other, **kwargs)
    if _shifts(input, other):
        return _norm(lambda signal: function(input, signal, **kwargs), other)
    return function(input, other, **kwargs)


def _shifts(constant: Any, signal: Any) -> bool:
    """Whether a constant is the same number at several places of an image."""
    if not isinstance(signal, Tensor) or not signal.requires_grad or signal.ndim <= 2:
        return False
    if not isinstance(constant, Tensor):
        return True
    if constant.requires_grad:
        return False
    sides = zip(reversed(constant.shape), reversed(signal.shape[1:]), strict=False)
    fewer = constant.ndim < signal.ndim - 1 or any(a < b for a, b in sides)
    return fewer and broadcasts(constant, signal)


def _scaled(value: Tensor, surrogate: Tensor) -> Tensor:
    """`value`, with the gradient of `surrogate`, whose factors the network itself does not save."""
    check_kept()
    return substitute(value, surrogate)


def _average_pool(pool: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Relevance goes back through the pool as a gradient would: Pᵀ(gradient ⊙ output) / input.

    A pool over the whole map has its ordinary gradient, as under its other names (a mean, say):
    relevance would be the same everywhere.
    """
    output = pool(input, *args, **kwargs)
    if max(output.shape[2:]) == 1:
        return output
    value, inverse = output.detach(), _inverse(input.detach())
    return _scaled(value, pool(input * inverse, *args, **kwargs) * value)


def _layer_norm(
    layer_norm: Function,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *args: Any,
) -> Tensor:
    """The gradient for a constant deviation (Ali et al. 2022, XAI for Transformers, eq. 9).

    The ordinary gradient is orthogonal to the input: it leaves no relevance at all, anywhere.
    """
    axes = tuple(range(-len(normalized_shape), 0))
    centred = input - input.mean(axes, keepdim=True)
    deviation = (centred.detach().square().mean(axes, keepdim=True) + eps).sqrt()
    scaled = centred / deviation
    value = layer_norm(input.detach(), normalized_shape, weight, bias, eps, *args)
    return _scaled(value, scaled if weight is None else scaled * weight)


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
#
# A node computes its value itself, since torch copies inputs that it returns.


class _WithRelevance(torch.autograd.Function):
    """A value whose gradient goes back as relevance, summed over the channels of each group.

    It holds nothing of what the value was computed from: a walk goes on with the shares. All that
    torch sees is a leaf.
    """

    @staticmethod
    def forward(ctx: Any, leaf: Tensor, known: _Known, compute: Callable[[], Tensor]) -> Tensor:
        value = compute()
        ctx.save_for_backward(value)
        ctx.seewhy_known, ctx.version = known, value._version
        ctx.metadata["seewhy_weighted"] = known.weighted
        ctx.seewhy_edges = ((known.shares, 0),)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (value,) = ctx.saved_tensors
        return _sums(gradient * value, ctx.seewhy_known.shares.window.parts), None, None


_with_relevance = apply_of(_WithRelevance)


def _ordinary(
    value: Tensor, layer: Function, input: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """The value of a fully-connected layer, with its ordinary gradient."""
    constant = not any(one is not None and one.requires_grad for one in (weight, bias))
    if value.dtype != weight.dtype and constant:
        # Autocast made it a half. Its gradient keeps the weight's precision, which on a CPU is
        # several times as fast, too.
        def back(gradient: Tensor) -> Tensor:
            with torch.enable_grad():
                x = torch.zeros_like(input, dtype=weight.dtype).requires_grad_()
                (passed,) = torch.autograd.grad(layer(x, weight), x, gradient.to(weight.dtype))
            return passed

        value = passing(input, (value.detach(),), back)
    node: Any = value.grad_fn
    weighted = _Weighted(layer, input, weight)
    node.metadata["seewhy_weighted"] = lambda: weighted
    return value


def _with(known: _Known, compute: Callable[[], Tensor]) -> Tensor:
    """The value that is computed, without a graph of its own; of it this is known from now on."""
    check_kept()
    return _with_relevance(known.shares.magnitude.requires_grad_(), known, compute)


class _Window(NamedTuple):
    """The windows of a convolution, whose channels are taken together within each of the `parts`.

    pads: which of the cells are padding already, as `F.pad` takes it.
    strides: whether they are made even. With a stride, some cells lie in more windows than their
        neighbours, and cells at the border share with nobody; a few such layers draw a grid and a
        bright border into the map.
    """

    kernel: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    parts: int
    pads: tuple[int, ...]
    strides: _Strides

    def share(self, relevance: Tensor, magnitude: Tensor) -> Tensor:
        """What a cell's magnitude is worth: the relevance of its windows / their magnitude.

        relevance: (B, parts, h', w'); magnitude: (B, parts or more, h, w).
        """
        magnitude = _sums(magnitude, self.parts)
        strided = max(self.stride) > 1
        if not strided and max(self.kernel) == 1 and not any(self.padding):
            return relevance / (magnitude + EPS)
        sums, spread = self._summed(magnitude)
        if not (strided and self.strides.even):
            return spread(relevance / (sums(magnitude) + EPS))
        once, inside = self._evenness(magnitude[:1, :1], relevance.shape[2:])
        return spread(relevance * inside / (sums(magnitude * once) + EPS)) * once

    def _summed(self, maps: Tensor) -> tuple[Function, Function]:
        """The sum over each window, (B, parts, h, w) -> (B, parts, h', w'), and its transpose.

        That gives each window's value to all of its cells, added up. maps: as large as these.
        """
        sides = zip(self.kernel, self.padding, self.dilation, strict=True)
        if (
            self.parts == 1
            and len(self.kernel) == 2
            and all(2 * pad <= k and step == 1 for k, pad, step in sides)
        ):
            # It is the faster one there, and knows no others.
            pool = ([*self.kernel], [*self.stride], [*self.padding], False, True, 1)

            def back(windows: Tensor) -> Tensor:
                found: Tensor = torch.ops.aten.avg_pool2d_backward.default(windows, maps, *pool)
                return found

            return lambda maps: F.avg_pool2d(maps, *pool), back
        ones = maps.new_ones(self.parts, 1, *self.kernel)
        how = (*self[1:4], False, (0,) * len(self.kernel), self.parts)

        def sums(maps: Tensor) -> Tensor:
            return torch.convolution(maps, ones, None, *how)

        def spread(windows: Tensor) -> Tensor:
            back = torch.ops.aten.convolution_backward.default
            found: Tensor = back(windows, maps, ones, None, *how, (True, False, False))[0]
            return found

        return sums, spread

    def _evenness(self, cells: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What a cell counts in each of its windows, and which part of a window is in the image.

        The first is 1 / (number of its windows), (1, 1, h, w), the second (1, 1, h', w'). What
        falls on the padding is lost.
        """
        sums, spread = self._replace(parts=1)._summed(cells)
        once = 1 / spread(cells.new_ones(1, 1, *size)).clamp(min=1)
        image = F.pad(F.pad(torch.ones_like(cells), [-p for p in self.pads]), self.pads)
        # In a window away from the border the cells count as much as there are cells for each.
        sides = zip(self.kernel, self.stride, self.dilation, strict=True)
        whole = math.prod(len({step * d % s for step in range(k)}) for k, s, d in sides)
        return once, (sums(once * image) / whole).clamp(max=1)


@dataclass(eq=False)  # it is itself, as a node is
class _Shares:
    """The step from the relevance of a convolution's output to that of its input.

    Each output's relevance goes to its window in proportion to the input's magnitude.

    next_functions: the input, or the shares of the convolution before, where that is all between.
    """

    window: _Window
    magnitude: Tensor
    next_functions: Sequence[Edge]
    onward: Callable[[Tensor], Tensor]

    def back(self, relevance: Tensor) -> list[Tensor]:
        """What is passed on of (B, parts, h', w')."""
        passed = self.onward(self.window.share(relevance, self.magnitude))
        return [passed] * len(self.next_functions)


def _each(given: int | Sequence[int], kernel: Sequence[int]) -> Sequence[int]:
    """One number per side."""
    if isinstance(given, int):
        return (given,) * len(kernel)
    return given if len(given) == len(kernel) else (*given,) * len(kernel)


def _sums(maps: Tensor, groups: int) -> Tensor:
    """Sums over the channels of each group, in single precision at least.

    (B, C, h, w) -> (B, groups, h, w).
    """
    b, channels, *size = maps.shape
    precise = _precise(maps.dtype)
    if channels == groups:
        return maps.to(precise)
    if groups == 1:
        return maps.sum(1, keepdim=True, dtype=precise)
    return maps.reshape(b, groups, channels // groups, *size).sum(2, dtype=precise)


def _repeated(maps: Tensor, channels: int) -> Tensor:
    """Each group's value for each of its channels: (B, groups, h, w) -> (B, channels, h, w)."""
    groups = maps.shape[1]
    if groups == 1:
        return maps.expand(-1, channels, *maps.shape[2:])
    return maps.repeat_interleave(channels // groups, 1) if channels != groups else maps


@lru_cache
def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _inverse(value: Tensor) -> Tensor:
    """1 / value; 0 where the value is too small for that."""
    eps = max(EPS, torch.finfo(value.dtype).tiny)
    return torch.where(value.abs() < 10 * eps, 0, 1 / (value + eps))
