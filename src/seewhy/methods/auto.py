"""What to take when in doubt: the composition that measured best for its cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.fills import blurred
from seewhy.maps import unit, upsample
from seewhy.naming import method, parse
from seewhy.refine.sharpen import sharpened

BLUR = 0.02  # standard deviation as a share of the image's shorter side
PLATEAU = 0.5  # keeps the gradation of what is shown, see `sharpen`
QUICK = (0.2, 0.65)  # thresholds


@method("Seewhy: Grad-CAM and TSGB at three scales, as sharp as the network lets them be", "19.5F")
def auto(probe: Probe, *, effort: Literal["full", "quick"] = "full") -> Tensor:
    """Grad-CAM and smoothed TSGB together, as sharp as it is worth to the network: (B, H, W).

    The mean of `grad_cam+multiscale` and of `tsgb+multiscale` under a Gaussian of 2 % of the
    image's shorter side, each scaled to [0, 1], then `sharpen(plateau=0.5)`. In [0, 1]. What a
    network cannot be asked is left out: other scales where it takes images of one size only, and
    TSGB where that is not defined, as for attention. The documentation holds the figures that chose
    it.

    effort: "full" costs as much as 19.5 forward passes and the backward passes of two methods at
        three scales; "quick" 4 and those at one scale: it shows the network two thresholds.

    Raises ValueError for another effort, and whatever `grad_cam` raises.
    """
    if effort not in ("full", "quick"):
        raise ValueError(f"effort={effort!r}; it should be 'full' or 'quick'")
    scales = ["+multiscale", ""] if effort == "full" else [""]
    joined = unit(upsample(_first(probe, "grad_cam", scales), probe.size))
    try:
        fine = upsample(_first(probe, "tsgb(strides='even')", scales), probe.size)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise
    else:
        joined = joined + unit(blurred(fine[:, None], BLUR * min(probe.size))[:, 0])
    if effort == "quick":
        return sharpened(probe, joined, thresholds=QUICK, plateau=PLATEAU)
    return sharpened(probe, joined, plateau=PLATEAU)


def _first(probe: Probe, name: str, refinements: Sequence[str]) -> Tensor:
    """The method's map with the first refinement that the network allows; the last one's error."""
    *better, last = refinements
    for refinement in better:
        try:
            return parse(name + refinement)(probe)
        except ValueError:
            continue
    return parse(name + last)(probe)
