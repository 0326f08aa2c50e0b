"""The tail: the part of a network behind a layer, run again without what lies before it.

While a pass is recorded, a `Trace` writes down the torch functions that are called behind the
layer, with their arguments. Replaying those that depend on the layer, with other values in place of
its output, runs the tail alone: what comes from before the layer, by skip connections, say, is
taken from the record. Whether a tail is affine is read from the autograd graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map, tree_map_only

from seewhy.core.casting import Casts, casting, casts
from seewhy.core.rules import Mode, edge, kind_of, nearest, nodes, out_of_place, tensors


@dataclass(frozen=True, eq=False)
class _Call:
    """A call that writes nothing, with the tensors' versions before it and its results' after it.

    `before` holds the values of constants that the network's own call wrote into, `casts` what
    `torch.autocast` did there: the network may switch it on by itself.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    read: dict[int, int]
    made: dict[int, int]
    before: dict[int, Tensor]
    casts: Casts


class Trace(Mode):
    """Writes down the calls of torch functions inside the `with`, where gradients are recorded.

    A recorded pass records gradients from its first recorded output on, so that is where the trace
    begins. Calls in place are run as they are, and written down as what they compute.
    """

    def __init__(self, begun: Trace | None = None) -> None:
        """Start anew, or go on behind what another trace has."""
        super().__init__()
        self._calls: list[_Call] = list(begun._calls) if begun else []

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call, and write it down."""
        kwargs = kwargs or {}
        # Torch asks what it hands on for its function, to hang backward hooks there.
        if not torch.is_grad_enabled() or getattr(function, "__self__", None) is Tensor.grad_fn:
            return function(*args, **kwargs)
        # New lists: the network may go on to append to those that it gave.
        args, kwargs = tree_map(self._made, (args, kwargs))
        plain = out_of_place(function, args, kwargs)
        before = {}
        written = next(tensors((args, kwargs)), None)
        if plain != (function, args, kwargs) and written is not None and not written.requires_grad:
            before[id(written)] = written.clone()
        read = _versions((args, kwargs))
        result = function(*args, **kwargs)
        if made := _versions(result):
            self._calls.append(_Call(*plain, result, read, made, before, casts()))
        return result

    def _made(self, value: Any) -> Any:
        """The value as a call made it: modules with backward hooks hand tensors on under others."""
        if not (isinstance(value, Tensor) and _hooked(value.grad_fn)):
            return value
        node, place = edge(value)
        while _hooked(node):
            node, place = node.next_functions[place]
        results = (made for call in reversed(self._calls) for made in tensors(call.result))
        origins = (made for made in results if made.requires_grad and edge(made) == (node, place))
        return next(origins, value)

    def replay(self, start: Tensor, end: Tensor) -> Callable[[Tensor], Tensor] | None:
        """`end` as a function of `start`, by the calls between.

        None where none lead there, or where something else wrote into what they read.
        """
        versions, forward = {id(start): start._version}, []
        # A ReLU in place hands out what it was given: what came before it reads no `start`.
        makers = [index for index, call in enumerate(self._calls) if id(start) in call.made]
        for call in self._calls[makers[-1] + 1 if makers else 0 :]:
            read = {id(tensor): tensor for tensor in tensors((call.args, call.kwargs))}
            if versions.keys().isdisjoint(read):
                continue
            for key, tensor in read.items():
                now = tensor._version if key not in call.before else call.read[key]
                if versions.get(key, now) != call.read[key]:
                    return None
            versions |= call.made
            forward.append(call)
        needed, calls = {id(end)}, []
        for call in reversed(forward):
            if any(id(tensor) in needed for tensor in tensors(call.result)):
                # No later call needs what this one is the last to read.
                calls.append((call, call.read.keys() - needed))
                needed |= call.read.keys()
        if id(end) not in versions:
            return None

        def run(value: Tensor) -> Tensor:
            values = {id(start): value}
            for call, done in reversed(calls):
                args, kwargs = _with(call.before | values, (call.args, call.kwargs))
                with casting(call.casts):
                    result = call.function(*args, **kwargs)
                for key in done:
                    values.pop(key, None)
                for old, new in zip(tensors(call.result), tensors(result), strict=True):
                    values[id(old)] = new
            return values[id(end)]

        return run


def _with(values: dict[int, Tensor], arguments: Any) -> Any:
    """The arguments of a call with other values for some tensors."""
    return tree_map_only(Tensor, lambda tensor: values.get(id(tensor), tensor), arguments)


def _versions(value: Any) -> dict[int, int]:
    """How often each tensor among the arguments or results of a call was written into."""
    return {id(tensor): tensor._version for tensor in tensors(value)}


# Autograd's names of functions that are linear in all their tensors together, and of those that
# are linear in each, which are affine as long as only one of them varies.
# fmt: off
_LINEAR = frozenset((
    "AdaptiveAvgPool1D", "AdaptiveAvgPool2D", "AdaptiveAvgPool3D", "Add", "Alias", "AsStrided",
    "AvgPool2D", "AvgPool3D", "BackwardHookFunction", "Cat", "Clone", "Expand", "Gather", "Index",
    "IndexSelect", "Mean", "Neg", "Permute", "ReshapeAlias", "Select", "Slice", "Split", "Squeeze",
    "Stack", "Sub", "Sum", "T", "ToCopy", "Transpose", "Unbind", "UnsafeSplit", "UnsafeView",
    "Unsqueeze", "UpsampleBilinear2D", "UpsampleLinear1D", "UpsampleNearest1D", "UpsampleNearest2D",
    "UpsampleNearest3D", "UpsampleTrilinear3D", "View",
))
_MULTILINEAR = frozenset(("Addmm", "Addmv", "Baddbmm", "Bmm", "Convolution", "Mm", "Mul", "Mv"))
# And of those that leave each channel to itself, or only compare what was already computed.
_CHANNELWISE = _LINEAR | frozenset((
    "AdaptiveMaxPool1D", "AdaptiveMaxPool2D", "AdaptiveMaxPool3D", "Amax", "Clamp", "ClampMax",
    "ClampMin", "Copy", "CopySlices", "CudnnBatchNorm", "Div", "Elu", "Exp", "Gelu", "Hardsigmoid",
    "Hardswish", "Hardtanh", "LeakyRelu", "Log", "LogSoftmax", "Logsumexp", "Max",
    "MaxPool2DWithIndices", "MaxPool3DWithIndices", "Maximum", "Minimum", "Mul", "NativeBatchNorm",
    "PixelShuffle", "Pow", "Relu", "Sigmoid", "Silu", "Softmax", "Softplus", "Sqrt", "Tanh",
    "Threshold", "UpsampleBicubic2D", "Where",
))
# fmt: on


def is_affine(end: Tensor, start: Tensor) -> bool:
    """Whether the autograd graph shows `end` to be an affine function of `start`.

    Functions that it does not know count as not affine; so does a graph that does not lead from
    one to the other.
    """
    origin, _ = edge(start)
    between = _between(end, origin)
    for node in between:
        kind = kind_of(node)
        varying = [one for one, _ in node.next_functions if one in between or one is origin]
        if kind not in _LINEAR and not (kind in _MULTILINEAR and len(varying) == 1):
            return False
    return bool(between)


def mixes_nothing(end: Tensor, start: Tensor, softly: bool = False) -> bool:
    """Whether nothing learned lies between: `end` pools, scales or compares `start`'s channels.

    softly: whether it has to make probabilities of them.

    Functions that it does not know count as learned; so does a graph that does not lead there.
    """
    origin, _ = edge(start)

    def stops(node: Any) -> bool:
        return node is origin or kind_of(node) not in _CHANNELWISE

    # The last function of most networks is learned: what lies behind it need not be followed.
    if origin not in nearest(end, stops):
        return False
    kinds = {*map(kind_of, _between(end, origin))}
    soft = not softly or not kinds.isdisjoint(("LogSoftmax", "Sigmoid", "Softmax"))
    return bool(kinds) and kinds <= _CHANNELWISE and soft


def _hooked(node: Any) -> bool:
    """Whether a module hands a tensor on by this function for the sake of its backward hooks."""
    return kind_of(node) == "BackwardHookFunction"


def _between(end: Tensor, origin: Any) -> set[Any]:
    """The nodes of the graph through which `end` depends on the origin, which is not among them."""
    below: dict[Any, list[Any]] = {}
    for node in nodes(end):
        for following, _ in node.next_functions:
            below.setdefault(following, []).append(node)
    found: set[Any] = set()
    left = list(below.get(origin, []))
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left.extend(below.get(node, []))
    return found
