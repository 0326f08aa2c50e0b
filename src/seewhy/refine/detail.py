"""Detail: a coarse map gives the region, a fine one the pixels in it. Our own refinement."""

from typing import Annotated

from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.fills import blurred
from seewhy.maps import unit, upsample
from seewhy.naming import Method, parse, refinement
from seewhy.options import Range


@refinement(
    "Seewhy, after Selvaraju et al. 2017, Grad-CAM, section 3.2",
    "the fine method's",
    reads=("input",),
)
def detail(
    probe: Probe,
    method: Method,
    *,
    by: Annotated[str, parse] = "guided_backprop",
    smoothing: Annotated[float, Range(least=1e-6, most=1)] = 0.02,
) -> Tensor:
    """The geometric mean of the map and of a finer, smoothed one, (B, H, W), in [0, 1].

    The positive parts of both maps are first scaled to [0, 1], at the input's size. Guided Grad-CAM
    is the product of the two without smoothing: scattered pixels, in which a network recognises
    nothing.

    by: name of the method that gives the fine map, such as "gradient" or "tsgb".
    smoothing: the Gaussian's standard deviation as a share of the image's shorter side.

    Raises what the fine method raises: guided backprop needs a network with ReLUs.
    """
    finer = parse(by)
    # First, so that one pass records what both read, and a network without ReLUs costs no more.
    fine = upsample(finer(probe.expect(*finer.reads)), probe.size).relu()
    smooth = unit(blurred(fine[:, None], smoothing * min(probe.size))[:, 0])
    where = unit(upsample(method(probe), probe.size))
    return unit((where * smooth).sqrt())
