"""Targets that are a score of one of the network's classes, or of several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from seewhy.core.outputs import check_softmax, class_scores
from seewhy.core.targets.base import Classes, ClassTarget, Settled, Target, classes_of
from seewhy.options import as_number, check, shown


@dataclass(frozen=True)
class Class(Settled, ClassTarget):
    """The logit of one class for all images (int), or of one class per image (tuple)."""

    fields_of_classes: ClassVar[tuple[str, ...]] = ("classes",)

    classes: Classes

    def __call__(self, outputs: Any) -> Tensor:
        """Logits (B,) of the classes."""
        return pick(class_scores(outputs), self.classes)

    def of_image(self, index: int, images: int) -> Class:
        """The class of one image."""
        return Class(self.classes if isinstance(self.classes, int) else self.classes[index])

    def repeated(self, times: int, images: int) -> Class:
        """The same classes again and again."""
        return Class(self.classes if isinstance(self.classes, int) else self.classes * times)


@dataclass(frozen=True)
class Not(Settled, ClassTarget):
    """Evidence against a class: minus its logit, for all images (int) or one class per image.

    For a network with one logit it is the opposite class.
    """

    fields_of_classes: ClassVar[tuple[str, ...]] = ("classes",)

    classes: Classes

    def __call__(self, outputs: Any) -> Tensor:
        """Minus the logits (B,) of the classes."""
        return -pick(class_scores(outputs), self.classes)


@dataclass(frozen=True)
class Predicted(Settled, ClassTarget):
    """The logit of the most likely class of each image, or of the `rank`-th most likely one.

    For a network with one logit it is `Class(0)`.
    """

    rank: int = 1

    def __call__(self, outputs: Any) -> Tensor:
        """Logits (B,) of the predicted classes."""
        return self.resolve(outputs)(outputs)

    def resolve(self, outputs: Any) -> Class:
        """The classes that these outputs rank there."""
        return Class(tuple(_likeliest(outputs, "rank", self.rank)[:, -1].tolist()))


@dataclass(unsafe_hash=True)
class AnyOf(ClassTarget):
    """Any of several classes: the log-sum-exp of their logits, or the largest of them.

    Each is one class for all images (int), or one per image (tuple).
    """

    classes: tuple[Classes, ...]
    reduce: Literal["logsumexp", "max"] = "logsumexp"

    def __post_init__(self) -> None:
        """Check the options."""
        given = as_number(self.classes)
        if not isinstance(given, Iterable):
            raise TypeError(f"AnyOf needs several classes, not {shown(given)}")
        self.classes = tuple(classes_of(one, "classes") for one in given)
        if not self.classes:
            raise ValueError("AnyOf needs at least one class")
        check("AnyOf", AnyOf, {"reduce": self.reduce})

    @property
    def named(self) -> tuple[Classes, ...]:
        """The classes that it names."""
        return self.classes

    def __call__(self, outputs: Any) -> Tensor:
        """Scores (B,)."""
        scores = class_scores(outputs)
        chosen = torch.stack([pick(scores, index) for index in self.classes], dim=1)
        return chosen.logsumexp(1) if self.reduce == "logsumexp" else chosen.amax(1)


@dataclass(frozen=True)
class TopK(Settled, ClassTarget):
    """Any of each image's `k` most likely classes: the log-sum-exp of their logits."""

    k: int

    def __call__(self, outputs: Any) -> Tensor:
        """Scores (B,)."""
        return self.resolve(outputs)(outputs)

    def resolve(self, outputs: Any) -> Target:
        """The classes that these outputs rank highest."""
        return AnyOf(tuple(map(tuple, _likeliest(outputs, "k", self.k).T.tolist())))


@dataclass(frozen=True)
class Contrast(Settled, ClassTarget):
    """Evidence for class `a` rather than class `b`: the difference of their logits."""

    fields_of_classes: ClassVar[tuple[str, ...]] = ("a", "b")

    a: Classes
    b: Classes

    def __call__(self, outputs: Any) -> Tensor:
        """Differences (B,)."""
        scores = class_scores(outputs)
        return pick(scores, self.a) - pick(scores, self.b)


@dataclass(frozen=True)
class Probability(Settled, ClassTarget):
    """The probability of a class, in [0, 1]; of the predicted class if none is given.

    `activation` is "softmax" for one label per image, "sigmoid" for networks with many labels, or
    with a single logit.
    """

    fields_of_classes: ClassVar[tuple[str, ...]] = ("classes",)

    classes: Classes | None = None
    activation: Literal["softmax", "sigmoid"] = "softmax"

    def __call__(self, outputs: Any) -> Tensor:
        """Probabilities (B,)."""
        if self.classes is None:
            return self.resolve(outputs)(outputs)
        scores = class_scores(outputs)
        probabilities = scores.softmax(1) if self.activation == "softmax" else scores.sigmoid()
        return pick(probabilities, self.classes)

    def resolve(self, outputs: Any) -> Probability:
        """With the predicted class, if none was given.

        Raises ValueError for the softmax of a network with a single logit.
        """
        if self.activation == "softmax":
            check_softmax(class_scores(outputs))
        if self.classes is not None:
            return self
        return Probability(Predicted().resolve(outputs).classes, self.activation)

    def repeated(self, times: int, images: int) -> Target:
        """The same classes again and again; what is predicted is asked of each run."""
        if self.classes is None:
            return super().repeated(times, images)
        return Probability(Class(self.classes).repeated(times, images).classes, self.activation)


def pick(scores: Tensor, classes: Classes) -> Tensor:
    """Each image's score of its class: (B, C) -> (B,)."""
    if isinstance(classes, int):
        check_class(classes, scores)
        return scores[:, classes]
    check_count((classes,), len(scores))
    for index in dict.fromkeys(classes):
        check_class(index, scores)
    # Otherwise the copy would wait for all that the accelerator has to do before.
    chosen = torch.tensor(classes, device="cpu").to(scores.device, non_blocking=True)
    return scores.gather(1, chosen[:, None])[:, 0]


def check_count(named: Iterable[Classes], images: int) -> None:
    """Raise ValueError where a target names a class for each of another number of images."""
    for classes in named:
        if not isinstance(classes, int) and len(classes) != images:
            raise ValueError(
                f"target names {len(classes)} classes for {images} images; "
                "give one class for all images, or one for each"
            )


def check_class(index: int, scores: Tensor) -> None:
    """Raise ValueError for a class that the scores, (B, C) or (B, C, H, W), do not have."""
    count = scores.shape[1]
    if not 0 <= index < count:
        out = f"target class {shown(index)} is out of range: the model has"
        if count == 1:
            raise ValueError(
                f"{out} a single output, which is target 0; its opposite is seewhy.targets.Not(0)"
            )
        raise ValueError(f"{out} {count} classes, 0 to {count - 1}")


def _likeliest(outputs: Any, option: str, count: int) -> Tensor:
    """The indices of each image's `count` highest scores, (B, count), from the highest on."""
    scores = class_scores(outputs).detach()
    if not 1 <= count <= scores.shape[1]:
        raise ValueError(
            f"{option}={shown(count)} is out of range: the model has {scores.shape[1]} classes"
        )
    return scores.topk(count, dim=1).indices
