"""pytorch-grad-cam's extractors as Seewhy methods."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from seewhy.adapters.common import Logits, adopted, algorithm_of, hooked, reshaping
from seewhy.core.probe import Probe
from seewhy.methods.cam_extended import explained_classes
from seewhy.naming import Method


def as_method(algorithm: str | type, *, name: str | None = None, **options: Any) -> Method:
    """An extractor of pytorch-grad-cam, such as "KPCA_CAM" or "FEM", as a method.

    algorithm: the name of a class in `pytorch_grad_cam`, or the class. It gets the probe's layers,
        and for token grids and NHWC outputs a `reshape_transform`.
    name: the name of the method; by default "pgc_" and the class's name.
    options: passed to the class.

    The maps are scaled by the library, in [0, 1] at the input's size, (B, H, W). The method
    explains one class per image.

    Raises ModelError without pytorch-grad-cam, ValueError for an unknown name.
    """
    kind = algorithm_of("pytorch_grad_cam", algorithm)
    of_class = import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget

    def maps(probe: Probe) -> Tensor:
        scores = Logits(probe)
        layers = [scores.network.get_submodule(name) for name in hooked(probe, "pytorch-grad-cam")]
        targets = [of_class(c) for c in explained_classes(probe, "pytorch-grad-cam")]
        # Not in a `with`: RefineCAM cannot be, and the others hide an IndexError there.
        with torch.enable_grad():
            extract = kind(scores, layers, **reshaping(probe), **options)
            found = extract(probe.inputs.clone(), targets)
        return torch.from_numpy(found).to(probe.inputs)

    return adopted(name or f"pgc_{kind.__name__}", f"pytorch-grad-cam's {kind.__name__}", maps)
