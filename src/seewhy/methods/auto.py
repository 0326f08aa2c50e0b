"""What to take when in doubt: the composition that measured best for its cost."""

from __future__ import annotations

from torch import Tensor

from seewhy.naming import method, parse
from seewhy.probe import Probe
from seewhy.refine.multiscale import OneSizeError

COMPOSITION = "grad_cam+multiscale(scales=(1, 1.5))+sharpen"
# For networks that take images of one size only.
ONE_SIZE = "grad_cam+sharpen"


@method("Seewhy: Grad-CAM at two scales, as sharp as the network lets it be", "9F")
def auto(probe: Probe) -> Tensor:
    """Grad-CAM at scales 1 and 1.5, fused, and sharpened as far as the network does not mind.

    It is `grad_cam+multiscale(scales=(1, 1.5))+sharpen`, in [0, 1]; without the other scale for
    networks that take images of one size only. The documentation holds the figures that chose it.
    """
    try:
        return parse(COMPOSITION)(probe)
    except OneSizeError:
        return parse(ONE_SIZE)(probe)
