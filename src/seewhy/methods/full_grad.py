"""FullGrad: the input's gradient and those of all biases, added up into one map."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.core.choice import OneByOneError, may_move_rows
from seewhy.core.probe import Probe
from seewhy.core.rules import Rule, nodes, tapped
from seewhy.maps import normalize, of_images, upsample
from seewhy.naming import method

# (index of the layer in the forward pass, bias ⊙ gradient (B, K, h, w))
Collect = Callable[[int, Tensor], None]


@method("Srinivas & Fleuret 2019, Full-gradient representation (FullGrad)", "F + B", layers="none")
def full_grad(probe: Probe) -> Tensor:
    """ψ(x ⊙ ∂score/∂x) + Σ_l ψ(b_l ⊙ ∂score/∂b_l), each summed over channels; not negative.

    ψ is the absolute value, scaled to [0, 1] per image and layer, at the size of the image. The
    bias of a batch norm is the constant that it adds in total. As in the authors' code, biases of
    Linears, which have no position in the image, are left out. pytorch-grad-cam scales each channel
    separately, so that the weakest counts like the strongest.

    Raises ValueError for networks of which a layer takes more rows than there are images.
    """
    maps: list[Tensor] = []

    def add(_: int, product: Tensor) -> None:
        if len(product) != len(probe.inputs):
            in_parts = len(product) < len(probe.inputs)
            raise (OneByOneError if in_parts else ValueError)(
                f"a layer of the network takes {len(product)} rows for {len(probe.inputs)} images "
                "(crops, frames): full_grad cannot tell which are whose; use 'gradient' or "
                "'integrated_gradients'"
            )
        # Bilinear upsampling is linear: it may come after the sum over channels.
        maps.append(upsample(_scaled(product).sum(1), probe.size))

    gradient = collected(probe, add)
    return torch.stack([*maps, _scaled(gradient * probe.inputs).sum(1)]).sum(0)


def collected(probe: Probe, collect: Collect) -> Tensor:
    """Hand each layer's bias ⊙ gradient to `collect`, and return the gradient at the input.

    Behind ReLU networks, input ⊙ gradient, all bias ⊙ gradient and the Linears' biases add up to
    the score: nothing of it is left out.
    """
    count = 0

    def shown(function: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        nonlocal count
        output = function(input, *args, **kwargs)
        if output.ndim < 3:
            return output
        # An affine function's constant is what it makes of zero: one pixel of a batch norm does,
        # and of a convolution the bias itself, which its padding does not reach.
        bias = _constant(function, input, args, kwargs)
        if bias is None:
            return output
        index, count = count, count + 1
        constant = of_images(bias, output[0])
        return tapped(output, lambda gradient: collect(index, gradient * constant))

    rule: Rule = shown
    functions = (F.conv1d, F.conv2d, F.conv3d, F.batch_norm)
    ruled = probe.with_rules(dict.fromkeys(functions, rule))
    if len(probe.inputs) > 1 and any(map(may_move_rows, nodes(ruled.scored()))):
        raise OneByOneError("the network may put the images of a batch in another order")
    return ruled.input_gradient


def _constant(
    function: Callable[..., Tensor], input: Tensor, args: Any, kwargs: Any
) -> Tensor | None:
    """The constant (K,) that an affine function adds; None for a convolution without bias."""
    if function.__name__.startswith("conv"):
        bias: Tensor | None = kwargs.get("bias", args[1] if len(args) > 1 else None)
        return bias
    with torch.no_grad():
        zero = input.new_zeros(1, input.shape[1], *[1] * (input.ndim - 2))
        return function(zero, *args, **kwargs).flatten()


def _scaled(product: Tensor) -> Tensor:
    """|product| scaled to [0, 1] per image."""
    strength = product.abs()
    return normalize(strength, strength.ndim - 1)
