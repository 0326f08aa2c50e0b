"""Does the map show what the network uses? Metrics that change the image and run the network again.

They know no network, only a `Score`: `score(images, index)` gives one value per image, (N,), for
`images` (N, C, H, W), where `index` (N,) says from which of the B explained images each of them
is made. `class_probability` makes one of a network and its classes. Maps are (B, H, W); each image
has its own value, whatever else is in the batch.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn

from seewhy.core.observing import outputs_of
from seewhy.core.outputs import check_softmax, logits
from seewhy.fills import Fill, filled
from seewhy.maps import of_images, unit, wide
from seewhy.metrics._maps import check_flat, check_maps, ranks
from seewhy.metrics.imputation import linear_imputation
from seewhy.metrics.quality import POPPI, spearman
from seewhy.metrics.registry import Curve, register_metric, shared
from seewhy.noise import normal
from seewhy.options import Count, NotNegative, Range, Seed, checking
from seewhy.progress import BatchSize, in_chunks

Score = Callable[[Tensor, Tensor], Tensor]

_CHATTOPADHYAY = "Chattopadhyay et al. 2018, Grad-CAM++"
_PETSIUK = "Petsiuk et al. 2018, RISE"
_RONG = "Rong et al. 2022, ROAD"
_VEIL = (
    "A map that shows nearly all of the photo gets a good value; read it together with half_drop "
    "and energy_pointing_game."
)
_ORDER = (
    "Filled pixels do not look like a photo, so maps with smooth outlines get better values, "
    "whatever they show."
)
_DELETION = (
    "A few scattered pixels that disturb the network get a good value, even if they are not on the "
    "object; read it together with insertion."
)


def class_probability(
    model: nn.Module,
    classes: Tensor | Sequence[int],
    activation: Literal["softmax", "sigmoid"] | Callable[[Tensor], Tensor] = "softmax",
    batch_size: BatchSize = "auto",
) -> Score:
    """The score that is the network's probability of each explained image's class, in [0, 1].

    `classes` holds one class per explained image, (B,). "softmax" is for networks with one label
    per image, "sigmoid" for many, or for a single logit; a function gives the probabilities of
    logits (N, C) itself. The network runs in eval mode, without gradients, on at most
    `batch_size` images at a time ("auto": as many as suit the device), and is left as it was.

    Raises ValueError for an unknown activation, for the softmax of a single logit, and for classes
    that the network does not have or that are not one per image.
    """
    if not callable(activation) and activation not in ("softmax", "sigmoid"):
        raise ValueError(f"activation must be 'softmax' or 'sigmoid', not {activation!r}")
    named = {"softmax": lambda raw: raw.softmax(1), "sigmoid": torch.sigmoid}
    probabilities_of = activation if callable(activation) else named[activation]
    wanted = torch.as_tensor(classes, device="cpu")
    if wanted.ndim != 1 or wanted.dtype == torch.bool or wanted.is_floating_point():
        raise ValueError(f"classes is {classes!r}; give one class index per explained image")
    known = wanted.tolist()

    def score(images: Tensor, index: Tensor) -> Tensor:
        # To look at an accelerator's numbers would wait for all that it has to do.
        if index.device.type == "cpu" and len(index) and int(index.max()) >= len(known):
            raise ValueError(
                f"classes holds {len(known)} classes, and there is an image {int(index.max())}; "
                "give one class index per explained image"
            )
        of_image = wanted.long().to(images.device)[index]

        def scored(part: slice) -> Tensor:
            raw = wide(logits(outputs_of(model, images[part])))
            if activation == "softmax":
                check_softmax(raw)
            probabilities = probabilities_of(raw)
            count = probabilities.shape[1]
            if wrong := [c for c in known if not 0 <= c < count]:
                raise ValueError(
                    f"class {wrong[0]} does not exist in the network; give 0 to {count - 1}"
                )
            return probabilities.gather(1, of_image[part, None])[:, 0]

        return torch.cat([*in_chunks("scores", scored, len(images), images[:1], batch_size)])

    return score


def scores_of(score: Score, images: Tensor, index: Tensor | None = None) -> Tensor:
    """The scores of images, (N,); a ValueError says where a function gives anything else.

    index: from which of the explained images each is made; None is each from its own.
    """
    if index is None:
        index = torch.arange(len(images), device=images.device)
    found = score(images, index)
    if not isinstance(found, Tensor) or found.shape != (len(images),):
        said = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"score returned {said}; it should be one per image, ({len(images)},)")
    return found


class Confidences(NamedTuple):
    """The class's probability on the images and on their explanation maps, (B,) each."""

    original: Tensor
    masked: Tensor


@checking
def confidences(score: Score, inputs: Tensor, saliency: Tensor) -> Confidences:
    """The probabilities for average drop, increase, average gain and win, in 2 forward passes.

    See `explanation_maps` for what is shown.
    """
    masked = explanation_maps(inputs, saliency)
    return Confidences(scores_of(score, inputs), scores_of(score, masked))


@checking
def explanation_maps(inputs: Tensor, saliency: Tensor) -> Tensor:
    """The images times the positive part of their maps scaled to [0, 1], shaped like the images.

    Negative values of a signed map are evidence against the class, and are hidden. (Scaled by its
    minimum instead, a signed map would show the whole image, dimmed.)
    """
    saliency = check_maps(saliency, inputs=inputs)
    return inputs * unit(saliency)[:, None].to(inputs)


@shared("half")
def half_confidences(score: Score, inputs: Tensor, saliency: Tensor, fill: Fill = 0.0) -> Tensor:
    """The score where the more salient half of the pixels is shown and the rest filled, (B,).

    Only the order of the pixels counts, see `insertion_deletion` for `fill`. Costs 1 forward.
    """
    saliency = check_maps(saliency, inputs=inputs)
    shown = (2 * ranks(saliency) < saliency[0].numel())[:, None].to(inputs.device)
    return scores_of(score, torch.where(shown, inputs, filled(inputs, fill)))


@register_metric(_CHATTOPADHYAY, "1F", higher_is_better=False, caution=_VEIL)
def average_drop(original: Tensor, masked: Tensor) -> Tensor:
    """The relative fall of confidence when only the explanation map is shown, (B,), in [0, 1].

    The mean over images times 100 is the published Average Drop %. A map that shows nearly all of
    the image has a low drop but explains nothing; `half_drop` shows the same area for every map.
    nan where a score that is no probability is below 0: no share of it can be lost.
    Source: Chattopadhyay et al. 2018, "Grad-CAM++". pytorch-grad-cam returns the absolute change.
    """
    drop = (original - masked).clamp_min(0) / original.clamp_min(torch.finfo(original.dtype).tiny)
    return torch.where(original < 0, torch.nan, drop)


@register_metric(POPPI, "1E", higher_is_better=True, caution=_VEIL)
def adcc(coherency: Tensor, complexity: Tensor, average_drop: Tensor) -> Tensor:
    """The harmonic mean of coherency, 1 - complexity and 1 - average drop, (B,), in [0, 1].

    All three are fractions, (B,); where one of the terms is 0, so is the mean. Source: Poppi et
    al. 2021.
    """
    terms = torch.stack([coherency, 1 - complexity, 1 - average_drop])
    return 3 / (1 / terms.clamp_min(0)).sum(0)


@register_metric("Average drop with a hard mask", "1F", higher_is_better=False, caution=_ORDER)
def half_drop(original: Tensor, half: Tensor) -> Tensor:
    """The relative fall of confidence when only the more salient half is shown, (B,), in [0, 1].

    Average drop with a binary mask of the same area for every map, so that the map's scaling and
    coverage do not matter. `half` is the result of `half_confidences`.
    """
    return average_drop(original, half)


@register_metric(_CHATTOPADHYAY, "1F", higher_is_better=True, caution=_VEIL)
def increase(original: Tensor, masked: Tensor) -> Tensor:
    """1 where the confidence rises when only the explanation map is shown, else 0, (B,).

    The mean over images times 100 is the published Increase in Confidence %. Source: Chattopadhyay
    et al. 2018.
    """
    return (masked > original).to(original)


@register_metric("Zhang et al. 2024, Opti-CAM", "1F", higher_is_better=True, caution=_VEIL)
def average_gain(original: Tensor, masked: Tensor) -> Tensor:
    """The rise of confidence as a share of the possible rise, (B,), in [0, 1].

    nan where a score that is no probability is above 1. Source: Zhang et al. 2024, "Opti-CAM".
    """
    gain = (masked - original).clamp_min(0)
    share = gain / (1 - original).clamp_min(torch.finfo(original.dtype).tiny)
    return torch.where(original > 1, torch.nan, share)


@register_metric(_CHATTOPADHYAY, "1F", higher_is_better=True, caution=_VEIL)
def win(masked: Tensor, other_method_masked: Tensor) -> Tensor:
    """1 where the confidence falls less with this method's explanation map than with another's.

    `masked` and `other_method_masked` (B,) are the confidences on the two methods' explanation maps
    of the same images; ones that are equal but for rounding are won by neither. Source:
    Chattopadhyay et al. 2018.
    """
    rounded = torch.isclose(masked, other_method_masked, rtol=1e-5, atol=0)
    return ((masked > other_method_masked) & ~rounded).to(masked)


class Curves(NamedTuple):
    """Scores along an insertion and a deletion: `pixels` (P,) is the share of pixels changed."""

    pixels: Tensor
    insertion: Tensor
    deletion: Tensor


@shared("curves")
def insertion_deletion(
    score: Score,
    inputs: Tensor,
    saliency: Tensor,
    *,
    steps: Count | Sequence[int] = 32,
    insert_into: Fill = "blur",
    delete_with: Fill = 0.0,
    batch_size: BatchSize = "auto",
) -> Curves:
    """Both curves from one sweep: scores (B, P) as the most salient pixels are changed first.

    `steps` is the number of equal steps, P = steps + 1 points, or the rising numbers of pixels
    changed at each point, from 0 to H·W. Insertion puts the image's pixels into `insert_into`,
    deletion replaces them by `delete_with`: a constant in units of the inputs, "blur" (Gaussian,
    11 x 11 pixels, deviation 5) or a tensor that broadcasts to `inputs`. Costs 2 forwards per step
    and image; `batch_size` is how many changed images exist at a time, "auto" as many as suit
    the device. Source: Petsiuk et al.
    2018, "RISE", whose code takes H steps; on photos of 224 pixels 32 steps gave the same
    areas to within 0.004. The blur is torch-cam's and RefineCAM's; that of RISE's code has flatter
    weights, and zeros beyond the border.
    """
    saliency = check_maps(saliency, inputs=inputs)
    counts = _counts(steps, saliency[0].numel()).to(inputs.device)
    order = ranks(saliency).to(inputs.device)[:, None]

    def curve(changed: Tensor, unchanged: Tensor, counts: Tensor) -> Tensor:
        def mixed(index: Tensor, step: Tensor) -> Tensor:
            change = order[index] < of_images(counts[step], order)
            return torch.where(change, changed[index], unchanged[index])

        return _scores("insertion and deletion", score, inputs, len(counts), mixed, batch_size)

    deletion = curve(filled(inputs, delete_with), inputs, counts)
    begun = curve(inputs, filled(inputs, insert_into), counts[:-1])
    insertion = torch.cat([begun, deletion[:, :1]], 1)  # ends where deletion begins: the image
    return Curves(counts.to(deletion) / saliency[0].numel(), insertion, deletion)


@register_metric(
    _PETSIUK,
    "2SF",
    higher_is_better=True,
    curve=Curve("insertion", "share of pixels put in, most salient first", "steps"),
    caution=_ORDER,
)
def insertion(curves: Curves) -> Tensor:
    """The area under the insertion curve, (B,), in [0, 1] for probabilities; higher is better."""
    return torch.trapezoid(curves.insertion, curves.pixels)


@register_metric(
    _PETSIUK,
    "2SF",
    higher_is_better=False,
    curve=Curve("deletion", "share of pixels taken out, most salient first", "steps"),
    caution=_DELETION,
)
def deletion(curves: Curves) -> Tensor:
    """The area under the deletion curve, (B,), in [0, 1] for probabilities; lower is better."""
    return torch.trapezoid(curves.deletion, curves.pixels)


_TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class RoadCurves(NamedTuple):
    """Scores (B, F) with the most and with the least relevant share of pixels imputed."""

    removed: Tensor
    most_first: Tensor
    least_first: Tensor


@shared("road_curves")
def road_curves(
    score: Score,
    inputs: Tensor,
    saliency: Tensor,
    *,
    removed: Sequence[Annotated[float, Range(above=0, below=1)]] = _TENTHS,
    noise: NotNegative = 0.01,
    seed: Seed = 0,
    batch_size: BatchSize = "auto",
) -> RoadCurves:
    """Remove-and-debias: scores as a growing share of pixels is imputed from the others.

    `removed` are the shares, in (0, 1). The same normal noise of deviation `noise`, in units of
    the inputs, lies on the imputed pixels of all images, so that none depends on its neighbours in
    the batch. Costs 2 forwards per share and image, both orders together. Source: Rong et al.
    2022, "A consistent and efficient evaluation strategy for attribution methods".
    pytorch-grad-cam removes equal values together instead of in reading order.
    """
    saliency = check_maps(saliency, inputs=inputs)
    check_flat(saliency, "ROAD's imputation weighs the eight neighbours of a pixel of an image")
    pixels = saliency[0].numel()
    # As many pixels as lie at or above that quantile of the map.
    counts = [pixels - math.ceil(round((1 - share) * (pixels - 1), 6)) for share in removed]
    spans = [(0, n) for n in counts] + [(pixels - n, pixels) for n in counts]
    start, stop = torch.tensor(spans, device=inputs.device)[:, :, None, None].unbind(1)
    order = ranks(saliency).to(inputs.device)
    speckle = noise * normal(inputs.shape[1:], torch.Generator().manual_seed(seed)).to(inputs)

    def imputed(index: Tensor, step: Tensor) -> Tensor:
        missing = (order[index] >= start[step]) & (order[index] < stop[step])
        # A hundredth of the usual noise is exact enough.
        known = linear_imputation(inputs[index], missing, tolerance=3e-6)
        return known + speckle * missing[:, None]

    scores = _scores("ROAD", score, inputs, len(spans), imputed, batch_size)
    both = scores.view(len(inputs), 2, len(counts))
    return RoadCurves(both.new_tensor(counts) / pixels, both[:, 0], both[:, 1])


@register_metric(
    _RONG,
    "2SF",
    higher_is_better=False,
    curve=Curve("most_first", "share of pixels imputed, most salient first", "removed"),
)
def road_most_first(road_curves: RoadCurves) -> Tensor:
    """The mean score without the most relevant pixels, (B,); lower is better."""
    return road_curves.most_first.mean(1)


@register_metric(
    _RONG,
    "2SF",
    higher_is_better=True,
    curve=Curve("least_first", "share of pixels imputed, least salient first", "removed"),
)
def road_least_first(road_curves: RoadCurves) -> Tensor:
    """The mean score without the least relevant pixels, (B,); higher is better."""
    return road_curves.least_first.mean(1)


@register_metric(_RONG, "2SF", higher_is_better=True, range=(-0.5, 0.5))
def road(road_curves: RoadCurves) -> Tensor:
    """Both orders in one number, (B,), in [-0.5, 0.5] for probabilities; higher is better.

    Half the difference of their mean scores, as pytorch-grad-cam's `ROADCombined`.
    """
    return (road_least_first(road_curves) - road_most_first(road_curves)) / 2


@register_metric(
    "Hesse et al. 2024, Benchmarking the attribution quality of vision models (IDSDS)",
    "S²F",
    higher_is_better=True,
    range=(-1.0, 1.0),
)
def single_deletion(
    score: Score, inputs: Tensor, saliency: Tensor, *, side: Count = 4, fill: Fill = 0.0
) -> Tensor:
    """How well the map ranks the image's patches by their effect on the score, (B,), in [-1, 1].

    The image is divided into `side` x `side` patches, and each is filled separately. The value is
    Spearman's correlation of the fall of the score with the map's sums over the patches; 0 if one
    of the two is constant. See `insertion_deletion` for `fill`. Costs `side`² + 1 forwards. Source:
    Hesse et al. 2024, "Benchmarking the attribution quality of vision models" (IDSDS), whose
    networks were trained on images with missing patches; other networks may react differently.

    Raises ValueError for fewer than 2 patches a side, or more than the map has pixels.
    """
    saliency = check_maps(saliency, inputs=inputs)
    check_flat(saliency, "the patches are those of an image")
    height, width = saliency.shape[1:]
    if not 2 <= side <= min(height, width):
        raise ValueError(f"side={side}; a map of {height} x {width} pixels takes 2 or more patches")
    row, column = (torch.arange(size, device="cpu") * side // size for size in (height, width))
    patch = (row[:, None] * side + column).to(inputs.device)
    number = side * side
    hiding = filled(inputs, fill)

    def without(index: Tensor, step: Tensor) -> Tensor:
        hidden = (patch == step[:, None, None])[:, None]
        return torch.where(hidden, hiding[index], inputs[index])

    whole = scores_of(score, inputs)[:, None]
    fallen = whole - _scores("single deletion", score, inputs, number, without)
    flat = saliency.flatten(1).to(inputs.device)
    masses = flat.new_zeros(len(flat), number).index_add_(1, patch.flatten(), flat)
    return spearman(masses, fallen.to(masses))


@register_metric("rendered scenes", higher_is_better=True, range=(-1.0, 1.0))
def effect_correlation(
    saliency: Tensor, regions: Sequence[Tensor], effects: Sequence[Tensor]
) -> Tensor:
    """How well the map ranks an image's regions by their true effects, (B,), in [-1, 1].

    `regions` holds each image's masks (R, H, W) bool, `effects` their true effects (R,): the fall
    of the score when the region is removed from the scene. The value is Spearman's correlation of
    the effects with the map's sums over the regions; nan for fewer than two regions.
    """
    saliency = check_maps(saliency)
    values = []
    for map_, masks, effect in zip(saliency, regions, effects, strict=True):
        mass = (map_ * masks.bool()).flatten(1).sum(1)
        rank = mass.new_full((1,), torch.nan, dtype=torch.float64)
        values.append(spearman(mass[None], effect.to(mass)[None]) if len(effect) > 1 else rank)
    return torch.cat(values)


def _counts(steps: int | Sequence[int], pixels: int) -> Tensor:
    if isinstance(steps, int):
        if not 1 <= steps <= pixels:
            raise ValueError(f"steps={steps}; a map of {pixels} pixels takes 1 to {pixels} steps")
        return torch.tensor(
            [round(pixels * step / steps) for step in range(steps + 1)], device="cpu"
        )
    counts = torch.tensor(list(steps), device="cpu")
    if counts[0] != 0 or counts[-1] != pixels or (counts.diff() <= 0).any():
        raise ValueError(f"steps must rise from 0 to all {pixels} pixels")
    return counts


def _scores(
    what: str,
    score: Score,
    inputs: Tensor,
    steps: int,
    changed: Callable[[Tensor, Tensor], Tensor],
    batch_size: BatchSize = "auto",
) -> Tensor:
    """The scores (B, S) of S changed versions of each image, image by image.

    changed: the versions (N, C, H, W) of so many images and steps, (N,) each.
    """
    image = torch.arange(len(inputs), device=inputs.device).repeat_interleave(steps)
    step = torch.arange(steps, device=inputs.device).repeat(len(inputs))

    def scored(part: slice) -> Tensor:
        return scores_of(score, changed(image[part], step[part]), image[part])

    parts = in_chunks(what, scored, len(image), inputs[:1], batch_size)
    return wide(torch.cat([*parts])).view(len(inputs), steps)
