"""Sharpening where the network does not mind: a refinement of our own."""

from __future__ import annotations

import torch
from torch import Tensor

from seewhy.maps import normalize, upsample
from seewhy.naming import Method, refinement
from seewhy.probe import Probe


@refinement("Seewhy: sharper where the network says the same", "2F")
def sharpen(probe: Probe, method: Method, *, power: float = 2.0, tolerance: float = 0.1) -> Tensor:
    """The map to a power, if the network says as much of the image seen through the sharper map.

    The map's positive part is scaled to [0, 1] and brought to the input's size, (B, H, W). The
    image times the map, and times its power, are shown to the network; the power is taken for
    those images whose score it lowers by no more than the tolerance below both the score of the
    image and that of the image seen through the map itself.

    power: above 1.
    tolerance: share of the score's magnitude.

    Raises ValueError for a power or tolerance out of range.
    """
    if power <= 1:
        raise ValueError(f"power={power}; it should lie above 1")
    if tolerance < 0:
        raise ValueError(f"tolerance={tolerance}; it should not be negative")
    maps = normalize(upsample(method(probe), probe.inputs.shape[-2:]).relu())
    sharper = maps**power
    plain, sharp = (
        probe.with_inputs(probe.inputs * seen[:, None]).score for seen in (maps, sharper)
    )
    least = torch.minimum(probe.score, plain) - tolerance * probe.score.abs()
    return torch.where((sharp >= least)[:, None, None], sharper, maps)
