"""Sharpening as far as the network still recognises the class. Our own refinement."""

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.core.targets import Class, Probability
from seewhy.maps import of_images, unit, upsample
from seewhy.naming import refinement
from seewhy.options import NotNegative, Range, Share

THRESHOLDS, PRICE = (0.1, 0.2, 0.4, 0.65, 1.0), 0.1


@refinement("Seewhy: sharpened while the network recognises the class", "N F, N thresholds")
def sharpen(
    probe: Probe,
    method: Callable[[Probe], Tensor],
    *,
    thresholds: Sequence[Annotated[float, Range(above=0, most=1)]] = THRESHOLDS,
    price: NotNegative = PRICE,
    plateau: Share = 0.8,
) -> Tensor:
    """The part of the map with the most evidence for its size: (B, H, W), in [0, 1].

    The map's positive part M is scaled to [0, 1] and upsampled to the input's size. A threshold t
    gives the sharper map clamp(2 M/t - 1, 0, 1) ⊙ (p + (1 - p) M): values below t/2 become 0,
    values above t are kept, or made more equal by p, and the maximum keeps its position. One per
    cent of the result is M itself, so that removed values keep their order. The network sees the
    image times this map, and each image gets the threshold that maximises
    kept - price · log2(mean of the sharper map), where kept is the remaining share of the class's
    probability, at most 1.

    thresholds: in (0, 1].
    plateau: p, in [0, 1]; at 1 all values above the threshold are equal.
    price: the share of the probability that may be lost for a map of half the mass. For a class
        both the softmax and the sigmoid must be kept, since the network does not say which applies;
        for other targets it is the score, relative to its magnitude.

    Raises ValueError if there is no threshold.
    """
    maps = unit(upsample(method(probe), probe.size))
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
