"""What to take when in doubt: the composition that measured best for its cost."""

from __future__ import annotations

from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.core.rules import NoRuleError
from seewhy.naming import method, parse

COMPOSITION = "grad_cam+detail+sharpen"
# For networks without ReLUs, which have no guided backprop.
WITHOUT_RELUS = "grad_cam+detail(by='gradient')+sharpen"


@method("Seewhy: Grad-CAM in detail, as sharp as the network lets it be", "7F + B + h")
def auto(probe: Probe) -> Tensor:
    """Grad-CAM with the detail of guided backprop, as sharp as it is worth to the network.

    It is `grad_cam+detail+sharpen`, in [0, 1], with the ordinary gradient's detail for networks
    without ReLUs. The documentation holds the figures that chose it.
    """
    try:
        return parse(COMPOSITION)(probe)
    except NoRuleError:
        return parse(WITHOUT_RELUS)(probe)
