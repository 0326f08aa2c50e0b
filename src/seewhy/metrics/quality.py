"""Properties of the map itself: how simple, how sparse, how stable under its own mask.

Maps are (B, H, W) float and each image has its own value: every function returns (B,).
"""

from math import inf

import torch
from torch import Tensor

from seewhy.maps import unit
from seewhy.metrics._maps import check_maps
from seewhy.metrics.registry import register_metric
from seewhy.options import checking

POPPI = "Poppi et al. 2021, Revisiting the evaluation of class activation mapping"


@register_metric(POPPI, higher_is_better=False)
def complexity(saliency: Tensor) -> Tensor:
    """The mean of the map's positive part scaled to [0, 1], (B,), in [0, 1]: 0 is the simplest.

    Source: Poppi et al. 2021, "Revisiting the evaluation of class activation mapping".
    """
    saliency = check_maps(saliency)
    return unit(saliency).flatten(1).mean(1)


@register_metric(POPPI, "1E", higher_is_better=True)
def coherency(saliency: Tensor, masked_saliency: Tensor) -> Tensor:
    """How similar the map of the masked image is, (B,), in [0, 1]: (Pearson correlation + 1) / 2.

    `masked_saliency` (B, H, W) is the same method's map for the same target on the explanation
    map, the image times the positive part of `saliency` scaled to [0, 1]. Source: Poppi et al.
    2021.
    """
    return (pearson(saliency, masked_saliency) + 1) / 2


@register_metric("Hurley and Rickard 2009; Chalasani et al. 2020", higher_is_better=True)
def gini(saliency: Tensor) -> Tensor:
    """The Gini index of |map|, (B,), in [0, 1): 0 is spread evenly, near 1 is a single pixel.

    A map of zeros scores 0. Source: Hurley and Rickard 2009, "Comparing measures of sparsity",
    as used by Chalasani et al. 2020. Quantus adds 1e-7 to every value first.
    """
    saliency = check_maps(saliency)
    sizes = saliency.abs().flatten(1).sort(1).values
    count = sizes.shape[1]
    places = torch.arange(1, count + 1, device=sizes.device, dtype=sizes.dtype)
    total = sizes.sum(1)
    weighted = (sizes * (2 * places - count - 1)).sum(1)
    return weighted / (count * torch.where(total > 0, total, 1))


@register_metric("Bhatt et al. 2020", higher_is_better=False, range=(0.0, inf))
def entropy(saliency: Tensor) -> Tensor:
    """The entropy of |map| read as a distribution over the pixels, (B,), in [0, ln HW] nats.

    A map of zeros scores 0. Source: Bhatt et al. 2020, "Evaluating and aggregating feature-based
    model explanations" (there called complexity).
    """
    saliency = check_maps(saliency)
    sizes = saliency.abs().flatten(1)
    total = sizes.sum(1, keepdim=True)
    share = sizes / torch.where(total > 0, total, 1)
    return -torch.xlogy(share, share).sum(1)


@checking
def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Each pair's correlation over the pixels of (B, H, W), (B,), in [-1, 1]; 0 if one is flat."""
    a = check_maps(a, b=b)
    flat = (x.flatten(1).double() for x in (a, b))  # squares of small or large values would be lost
    one, other = (x - x.mean(1, keepdim=True) for x in flat)
    eps = torch.finfo(one.dtype).tiny
    return torch.nn.functional.cosine_similarity(one, other, dim=1, eps=eps).to(a.dtype)


@checking
def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Each pair's rank correlation over the pixels of (B, H, W), (B,), in [-1, 1].

    Equals share their mean rank; 0 if one map is flat.
    """
    a = check_maps(a, b=b)
    return pearson(mean_ranks(a), mean_ranks(check_maps(b)))


def mean_ranks(values: Tensor) -> Tensor:
    """Each pixel's rank in its map, 0 for the least, (B, H, W) float64; equals share their mean."""
    flat = values.flatten(1)
    ordered = flat.sort(1).values
    below = torch.searchsorted(ordered, flat)
    up_to = torch.searchsorted(ordered, flat, right=True)
    return ((below + up_to - 1).double() / 2).view_as(values)
