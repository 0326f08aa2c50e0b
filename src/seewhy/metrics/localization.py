"""Does the map point at the object? Metrics against annotated boxes and masks.

Maps are (B, H, W) float, masks (B, H, W) bool of the same size, and each image has its own value:
every function returns (B,). Annotations given as boxes become masks by `box_masks`. Of masks of
other types, such as 0 and 255, what is not 0 is inside.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.maps import of_images, unit
from seewhy.metrics._maps import check_flat, check_maps, ranks
from seewhy.metrics.registry import register_metric
from seewhy.options import Count, NotNegative, Share, checking

_ARRAS = "Arras et al. 2022, CLEVR-XAI"


@checking
def pointing_game(saliency: Tensor, masks: Tensor, tolerance: NotNegative = 15) -> Tensor:
    """1 where the map's maximum hits the annotated region, else 0, (B,).

    A hit lies less than `tolerance` pixels from the region. The published 15 pixels are meant at
    the photo's original size, so maps and masks should have it; `tolerance=0` asks for a pixel of
    the region itself. Of several maxima the first in reading order counts, and nothing hits an
    empty region. Source: Zhang et al. 2018, "Top-down neural attention by excitation backprop";
    "less than" and the order of equal maxima as in TorchRay.
    """
    saliency = check_maps(saliency, masks=masks)
    peaks = torch.unravel_index(saliency.flatten(1).argmax(1), saliency.shape[1:])
    return hits(torch.stack(peaks[::-1], 1), masks, tolerance)


@register_metric(
    "Zhang et al. 2018, excitation backprop",
    higher_is_better=True,
    region="dataset",
    size="photo",
    name="pointing_game",
)
def pointing_game_on_photo(
    saliency: Tensor, masks: Tensor, *, tolerance: NotNegative | None = None
) -> Tensor:
    """1 where the map's maximum hits the annotated region of the photo, else 0, (B,).

    `tolerance` in pixels of the photo. The published 15 are meant for photos of about 500 pixels,
    as those of VOC are; None: so many where the longer side has 500 or more, and on smaller ones in
    proportion less, as within 15 of 128 pixels nearly anything is a hit. See `pointing_game`.
    """
    if tolerance is None:
        tolerance = 15 * min(1, max(saliency.shape[1:]) / 500)
    return pointing_game(saliency, masks, tolerance)


@checking
def hits(points: Tensor, masks: Tensor, tolerance: NotNegative = 15) -> Tensor:
    """1 where a point (x, y), of shape (B, 2), lies in or near its mask (B, H, W), else 0, (B,).

    Near is less than `tolerance` pixels from the centre of a pixel of the mask. Of signals points
    are (x,), and of volumes (x, y, z).
    """
    if points.shape != (len(masks), masks.ndim - 1):
        raise ValueError(f"points is {tuple(points.shape)}, for masks of {tuple(masks.shape)}")
    squared = torch.zeros(masks.shape, dtype=torch.float64, device=masks.device)
    for axis, at in zip(range(masks.ndim - 1, 0, -1), points.to(squared).unbind(1), strict=True):
        places = torch.arange(masks.shape[axis], device=masks.device)
        ahead = places.view(-1, *[1] * (masks.ndim - 1 - axis)) - of_images(at, masks)
        squared += ahead**2
    near = (squared < tolerance**2) | (squared == 0)
    return (near & masks.bool()).flatten(1).any(1).float()


@register_metric("Wang et al. 2020, Score-CAM", higher_is_better=True, region="boxes")
def energy_pointing_game(saliency: Tensor, masks: Tensor) -> Tensor:
    """The share of the map's energy inside the annotated region, (B,), in [0, 1].

    The energy is the sum of the positive values; a map without any scores 0. Source: Wang et al.
    2020, "Score-CAM", where maps are non-negative and the region is made of boxes.
    """
    saliency = check_maps(saliency, masks=masks)
    energy = saliency.clamp_min(0)
    total = energy.flatten(1).sum(1)
    return (energy * masks.bool()).flatten(1).sum(1) / torch.where(total > 0, total, 1)


@register_metric(
    "Rao et al. 2022, Towards better understanding attribution methods (GridPG)",
    higher_is_better=True,
    region="cells",
)
def grid_pointing(saliency: Tensor, masks: Tensor) -> Tensor:
    """The share of the positive attribution in the cell of the target class, (B,), in [0, 1].

    The maps are of grids of n x n photos of different classes; the masks (B, H, W) are the cells of
    the target classes. A constant map scores 1/n², 0.25 in a grid of 2 x 2; a map without positive
    values scores 0. Source: Böhle et al. 2021, "Convolutional dynamic alignment
    networks", as GridPG in Rao et al. 2022, "Towards better understanding attribution methods".
    """
    return energy_pointing_game(saliency, masks)


@register_metric(_ARRAS, higher_is_better=True)
def mass_accuracy(saliency: Tensor, masks: Tensor) -> Tensor:
    """The share of the positive relevance inside the object's pixel mask, (B,), in [0, 1].

    The energy pointing game with the object's own outline for a region. Source: Arras et al. 2022,
    "CLEVR-XAI", for relevance pooled to non-negative maps. Quantus divides sums of
    signed relevance instead, which cancel and leave [0, 1].
    """
    return energy_pointing_game(saliency, masks)


@register_metric(_ARRAS, higher_is_better=True)
def rank_accuracy(saliency: Tensor, masks: Tensor) -> Tensor:
    """Of the k most salient pixels, the share inside a mask of k pixels, (B,), in [0, 1].

    An empty mask scores 0. Source: Arras et al. 2022, "CLEVR-XAI".
    """
    saliency = check_maps(saliency, masks=masks)
    region = masks.bool()
    size = region.flatten(1).sum(1)
    found = (ranks(saliency) < of_images(size, region)) & region
    return found.flatten(1).sum(1).float() / size.clamp_min(1)


@register_metric("Jaccard index of the thresholded map", higher_is_better=True)
def iou(saliency: Tensor, masks: Tensor, threshold: Share = 0.5) -> Tensor:
    """Intersection over union of the thresholded map and the mask, (B,), in [0, 1].

    `threshold` is a fraction of the map's range: its positive part is scaled to [0, 1] first.
    """
    saliency = check_maps(saliency, masks=masks)
    found, region = unit(saliency) >= threshold, masks.bool()
    union = (found | region).flatten(1).sum(1)
    return (found & region).flatten(1).sum(1).float() / union.clamp_min(1)


@register_metric("Zhou et al. 2016, CAM", higher_is_better=True)
def box_iou(saliency: Tensor, boxes: Sequence[Tensor], threshold: Share = 0.2) -> Tensor:
    """IoU of the box around the map's largest part and the best fitting annotated box, (B,).

    The part is the largest 8-connected component of the map where it reaches `threshold`, a
    fraction of the range of its positive part. `boxes` holds one (n, 4) tensor per image,
    `x0, y0, x1, y1` in pixels. In [0, 1]; 0 without boxes. Source: Zhou et al. 2016, "Learning deep
    features for discriminative localization", with its threshold of 20 %.
    """
    saliency = check_maps(saliency)
    check_flat(saliency, "boxes are drawn on images; 'iou' takes masks of any number of sides")
    _check_boxes(boxes, len(saliency))
    best = []
    for part, annotated in zip(largest_component(unit(saliency) >= threshold), boxes, strict=True):
        box = _bounding_box(part)
        fits = _iou_of_boxes(box, annotated.to(box))
        best.append(fits.amax() if len(annotated) else box.new_zeros(()))
    return torch.stack(best)


@checking
def box_masks(boxes: Sequence[Tensor], size: tuple[Count, Count]) -> Tensor:
    """The masks (B, H, W), bool, that each image's boxes cover together.

    `boxes` holds one (n, 4) tensor per image, `x0, y0, x1, y1` in pixels from the top left corner
    of the image; a pixel is covered if its centre is. (VOC's inclusive, 1-based corners are thus
    `xmin - 1, ymin - 1, xmax, ymax`.)
    """
    _check_boxes(boxes, len(boxes))
    height, width = size
    masks = []
    for annotated in boxes:
        x0, y0, x1, y1 = annotated.to(torch.float64)[:, :, None].unbind(1)
        x = torch.arange(width, device=annotated.device).double() + 0.5
        y = torch.arange(height, device=annotated.device).double() + 0.5
        columns, rows = (x0 <= x) & (x < x1), (y0 <= y) & (y < y1)
        masks.append((rows[:, :, None] & columns[:, None, :]).any(0))
    return torch.stack(masks)


def largest_component(masks: Tensor) -> Tensor:
    """Each mask's largest 8-connected component, (B, H, W) bool; of equals the first.

    Labels spread by hooking trees of pixels onto the smallest neighbouring label and flattening
    the trees, so that the number of rounds grows with the logarithm of a component's length.
    """
    inside = masks.bool()
    pixels = inside.numel()
    label = torch.arange(pixels, device=masks.device)
    while True:
        spread = F.pad(torch.where(inside, label.view_as(inside), pixels), [1] * 4, value=pixels)
        rows = torch.minimum(spread[:, :-2], spread[:, 2:]).minimum(spread[:, 1:-1])
        nearby = torch.minimum(rows[..., :-2], rows[..., 2:]).minimum(rows[..., 1:-1])
        smallest = torch.where(inside, nearby, pixels).flatten()
        joined = label.scatter_reduce(0, label, smallest, "amin")
        while not torch.equal(joined, flatter := joined[joined]):
            joined = flatter
        if torch.equal(joined, label):
            break
        label = joined
    sizes = torch.zeros_like(label).scatter_add_(0, label, inside.flatten().long())
    roots = sizes.view(len(inside), -1).argmax(1) + torch.arange(
        0, pixels, max(inside[0].numel(), 1), device=masks.device
    )
    return inside & (label.view_as(inside) == roots[:, None, None])


def difficult(masks: Tensor, distractors: Tensor) -> Tensor:
    """Which pairs of image and class belong to the pointing game's difficult subset, (B,) bool.

    Those whose boxes, `masks` (B, H, W), cover less than a quarter of the image while the image
    also holds another class, `distractors` (B,) bool. Source: Zhang et al. 2018.
    """
    return (masks.bool().float().mean((1, 2)) < 0.25) & distractors.bool()


def class_means(values: Tensor, classes: Tensor, count: int) -> Tensor:
    """The mean of `values` (N,) over the pairs of each class (N,) int, (count,).

    A class without pairs has nan, so that `.nanmean()` averages over the classes seen and
    `.nan_to_num().mean()` over all of them, as TorchRay does.
    """
    sums = torch.zeros(count, dtype=torch.float64, device=values.device)
    pairs = sums.scatter_add(0, classes, torch.ones_like(values, dtype=torch.float64))
    return sums.scatter_add(0, classes, values.double()) / pairs


def _bounding_box(mask: Tensor) -> Tensor:
    """The tight box `x0, y0, x1, y1` of a mask (H, W), (4,) float; all 0 if it is empty."""
    y, x = mask.nonzero(as_tuple=True)
    if not len(x):
        return x.new_zeros(4).double()
    return torch.stack([x.amin(), y.amin(), x.amax() + 1, y.amax() + 1]).double()


def _iou_of_boxes(box: Tensor, others: Tensor) -> Tensor:
    """IoU of one box (4,) with each of the others (n, 4)."""
    overlap = torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])
    shared = overlap.clamp_min(0).prod(1)
    areas = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1)
    return torch.where(shared > 0, shared / (areas - shared), 0)  # both may have no area


def _check_boxes(boxes: Sequence[Tensor], count: int) -> None:
    if len(boxes) != count:
        raise ValueError(f"boxes holds {len(boxes)} tensors for {count} images")
    for number, annotated in enumerate(boxes):
        if annotated.ndim != 2 or annotated.shape[1] != 4:
            raise ValueError(
                f"boxes[{number}] has shape {tuple(annotated.shape)}; it should be (n, 4)"
            )
