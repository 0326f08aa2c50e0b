"""Gradients at the input, ordinary and with other rules for the ReLU."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.core.rules import Rule, Rules, rectified, substitute
from seewhy.maps import averaged, upsample
from seewhy.naming import Method, method


@method(
    "Simonyan et al. 2014, Deep inside convolutional networks",
    "F + B",
    reads=("input",),
    layers=False,
)
def gradient(probe: Probe) -> Tensor:
    """max_channels |∂score/∂input|, not negative."""
    return strongest(probe.input_gradient)


@method("Shrikumar et al. 2016, Not just a black box", "F + B", reads=("input",), layers=False)
def input_x_gradient(probe: Probe) -> Tensor:
    """Σ_channels input ⊙ gradient, signed."""
    return relevance(probe, at_input=True)


@method("Kindermans et al. 2016, via TorchRay's linear_approx", "F + h, or F + B at the input")
def linear_approximation(probe: Probe) -> Tensor:
    """Σ_channels A ⊙ G at the layers that were named, else at the input; signed.

    It is the linear contribution of each position to the score.
    """
    return relevance(probe)


def _rectifiers(rule: Rule) -> Rules:
    """The same rule for all functions that let through what is positive (or some of it)."""
    return dict.fromkeys((F.relu, F.relu6, F.hardtanh, F.leaky_relu), rule)


def _guided(relu: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return rectified(relu(input, *args, **kwargs))


def _deconvolved(relu: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return substitute(relu(input, *args, **kwargs), rectified(input))


GUIDED: Rules = _rectifiers(_guided)
DECONVOLVED: Rules = _rectifiers(_deconvolved)


@method("Springenberg et al. 2015, Striving for simplicity", "F + B")
def guided_backprop(probe: Probe) -> Tensor:
    """max_channels |gradient|, where active ReLUs pass back only its positive part.

    ReLU6, hardtanh and leaky ReLU count as ReLUs; in-place and functional ones as well.
    """
    return strongest(probe.with_rules(GUIDED).input_gradient)


@method("Zeiler & Fergus 2014, Visualizing and understanding convolutional networks", "F + B")
def deconvnet(probe: Probe) -> Tensor:
    """max_channels |gradient|, where all ReLUs, active or not, pass back only its positive part."""
    return strongest(probe.with_rules(DECONVOLVED).input_gradient)


@method("Selvaraju et al. 2017, Grad-CAM, section 3.2", "2F + B + h")
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
