"""The method for users who do not want to choose: the best composition for its cost."""

from typing import Literal

import torch
from torch import Tensor

from seewhy.core.choice import OneByOneError
from seewhy.core.probe import Probe
from seewhy.fills import blurred
from seewhy.maps import unit, upsample
from seewhy.naming import method, parse
from seewhy.notes import note
from seewhy.refine.sharpen import THRESHOLDS, sharpen

BLUR = 0.02  # standard deviation as a share of the image's shorter side
PLATEAU = 0.5  # keeps the gradation of what is shown, see `sharpen`
QUICK = (0.2, 0.65)  # thresholds


@method("Seewhy: Grad-CAM and TSGB at three scales, sharpened", "19.5F")
def auto(probe: Probe, *, effort: Literal["full", "quick"] = "full") -> Tensor:
    """Grad-CAM and smoothed TSGB, averaged and sharpened while the class is still recognised.

    The mean of `grad_cam+multiscale` and of `tsgb(strides="even")+multiscale` under a Gaussian of
    2 % of the image's shorter side, each scaled to [0, 1], then `sharpen(plateau=0.5)`: (B, H, W),
    in [0, 1]. TSGB is not defined for networks with attention: there `attention_gradient` is
    sharpened, or Grad-CAM if that is not defined either (attention in windows). If a network takes
    images of one size only, the other scales are left out. If a method fails for another reason, a
    note says so. The documentation has the measurements by which this composition was chosen.

    effort: "full" costs as much as 19.5 forward passes and the backward passes of two methods at
        three scales; "quick" costs 4 forward passes and the backward passes at one scale, and tries
        only two thresholds. On networks with attention it is 7 or 4 forward passes.

    Raises what `grad_cam` raises.
    """
    maps = _parts(probe, scaled=effort == "full")
    joined = torch.stack([unit(upsample(one, probe.size)) for one in maps]).sum(0)
    thresholds = THRESHOLDS if effort == "full" else QUICK
    return sharpen(probe, lambda _: joined, thresholds=thresholds, plateau=PLATEAU)


def _parts(probe: Probe, scaled: bool) -> list[Tensor]:
    """The maps that are joined: the first list of which the network allows all."""

    def with_tsgb() -> list[Tensor]:
        # TSGB first: with attention it is refused at once, before anything else has cost a pass.
        fine = upsample(_map(probe, "tsgb(strides='even')", scaled), probe.size)
        smooth = blurred(fine[:, None], BLUR * min(probe.size))[:, 0]
        return [smooth, _map(probe, "grad_cam", scaled)]

    def attention() -> list[Tensor]:
        return [parse("attention_gradient")(probe)]

    for name, ask in (("tsgb", with_tsgb), ("attention_gradient", attention)):
        try:
            return ask()
        except (torch.cuda.OutOfMemoryError, OneByOneError):
            raise
        except (TypeError, ValueError):  # it is not defined for this network
            continue
        except RuntimeError as error:
            note(f"auto goes without {name}, which failed: {error}")
    return [_map(probe, "grad_cam", scaled)]


def _map(probe: Probe, name: str, scaled: bool) -> Tensor:
    """The method's map, at three scales where that is asked for and the network allows it."""
    if scaled:
        try:
            return parse(f"{name}+multiscale(tiles=False)")(probe)
        except OneByOneError:
            raise
        except ValueError:  # it takes images of one size only, or the method fails anyway
            pass
    return parse(name)(probe)
