"""RefineCAM: the product of the maps of several layers."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.maps import unit, upsample
from seewhy.naming import Method, refinement

Mix = Literal["product", "geometric", "log_exp", "exp_mean"]
# Ways to put n maps (n, B, H, W) in [0, 1] together; the last two are soft minima, in which 0 wins.
MIXERS: dict[Mix, Callable[[Tensor], Tensor]] = {
    "product": lambda maps: maps.prod(0),
    "geometric": lambda maps: maps.prod(0) ** (1 / len(maps)),
    "log_exp": lambda maps: 1 / (1 / maps).logsumexp(0),
    "exp_mean": lambda maps: 1 / ((1 / maps).logsumexp(0) - math.log(len(maps))),
}


@refinement("RefineCAM (Contreras et al.): maps of several layers", "2F + B", reads=("stages",))
def refine_cam(probe: Probe, method: Method, *, mix: Mix = "product") -> Tensor:
    """The method's maps at several layers, multiplied at the size of the input, in [0, 1].

    The layers are those that were named, or else the network's stages and the chosen layer. The
    positive part of each map is scaled to [0, 1] before and after upsampling.

    mix: "product", "geometric" mean, or the soft minima "log_exp" and "exp_mean".

    Raises ValueError if there is only one layer, or if the method uses no layer.
    """
    layers = list(probe.named) if len(probe.named) > 1 else [*probe.stages, *probe.layers]
    if len(layers) < 2:
        raise ValueError(
            f"'refine_cam' cannot refine {str(method)!r}: it needs layers of several resolutions, "
            "and this network has one resolution all the way; name several layers, or take "
            "'+sharpen' or \"+detail(by='gradient')\""
        )
    # One pass and one backward pass for all of them.
    together = probe.with_layer(layers)
    together.gradients(layers[0])
    maps = []
    for layer in layers:
        at = together.with_layer(layer)
        found = method(at)
        if found.shape[1:] != at.activations().shape[2:]:
            raise ValueError(
                f"'refine_cam' cannot refine {str(method)!r}: its maps are not those of a layer; "
                "use it with a method that reads one layer's maps, such as 'layer_cam'"
            )
        maps.append(unit(upsample(unit(found), probe.size)))
    return unit(MIXERS[mix](torch.stack(maps)))
