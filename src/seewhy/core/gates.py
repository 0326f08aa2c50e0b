"""Gates: factors that let through a part of a signal, as squeeze-and-excitation does."""

from typing import Any

from torch import Tensor

from seewhy.core.rules import kind_of

_SIGMOIDS = ("Sigmoid", "Hardsigmoid")


def gated(input: Any, other: Any) -> tuple[Tensor, Any] | None:
    """The signal and the factor of a product, or None where both are signals.

    A factor is a constant, one number per channel or per place, or a sigmoid.
    """
    for signal, factor in ((other, input), (input, other)):
        if _is_gate(factor, signal):
            return signal, factor
    return None


def is_sigmoid(tensor: Tensor) -> bool:
    """Whether a sigmoid made a tensor."""
    return made_by(tensor, *_SIGMOIDS)


def made_by(tensor: Tensor, *functions: str) -> bool:
    """Whether one of torch's functions made a tensor: "Relu", "Expand"."""
    node = tensor.grad_fn
    return node is not None and kind_of(node) in functions


def broadcasts(factor: Tensor, signal: Tensor) -> bool:
    """Whether a factor takes on the signal's shape, and not the other way round."""
    sides = zip(reversed(factor.shape), reversed(signal.shape), strict=False)
    return factor.ndim <= signal.ndim and all(a in (1, b) for a, b in sides)


def _is_gate(factor: Any, signal: Any) -> bool:
    if not isinstance(signal, Tensor) or not signal.requires_grad:
        return False
    if not isinstance(factor, Tensor):
        return True
    if not broadcasts(factor, signal):
        return False
    if not factor.requires_grad:
        return True
    if factor.ndim != signal.ndim:
        return False
    fewer = factor.numel() < signal.numel() or made_by(factor, "Expand")
    return (fewer and signal.ndim > 2) or is_sigmoid(factor)
