"""Gradients at the input, ordinary and with other rules for the ReLU."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from torch import Tensor

from seewhy.core.choice import gradients_of
from seewhy.core.probe import Backward, Probe
from seewhy.core.rules import NoRuleError, kind_of, nodes
from seewhy.maps import averaged, upsample
from seewhy.naming import Method, method

Gradients = tuple[Tensor | None, ...]

# What lets through what is positive, or some of it: by the node's name in the graph. There a ReLU6
# is a hardtanh.
RECTIFIERS = {"Relu": "relu", "Hardtanh": "hardtanh", "LeakyRelu": "leaky_relu"}


@method(
    "Simonyan et al. 2014, Deep inside convolutional networks",
    "F + B",
    reads=("input",),
    layers="none",
)
def gradient(probe: Probe) -> Tensor:
    """max_channels |∂score/∂input|, not negative."""
    return strongest(probe.input_gradient)


@method("Shrikumar et al. 2016, Not just a black box", "F + B", reads=("input",), layers="none")
def input_x_gradient(probe: Probe) -> Tensor:
    """Σ_channels input ⊙ gradient, signed."""
    return relevance(probe, at_input=True)


@method(
    "Kindermans et al. 2016, via TorchRay's linear_approx",
    "F + B, less at a named layer",
    layers="named",
)
def linear_approximation(probe: Probe) -> Tensor:
    """Σ_channels A ⊙ G at the layers that were named, else at the input; signed.

    It is the linear contribution of each position to the score.
    """
    return relevance(probe)


def _rectifying(hook: Callable[[Gradients, Gradients], Gradients]) -> Backward:
    """Gradients where each rectifier passes back `hook(passed, received)`.

    The first is what it would have passed back, the second what has come back to it.
    """

    def gradients(score: Tensor, tensors: Sequence[Tensor]) -> Sequence[Tensor | None]:
        found = [node for node in nodes(score) if kind_of(node) in RECTIFIERS]
        with ExitStack() as hooks:
            for node in found:
                hooks.enter_context(node.register_hook(hook))
            passed = gradients_of(score, tensors)
        if not found and any(gradient is not None for gradient in passed):
            raise NoRuleError(RECTIFIERS.values())
        return passed

    return gradients


def _positive(gradients: Gradients) -> Gradients:
    return tuple(None if gradient is None else gradient.clamp(min=0) for gradient in gradients)


GUIDED = _rectifying(lambda passed, received: _positive(passed))
DECONVOLVED = _rectifying(lambda passed, received: _positive(received))


@method(
    "Springenberg et al. 2015, Striving for simplicity",
    "F + B",
    reads=("input",),
    layers="none",
)
def guided_backprop(probe: Probe) -> Tensor:
    """max_channels |gradient|, where active ReLUs pass back only its positive part.

    ReLU6, hardtanh and leaky ReLU count as ReLUs; in-place and functional ones as well.
    """
    return strongest(probe.with_backward(GUIDED).input_gradient)


@method(
    "Zeiler & Fergus 2014, Visualizing and understanding convolutional networks",
    "F + B",
    reads=("input",),
    layers="none",
)
def deconvnet(probe: Probe) -> Tensor:
    """max_channels |gradient|, where all ReLUs, active or not, pass back only its positive part."""
    return strongest(probe.with_backward(DECONVOLVED).input_gradient)


@method("Selvaraju et al. 2017, Grad-CAM, section 3.2", "F + B + h", reads=("input",))
def guided_grad_cam(probe: Probe) -> Tensor:
    """Guided backprop ⊙ Grad-CAM at the resolution of the input; not negative."""
    return guided_backprop(probe) * upsample(Method("grad_cam")(probe), probe.size)


def strongest(gradients: Tensor) -> Tensor:
    """max_channels |gradient|: (B, C, H, W) -> (B, H, W)."""
    return gradients.abs().amax(1)


def relevance(probe: Probe, at_input: bool = False) -> Tensor:
    """Σ_channels gradient ⊙ value, signed: (B, h, w).

    At the layers that were named, averaged at the input's size if several; else at the input.
    """
    if at_input or not probe.named:
        return (probe.input_gradient * probe.inputs).sum(1)
    maps = [(probe.gradients(layer) * probe.activations(layer)).sum(1) for layer in probe.named]
    return averaged(maps, probe.size)
