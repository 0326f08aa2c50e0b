"""Perturbation: how the score changes when parts of the image are hidden. No gradients.

The masks are the same for all images of a batch and for all classes, so probes that differ in their
target alone (`probe.with_target`) share the forward passes.
"""

import math
from collections.abc import Callable, Hashable
from typing import Annotated, Any

import torch
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.fills import Fill, filled
from seewhy.maps import upsample, wide
from seewhy.naming import method
from seewhy.noise import uniform
from seewhy.options import Count, Range, Seed
from seewhy.progress import BatchSize, in_chunks

Masks = Callable[[slice], Tensor]


@method("Petsiuk et al. 2018, RISE, eq. 6", "F + N F for all targets together", layers="none")
def rise(
    probe: Probe,
    *,
    masks: Count = 4000,
    cells: Annotated[int, Range(least=1, most=64)] = 7,
    keep: Annotated[float, Range(least=0.001, most=0.999)] = 0.5,
    centred: bool = True,
    seed: Seed = 0,
    batch_size: BatchSize = "auto",
) -> Tensor:
    """Σ_i (score(M_i ⊙ x) - mean score) M_i / (N keep): random masks weighted by the score; signed.

    The paper does not subtract the mean score (`centred=False`) and uses a probability as the
    score, `Probability(class)`. Its maps are these maps plus the mean score times a nearly constant
    map. If the score is far from zero, as logits are, that constant hides the evidence.

    masks: the number of masks, N.
    cells: each mask is a random grid of cells x cells, upsampled and shifted at random.
    keep: probability that a cell shows the image; other cells show 0, which is the mean colour of
        normalised inputs.
    centred: subtract the image's mean score over all masks from each score.
    batch_size: images per pass; "auto" as many as fit.
    """
    shown = _random_masks(probe.inputs, masks, cells, keep, seed)
    key = (masks, cells, keep, seed)
    scores = responses(probe, "RISE", key, shown, masks, batch_size=batch_size)
    if centred:
        scores = scores - scores.mean(0)
    return mean_of_masks(scores, shown) / keep


def mean_of_masks(scores: Tensor, masks: Masks) -> Tensor:
    """Σ_i score_i M_i / N of scores (N, B) and the masks that they belong to: (B, H, W)."""
    total = scores.new_zeros(())
    for start in range(0, len(scores), 64):
        shown = masks(slice(start, min(start + 64, len(scores))))[:, 0, 0]
        # Halves would overflow over thousands of masks, or lose what the last ones add.
        total = total + wide(
            torch.einsum("nb,n...->b...", scores[start : start + 64].to(shown), shown)
        )
    return (total / len(scores)).to(shown)


def _random_masks(inputs: Tensor, count: int, cells: int, keep: float, seed: int) -> Masks:
    """RISE's masks: (n, 1, 1, H, W) in [0, 1] for a slice; cells x cells is for two sides."""
    size = inputs.shape[2:]
    cell = [-(-side // cells) for side in size]
    generator = torch.Generator().manual_seed(seed)
    shown = uniform((count, *[cells] * len(size)), generator) < keep
    shown = shown.to(inputs.device)
    shifts = [torch.randint(side, (count,), generator=generator, device="cpu") for side in cell]
    large = tuple((cells + 1) * side for side in cell)
    # The rows and the columns of each mask's window, (N, H) and (N, W).
    windows = [
        (shift[:, None] + torch.arange(side, device="cpu")).to(inputs.device)
        for shift, side in zip(shifts, size, strict=True)
    ]

    def masks(part: slice) -> Tensor:
        found = upsample(shown[part].to(inputs.dtype), large)
        for axis, places in enumerate((one[part] for one in windows), 1):
            sides = [-1 if side == axis else 1 for side in range(1, found.ndim)]
            found = found.take_along_dim(places.view(len(places), *sides), axis)
        return found[:, None, None]

    return masks


@method(
    "Zeiler & Fergus 2014, Visualizing and understanding convolutional networks",
    "F + N F for all targets together",
    layers="none",
)
def occlusion(
    probe: Probe,
    *,
    patch: Annotated[int, Range(least=1)] | None = None,
    stride: Annotated[int, Range(least=1)] | None = None,
    baseline: Fill = 0.0,
    seed: Seed = 0,
    batch_size: BatchSize = "auto",
) -> Tensor:
    """The fall of the score when a patch hides a pixel, averaged over all patches there; signed.

    patch: side of the patch in pixels; by default a sixth of the image's shorter side.
    stride: pixels from one patch to the next; by default half a patch. The last patches may extend
        beyond the image.
    baseline: content of the patch: a number in units of the input, "black", "darkest", "blurred",
        "blur", "random" or a tensor, see `seewhy.fills.filled`.
    batch_size: images per pass; "auto" as many as fit.

    Raises ValueError for a patch that does not fit, or a stride longer than the patch.
    """
    size = probe.size
    patch = max(1, round(min(size) / 6)) if patch is None else patch
    stride = max(1, patch // 2) if stride is None else stride
    if patch > min(size) or stride > patch:
        raise ValueError(
            f"patch={patch}, stride={stride}; a patch should fit into the image of "
            f"{' x '.join(map(str, size))}, and the stride should not be longer than the patch"
        )
    windows = [_windows(side, patch, stride).to(probe.inputs) for side in size]
    places = [len(rows) for rows in windows]
    count = math.prod(places)

    def shown(part: slice) -> Tensor:
        index = torch.arange(part.start, part.stop, device=probe.inputs.device)
        hidden = probe.inputs.new_ones(len(index))
        for axis, place in enumerate(torch.unravel_index(index, places)):
            hidden = hidden[..., None] * windows[axis][place].view(len(index), *[1] * axis, -1)
        return (1 - hidden)[:, None, None]

    scores = responses(
        probe,
        "occlusion",
        (patch, stride, baseline, seed),
        shown,
        count,
        start=filled(probe.inputs, baseline, seed, black=probe.black),
        batch_size=batch_size,
    )
    total = (probe.score - scores).T.to(probe.inputs).view(-1, *places)
    hides = torch.ones_like(total[:1])
    for rows in windows:  # each replaces the first of the sides that are left, and puts it last
        total, hides = (torch.tensordot(one, rows, ([1], [0])) for one in (total, hides))
    return total / hides


def _windows(side: int, patch: int, stride: int) -> Tensor:
    """One row per position of the patch along a side, (N, side): 1 where it hides."""
    starts = torch.arange(0, side - patch + stride, stride, device="cpu")[:, None]
    places = torch.arange(side, device="cpu")
    return ((places >= starts) & (places < starts + patch)).float()


def responses(
    probe: Probe,
    what: str,
    key: Hashable,
    masks: Masks,
    count: int,
    *,
    start: Tensor | float = 0.0,
    batch_size: BatchSize = "auto",
) -> Tensor:
    """The scores (N, B) of N masked versions of each image.

    what, key: name the masks. Where the network returns class scores, these are kept with the
        pass, and later targets are answered from them.
    masks: gives those of a slice, (n, 1 or B, 1, H, W): 1 shows the image, 0 what it is masked by.
    count: N.
    start: what the images are masked by, broadcasting to (B, C, H, W).
    batch_size: images per pass; "auto" as many as fit, halved while memory does not suffice.
    """
    images = probe.inputs
    begin = torch.as_tensor(start, dtype=images.dtype, device=images.device)

    def outputs(part: slice) -> Any:
        masked = torch.lerp(begin, images, masks(part).to(images))
        return probe.outputs_of(masked.flatten(0, 1))

    def scores(part: slice) -> Tensor:
        times = part.stop - part.start
        return probe.target.repeated(times, len(images))(outputs(part)).view(times, -1)

    found = probe.outputs
    if isinstance(found, Tensor) and found.ndim == 2 and len(found) == len(images):
        kept = probe.shared(
            (what, key),
            lambda: torch.cat([*in_chunks(what, outputs, count, images, batch_size)]),
        )
        return probe.target.repeated(count, len(images))(kept).view(count, -1)
    return torch.cat([*in_chunks(what, scores, count, images, batch_size)])
