"""What to take when in doubt: the composition that measured best for its cost."""

from __future__ import annotations

from torch import Tensor

from seewhy.naming import method, parse
from seewhy.probe import Probe

COMPOSITION = "grad_cam+multiscale+sharpen"
# For networks that take images of one size only.
ONE_SIZE = "grad_cam+sharpen"


@method("Seewhy: Grad-CAM at three scales, sharpened where the network says the same", "10F")
def auto(probe: Probe) -> Tensor:
    """Grad-CAM at scales 1, 1.5 and 2, fused, and sharpened where the network does not mind.

    It is `grad_cam+multiscale+sharpen`, in [0, 1]; without the other scales for networks that
    take images of one size only. The documentation holds the figures that chose it.
    """
    try:
        return parse(COMPOSITION)(probe)
    except ValueError:
        return parse(ONE_SIZE)(probe)
