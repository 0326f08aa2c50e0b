"""Targets that are a region of a segmentation network's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.core.outputs import pixel_scores
from seewhy.core.targets.base import ClassTarget, Settled
from seewhy.core.targets.classes import check_class


@dataclass(frozen=True, eq=False)
class Segment(Settled, ClassTarget):
    """A region of a segmentation network's output: the mean logit of a class inside it.

    `region` is a boolean mask (H, W) or (B, H, W), resized to the output if necessary;
    without it, it is the region in which the network predicts the class.
    """

    of_places: ClassVar[bool] = True

    class_index: int
    region: Tensor | None = None

    def __call__(self, outputs: Any) -> Tensor:
        """Mean logits (B,)."""
        scores = pixel_scores(outputs)
        inside = self._inside(scores).flatten(1)
        sizes = inside.sum(1)
        if (sizes == 0).any():
            empty = (sizes == 0).nonzero().flatten().tolist()
            raise ValueError(f"class {self.class_index} has an empty region in images {empty}")
        return (scores[:, self.class_index].flatten(1) * inside).sum(1) / sizes

    def resolve(self, outputs: Any) -> Segment:
        """With the region in which these outputs predict the class, if none was given."""
        return Segment(self.class_index, self._inside(pixel_scores(outputs)))

    def mirrored(self) -> Segment:
        """The mirrored region."""
        return Segment(self.class_index, None if self.region is None else self.region.flip(-1))

    def _inside(self, scores: Tensor) -> Tensor:
        check_class(self.class_index, scores)
        if self.region is None:
            return _region(scores, self.class_index)
        region = self.region.to(scores.device)
        sides = scores.ndim - 2
        region = region[None] if region.ndim == sides else region
        if region.ndim != sides + 1 or len(region) not in (1, len(scores)):
            raise ValueError(
                f"region has shape {tuple(self.region.shape)}; it should be (H, W) or "
                f"(B, H, W) for {len(scores)} images"
            )
        resized = F.interpolate(region[:, None].float(), scores.shape[2:])[:, 0] > 0.5
        return resized.expand(len(scores), *[-1] * sides)


def _region(scores: Tensor, index: int) -> Tensor:
    """Where the network gives the class: (B, C, H, W) -> (B, H, W), bool.

    A mask of one channel gives it where the score is above 0; above 0.5 where all scores of the
    image are probabilities, from 0 to 1.
    """
    scores = scores.detach()
    if scores.shape[1] > 1:
        return scores.argmax(1) == index
    flat = scores.flatten(1)
    probabilities = (flat.amin(1) >= 0) & (flat.amax(1) <= 1)
    threshold = torch.where(probabilities, 0.5, 0.0).view(-1, *[1] * (scores.ndim - 2))
    return scores[:, 0] > threshold
