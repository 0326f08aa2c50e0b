"""What a network's outputs say of its classes: one score, region or probability for each.

Networks differ in shape. Classifiers give one logit per class, (B, C); binary ones a single
logit, (B, 1); segmentation networks either of these per pixel, (B, C, H, W); regressions plain
numbers. A single logit z tells two classes apart: z speaks for class 1, and -z for class 0.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.core.outputs import logits
from seewhy.core.targets import Class, ClassTarget, Predicted, Target

Activation = Literal["softmax", "sigmoid", "none"]
"""How logits become probabilities: one class of many, each class for itself, or not at all."""

# Steps of a graph that only arrange numbers.
_RESHAPING = ("View", "Reshape", "UnsafeView", "Squeeze", "Unsqueeze", "Select", "Slice", "Alias")


def probabilities(scores: Tensor, activation: Activation | None) -> Tensor:
    """Probabilities in [0, 1] of logits (K,), (B, K) or (B, K, ...), in the same shape.

    Of a single logit come two: of class 0 and of class 1. None is sigmoid for a single logit, and
    softmax for several; "none" leaves the numbers as they are.
    """
    if activation == "none":
        return scores
    dim = min(1, scores.ndim - 1)
    single = scores.shape[dim] == 1
    scores = torch.cat([-scores, scores], dim) if single else scores
    return scores.sigmoid() if single or activation == "sigmoid" else scores.softmax(dim)


def own_activation(outputs: Any) -> Activation | None:
    """The activation that a network ends with by itself, as far as the graph of its outputs tells.

    Its numbers are no logits then, and a second activation would make other probabilities of them.
    """
    step = logits(outputs).grad_fn
    while step is not None:
        name = type(step).__name__
        if name.startswith(("SoftmaxBackward", "SigmoidBackward")):
            return "softmax" if name.startswith("Softmax") else "sigmoid"
        if not name.startswith(_RESHAPING):
            return None
        step = step.next_functions[0][0]
    return None


def class_scores(outputs: Any, activation: Activation | None) -> Tensor:
    """Logits of all classes, (B, C) or (B, C, H, W); a single logit z gives the two -z and z."""
    scores = logits(outputs)
    if scores.shape[1] == 1 and activation != "none":
        return torch.cat([-scores, scores], 1)
    return scores


def regions(scores: Tensor, activation: Activation | None) -> Tensor:
    """Where a segmentation network sees each class, (B, C, H, W) bool, of its own logits.

    At each pixel that is the likeliest class; of classes for themselves (sigmoid) all that are
    likelier than not; of plain numbers the whole picture.
    """
    if activation == "none":
        return torch.ones_like(scores, dtype=torch.bool)
    if scores.shape[1] == 1:
        return torch.cat([scores <= 0, scores > 0], 1)
    if activation == "sigmoid":
        return scores > 0
    classes = torch.arange(scores.shape[1], device=scores.device)
    return scores.argmax(1, keepdim=True) == classes[:, None, None]


def extents(scores: Tensor, activation: Activation | None) -> Tensor:
    """How much of the picture a segmentation network gives each class, (B, C), of its own logits.

    That is the share that its region has; of plain numbers their mean.
    """
    if activation == "none":
        return scores.mean((2, 3))
    return regions(scores, activation).float().mean((2, 3))


@dataclass(frozen=True)
class Asked(ClassTarget):
    """A class of a network, or the one at a rank, whatever the shape of the outputs.

    index: of the class, or of one class per image; None for the one that is likeliest, or has the
        largest region, at `rank`.
    activation: of the network, see `Activation`.
    """

    index: int | tuple[int, ...] | None = None
    rank: int = 1
    activation: Activation | None = None

    def __call__(self, outputs: Any) -> Tensor:
        """Scores (B,)."""
        return self.resolve(outputs)(outputs)

    def resolve(self, outputs: Any) -> Target:
        """The class of each image.

        Raises ValueError if the network has no such class or rank.
        """
        own = logits(outputs).detach()
        if own.ndim not in (2, 4):
            raise ValueError(
                f"the network returned {tuple(own.shape)}; a class needs scores (B, C), or "
                "(B, C, H, W) of a segmentation network; give a target function, or wrap the "
                "network in a module that returns such scores, see docs/models.md"
            )
        scores = class_scores(outputs, self.activation).detach()
        count = scores.shape[1]
        for index in (self.index,) if isinstance(self.index, int) else self.index or ():
            if not 0 <= index < count:
                raise ValueError(
                    f"target class {index} is out of range: the model has {count} classes, "
                    f"0 to {count - 1}"
                )
        if not 1 <= self.rank <= count:
            raise ValueError(f"rank={self.rank} is out of range: the model has {count} classes")
        if own.ndim == 2 and own.shape[1] == count:
            if self.index is None:
                return Predicted(self.rank).resolve(outputs)
            return Class(self.index)
        if self.index is None:
            ranked = scores if own.ndim == 2 else extents(own, self.activation)
            found = ranked.sort(dim=1, descending=True, stable=True).indices[:, self.rank - 1]
        else:
            found = torch.tensor(self.index, device=scores.device).expand(len(scores))
        classes = tuple(found.tolist())
        region = None
        if own.ndim == 4:
            region = regions(own, self.activation)[range(len(own)), classes]
        return Resolved(classes, region, self.activation)


@dataclass(frozen=True, eq=False)
class Resolved(ClassTarget):
    """One class per image: its logit, or the mean of its logits over a region.

    region: (B, H, W) bool, resized to the outputs where they differ; where it is empty, the whole
        image counts. None for outputs without pixels.
    """

    classes: tuple[int, ...]
    region: Tensor | None
    activation: Activation | None

    def __call__(self, outputs: Any) -> Tensor:
        """Scores (B,)."""
        scores = class_scores(outputs, self.activation)
        if len(scores) != len(self.classes):
            raise ValueError(f"{len(self.classes)} classes for {len(scores)} images")
        own = scores[range(len(scores)), self.classes]
        if self.region is None:
            return own
        inside = F.interpolate(self.region[:, None].to(own), own.shape[-2:])[:, 0]
        inside = torch.where(inside.any(2).any(1)[:, None, None], inside, 1)
        return (own * inside).sum((1, 2)) / inside.sum((1, 2))
