"""Perturbation: how the score answers when parts of the image are hidden. No gradients.

The masks are the same for all images of a batch and for all classes, so probes that differ in their
target alone (`probe.with_target`) share the forward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy import baselines
from seewhy.baselines import BaselineLike
from seewhy.core.probe import Probe
from seewhy.core.targets import Repeated
from seewhy.naming import method
from seewhy.progress import BatchSize, in_chunks

Masks = Callable[[slice], Tensor]


@method("Petsiuk et al. 2018, RISE, eq. 6", "F + N F for all targets together")
def rise(
    probe: Probe,
    *,
    masks: int = 4000,
    cells: int = 7,
    keep: float = 0.5,
    centred: bool = True,
    seed: int = 0,
    batch_size: BatchSize = "auto",
) -> Tensor:
    """Σ_i (score(M_i ⊙ x) - mean score) M_i / (N keep): random masks weighted by the score; signed.

    The paper has no mean score (`centred=False`), and a probability as the score, as in
    `Probability(class)`. Its maps are these plus the mean score times a nearly flat map, which says
    nothing of the image, but hides its evidence where the score is far from zero, as a logit is.

    masks: N, how many.
    cells: each mask is a random grid of cells x cells, upsampled and shifted at random.
    keep: probability that a cell shows the image; the others show 0, which is the mean colour of
        normalised inputs.
    centred: take the image's mean score over all masks off each score.
    batch_size: images per pass; "auto" as many as fit.

    Raises ValueError for options out of range.
    """
    if masks < 1 or cells < 1:
        raise ValueError(f"masks={masks}, cells={cells}; both should be 1 at least")
    if not 0 < keep < 1:
        raise ValueError(f"keep={keep}; it should lie between 0 and 1")
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
        total = total + torch.einsum("nb,nhw->bhw", scores[start : start + 64].to(shown), shown)
    return total / len(scores)


def _random_masks(inputs: Tensor, count: int, cells: int, keep: float, seed: int) -> Masks:
    """RISE's masks: (n, 1, 1, H, W) in [0, 1] for a slice."""
    height, width = inputs.shape[-2:]
    cell_h, cell_w = -(-height // cells), -(-width // cells)
    # Drawn on the CPU, where a seed means the same on every machine.
    generator = torch.Generator().manual_seed(seed)
    grids = (torch.rand(count, 1, cells, cells, generator=generator) < keep).to(inputs)
    tops = torch.randint(cell_h, (count,), generator=generator).tolist()
    lefts = torch.randint(cell_w, (count,), generator=generator).tolist()
    size = ((cells + 1) * cell_h, (cells + 1) * cell_w)

    def masks(part: slice) -> Tensor:
        large = F.interpolate(grids[part], size, mode="bilinear", align_corners=False)
        shifted = zip(large, tops[part], lefts[part], strict=True)
        return torch.stack([m[None, :, y : y + height, x : x + width] for m, y, x in shifted])

    return masks


@method(
    "Zeiler & Fergus 2014, Visualizing and understanding convolutional networks",
    "F + N F for all targets together",
)
def occlusion(
    probe: Probe,
    *,
    patch: int | None = None,
    stride: int | None = None,
    baseline: BaselineLike = 0.0,
    seed: int = 0,
    batch_size: BatchSize = "auto",
) -> Tensor:
    """How far the score falls when a patch hides a place, the mean over patches there; signed.

    patch: its side in pixels; by default a sixth of the image's shorter side.
    stride: pixels from one patch to the next; by default half a patch. The last ones may stick out.
    baseline: what the patch shows, see `seewhy.baselines.baseline`.
    batch_size: images per pass; "auto" as many as fit.

    Raises ValueError for options out of range.
    """
    height, width = probe.inputs.shape[-2:]
    patch = max(1, round(min(height, width) / 6)) if patch is None else patch
    stride = max(1, patch // 2) if stride is None else stride
    if not 1 <= patch <= min(height, width) or not 1 <= stride <= patch:
        raise ValueError(
            f"patch={patch}, stride={stride}; a patch should fit into the image of {height} x "
            f"{width}, and the stride should be 1 at least and not longer than the patch"
        )
    rows, columns = (_windows(side, patch, stride).to(probe.inputs) for side in (height, width))
    count = len(rows) * len(columns)

    def hidden(part: slice) -> Tensor:
        index = torch.arange(count, device=rows.device)[part]
        both = rows[index // len(columns), :, None] * columns[index % len(columns), None, :]
        return both[:, None, None]

    scores = responses(
        probe,
        "occlusion",
        (patch, stride, baseline, seed),
        lambda part: 1 - hidden(part),
        count,
        start=baselines.baseline(probe.inputs, baseline, seed),
        batch_size=batch_size,
    )
    falls = (probe.score - scores).view(len(rows), len(columns), -1)
    total = torch.einsum("rcb,rh,cw->bhw", falls.to(rows), rows, columns)
    return total / torch.einsum("rh,cw->hw", rows, columns)


def _windows(side: int, patch: int, stride: int) -> Tensor:
    """One row per position of the patch along a side, (N, side): 1 where it hides."""
    starts = torch.arange(0, side - patch + stride, stride)[:, None]
    places = torch.arange(side)
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
    begin = torch.as_tensor(start).to(images)

    def outputs(part: slice) -> Tensor:
        masked = torch.lerp(begin, images, masks(part).to(images))
        found: Tensor = probe.outputs_of(masked.flatten(0, 1))
        return found

    def scores(part: slice) -> Tensor:
        times = part.stop - part.start
        return Repeated(probe.target, times)(outputs(part)).view(times, -1)

    if isinstance(probe.outputs, Tensor) and probe.outputs.ndim == 2:
        kept = probe.shared(
            (what, key),
            lambda: torch.cat([*in_chunks(what, outputs, count, images, batch_size)]),
        )
        return Repeated(probe.target, count)(kept).view(count, -1)
    return torch.cat([*in_chunks(what, scores, count, images, batch_size)])
