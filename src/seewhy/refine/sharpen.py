"""Sharpening as far as it costs the network little: a refinement of our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.core.targets import Class, Probability
from seewhy.maps import of_images, unit, upsample
from seewhy.naming import Method, refinement
from seewhy.options import NotNegative, Range, Share

THRESHOLDS, PRICE = (0.1, 0.2, 0.4, 0.65, 1.0), 0.1


@refinement("Seewhy: as sharp as the network lets it be", "N F, N thresholds")
def sharpen(
    probe: Probe,
    method: Method,
    *,
    thresholds: Sequence[Annotated[float, Range(above=0, most=1)]] = THRESHOLDS,
    price: NotNegative = PRICE,
    plateau: Share = 0.8,
) -> Tensor:
    """The part of the map that tells the network most for its size: (B, H, W), in [0, 1].

    The map's positive part M is scaled to [0, 1] and brought to the input's size. At a threshold t
    all that is below t/2 is taken out and all above t shown nearly in full:
    clamp(2 M/t - 1, 0, 1) ⊙ (p + (1 - p) M), whose maximum stays where it was. A hundredth of it is
    M itself, so that what is taken out keeps its order. The network is shown the image times that,
    and each image gets the threshold at which
    kept - price · log2(mean of the sharper map) is highest, where kept is the share of the class's
    probability that is left, 1 at most.

    thresholds: in (0, 1].
    plateau: p, in [0, 1]: how nearly alike all above the threshold is shown.
    price: share of the probability that may be lost for a map of half the mass. Of a class both
        the softmax and the sigmoid have to be kept, since a network does not say which of them it
        means; of any other target the score, by a share of its magnitude.

    Raises ValueError where there is no threshold.
    """
    return sharpened(probe, method(probe), thresholds=thresholds, price=price, plateau=plateau)


def sharpened(
    probe: Probe,
    maps: Tensor,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    price: float = PRICE,
    plateau: float,
) -> Tensor:
    """Maps (B, h, w) that a method gave, as `sharpen` sharpens them."""
    if not thresholds:
        raise ValueError("thresholds=(); it should hold one at least")
    maps = unit(upsample(maps, probe.size))
    said = _said(probe)
    tiny = torch.finfo(maps.dtype).tiny
    scale = said.abs().clamp_min(tiny)
    best, found = maps.new_full((len(maps),), -torch.inf), maps
    for threshold in sorted(thresholds):
        sharper = (2 * maps / threshold - 1).clamp(0, 1) * (plateau + (1 - plateau) * maps)
        sharper = torch.lerp(sharper, maps, 0.01)
        lost = (said - _said(probe.with_inputs(probe.inputs * sharper[:, None]))) / scale
        kept = (1 - lost).clamp(max=1).amin(0)
        worth = kept - price * sharper.flatten(1).mean(1).clamp_min(tiny).log2()
        better = worth > best
        best = torch.where(better, worth, best)
        found = torch.where(of_images(better, found), sharper, found)
    return found


def _said(probe: Probe) -> Tensor:
    """What the network says of the target, (1 or 2, B)."""
    question = probe.target.question
    if not isinstance(question, Class):
        return probe.score[None]
    classes = question.classes
    either = (Probability(classes, "softmax"), Probability(classes, "sigmoid"))
    return torch.stack([probe.target.asking(one)(probe.outputs) for one in either]).detach()
