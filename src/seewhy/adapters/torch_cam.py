"""torch-cam's extractors as Seewhy methods."""

from typing import Any

import torch
from torch import Tensor

from seewhy.adapters.common import Logits, adopted, algorithm_of, hooked, reshaping
from seewhy.core.probe import Probe
from seewhy.maps import averaged
from seewhy.methods.cam_extended import explained_classes
from seewhy.naming import Method


def as_method(algorithm: str | type, *, name: str | None = None, **options: Any) -> Method:
    """An extractor of torch-cam, such as "SmoothGradCAMpp", as a method.

    algorithm: the name of a class in `torchcam.methods`, or the class. It gets the probe's layers,
        and for token grids and NHWC outputs a `reshape_transform`.
    name: the name of the method; by default "torchcam_" and the class's name.
    options: passed to the class.

    The method's maps are not normalised, (B, h, w) at the layer. It explains one class per image.

    Raises ModelError without torch-cam, ValueError for an unknown name.
    """
    kind = algorithm_of("torchcam.methods", algorithm)

    def maps(probe: Probe) -> Tensor:
        network = Logits(probe)
        names = [f"network.{name}" for name in hooked(probe, "torch-cam")]
        classes = explained_classes(probe, "torch-cam")
        with torch.enable_grad(), kind(network, names, **reshaping(probe), **options) as extract:
            scores = network(probe.inputs.clone())
            found = extract(classes, scores, normalized=False)
        return averaged([each.detach() for each in found], probe.size)

    return adopted(name or f"torchcam_{kind.__name__}", f"torch-cam's {kind.__name__}", maps)
