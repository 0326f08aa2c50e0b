"""A backward pass in Python, in which a node of the graph may be an object of ours.

Torch's own backward pass knows its nodes alone, and a `torch.autograd.Function` takes longer than
what a rule computes. In a walk a node of torch's may lead on to a `Step`, which is one function.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.utils.checkpoint import CheckpointError

from seewhy.core.observing import graphs
from seewhy.core.rules import Edge, edge, edges, kind_of


class Step(Protocol):
    """A node that torch does not know: of one tensor.

    next_functions: where what it passes back goes to, by the name that torch has for it; made by
        `edges_to`.
    """

    next_functions: Sequence[Edge]

    def back(self, gradient: Tensor) -> Sequence[Tensor]:
        """What it passes back along each of its edges."""
        ...


def edges_to(tensor: Tensor) -> list[Edge]:
    """The edge along which a step passes something back to a tensor; none if it has no gradient.

    It keeps what made the tensor. Before torch 2.13 the node of a `torch.autograd.Function` ends
    with its tensor, whatever holds it in Python; the node of a view of the tensor keeps it.
    """
    if not tensor.requires_grad:
        return []
    if isinstance(tensor.grad_fn, BackwardCFunction):
        with torch.enable_grad():
            tensor = tensor.view_as(tensor)
    return [edge(tensor)]


def gradients(score: Tensor, tensors: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients of each image's score by a walk; None for a tensor on which no score depends."""
    if not score.requires_grad:
        return [None] * len(tensors)
    ends = [edge(tensor) if tensor.requires_grad else None for tensor in tensors]
    found = walk(score, {end for end in ends if end})
    return [found.get(end) if end else None for end in ends]


def walk(output: Tensor, ends: Collection[Edge], through: bool = True) -> dict[Edge, Tensor]:
    """Pass the gradient of a tensor's sum back; returns what arrives at each of the `ends`.

    The graph is kept. Hooks of tensors and nodes are not run.

    through: whether it goes on through an end to those behind it.
    """
    received = {edge(output): torch.ones_like(output)}
    found: dict[Edge, Tensor | None] = {}
    with graphs(), torch.no_grad():
        for node, onward in _ordered(edge(output)[0], {node for node, _ in ends}, through):
            # What it made, as torch describes it; a step stands for one tensor.
            made = getattr(node, "_input_metadata", (None,))
            at = [(node, place) for place in range(len(made))]
            got = [received.pop(one, None) for one in at]
            found |= {one: g for one, g in zip(at, got, strict=True) if one in ends}
            if not onward or all(gradient is None for gradient in got):
                continue
            for to, passed in zip(onward, _passed(node, made, got), strict=True):
                if passed is not None:
                    passed = _fitting(passed, *to)
                    received[to] = received[to] + passed if to in received else passed
    return {end: gradient for end, gradient in found.items() if gradient is not None}


def _ordered(start: Any, ends: set[Any], through: bool) -> list[tuple[Any, Sequence[Edge]]]:
    """The nodes that lead to an end, each before all that it passes something to, with its edges.

    The last ends have none.
    """
    order, leads = [], {*ends}
    onward: dict[Any, Sequence[Edge]] = {}
    left = [(start, False)]
    while left:
        node, done = left.pop()  # whether all behind it is
        if done:
            inner = not leads.isdisjoint([to for to, _ in onward[node]])
            if inner or node in leads:
                leads.add(node)
                order.append((node, onward[node] if inner else ()))
        elif node not in onward:
            further = edges(node) if through or node not in ends else ()
            onward[node] = [to for to in further if to[0] is not None]
            left.append((node, True))
            left += [(to, False) for to, _ in onward[node]]
    return order[::-1]


def _passed(node: Any, made: Sequence[Any], got: list[Tensor | None]) -> Sequence[Tensor | None]:
    """What a node passes back along each of its edges."""
    if made[0] is None:
        return node.back(*got)  # type: ignore[no-any-return]
    used: Sequence[Any] = [to for to, _ in node.next_functions]
    if isinstance(node, BackwardCFunction):
        if kind_of(node) == "CheckpointFunction":
            # It would run a backward pass of torch's own, for all parameters.
            raise CheckpointError("a reentrant checkpoint runs its part again without rules")
        given = [
            torch.zeros(one.shape, dtype=one.dtype, device=one.device) if g is None else g
            for one, g in zip(made, got, strict=True)
        ]
        # One for each argument, and not only for tensors.
        used = node.needs_input_grad
        passed = node.apply(*given)  # type: ignore[no-untyped-call]
    elif "BatchNorm" in node.name():
        # A single image's is wrong otherwise, on a CPU (PyTorch 2.13).
        passed = node(*[None if g is None else g.contiguous() for g in got])
    else:
        passed = node(*got)
    passed = passed if isinstance(passed, tuple) else (passed,)
    return [one for one, needed in zip(passed, used, strict=False) if needed]


def _fitting(gradient: Tensor, node: Any, place: int) -> Tensor:
    """A gradient in the shape and precision of the tensor that it is for, as torch would do it."""
    taken = getattr(node, "_input_metadata", None)
    if taken is None:
        return gradient
    shape, dtype = taken[place].shape, taken[place].dtype
    if [*gradient.shape] != shape:  # which is a list
        gradient = gradient.sum_to_size(shape)
    return gradient if gradient.dtype == dtype else gradient.to(dtype)
