"""A target, and the same target asked of one image or of a repeated batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, ClassVar, SupportsInt, TypeGuard

import numpy as np
import torch
from torch import Tensor

from seewhy.core.outputs import changed
from seewhy.options import as_number, settled, shown

Classes = int | tuple[int, ...]


class Target(ABC):
    """What is explained: a function from a network's outputs to one score per image, (B,).

    of_classes: whether the score is one of the network's classes.
    of_places: whether it names places of the image.
    """

    of_classes: ClassVar[bool] = False
    of_places: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, outputs: Any) -> Tensor:
        """Scores (B,), differentiable with respect to `outputs`."""

    def resolve(self, outputs: Any) -> Target:
        """The target with its classes fixed by these outputs, such as the predicted class."""
        return self

    def read(self, outputs: Any) -> Any:
        """The part of the outputs that the target reads."""
        return outputs

    def asking(self, question: Target) -> Target:
        """Another target for the same part of the outputs."""
        return question

    @property
    def question(self) -> Target:
        """The target for the part of the outputs that this one reads."""
        return self

    @property
    def named(self) -> tuple[Classes, ...]:
        """The classes that it names, each for all images, or one for each."""
        return ()

    def mirrored(self) -> Target:
        """The target for the mirror images, left and right swapped."""
        return self

    def of_image(self, index: int, images: int) -> Target:
        """The target for one image of the batch alone."""
        return _OfImage(self, index, images)

    def repeated(self, times: int, images: int) -> Target:
        """The target for a batch of so many images that is repeated, (times · B, ...)."""
        return _Repeated(self, times, images)


class ClassTarget(Target):
    """A score of the network's classes."""

    of_classes: ClassVar[bool] = True


class Settled(Target):
    """A target of fields: numbers of NumPy and torch become Python's, and what is wrong is named.

    fields_of_classes: those that name classes.
    """

    fields_of_classes: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Settle what is meant."""
        values = vars(self)
        for name in self.fields_of_classes:
            left_out = values[name] is None and hasattr(type(self), name)  # where that is a default
            if not left_out:
                values[name] = classes_of(values[name], name)
        others = {key: value for key, value in values.items() if key not in self.fields_of_classes}
        values.update(settled(type(self).__name__, type(self), others))

    @property
    def named(self) -> tuple[Classes, ...]:
        """The classes that it names."""
        found = (getattr(self, name) for name in self.fields_of_classes)
        return tuple(classes for classes in found if classes is not None)


def classes_of(value: Any, name: str) -> Classes:
    """A class for all images, or one for each, of whatever kind of number."""
    found = as_number(value)
    if isinstance(found, Tensor | np.ndarray) and found.ndim == 1:
        found = found.tolist()
    if _is_index(found):
        return int(found)
    if isinstance(found, Sequence) and all(map(_is_index, found)):
        return tuple(map(int, found))
    raise TypeError(f"{name} is {shown(value)}; it should be a class index, or one for each image")


def _is_index(value: object) -> TypeGuard[SupportsInt]:
    return isinstance(value, Integral) and not isinstance(value, bool)


class Asked(Target):
    """Another target, asked in another way."""

    target: Target

    @property
    def of_classes(self) -> bool:  # type: ignore[override]
        """Whether it is a question about classes."""
        return self.target.of_classes

    @property
    def of_places(self) -> bool:  # type: ignore[override]
        """Whether it names places."""
        return self.target.of_places

    def mirrored(self) -> Target:
        """The question about the mirror images."""
        return replace(self, target=self.target.mirrored())  # type: ignore[type-var]


@dataclass(frozen=True)
class _OfImage(Asked):
    """A target of a batch, asked of one of its images alone."""

    target: Target
    index: int
    images: int

    def __call__(self, outputs: Any) -> Tensor:
        """The score (1,)."""

        def repeated(value: Any) -> Any:
            if isinstance(value, list):
                return value * self.images
            return value.expand(self.images, *value.shape[1:])

        scores = _of_batch(self.target, changed(outputs, 1, repeated), self.images)
        return scores[self.index : self.index + 1]


@dataclass(frozen=True)
class _Repeated(Asked):
    """A target asked of several images for each of its own: `times` runs of a batch of `images`."""

    target: Target
    times: int
    images: int

    def __call__(self, outputs: Any) -> Tensor:
        """Scores (times · B,), run by run."""
        count = self.images * self.times

        def run(start: int) -> Any:
            return changed(outputs, count, lambda value: value[start : start + self.images])

        starts = range(0, count, self.images)
        return torch.cat([_of_batch(self.target, run(start), self.images) for start in starts])


def _of_batch(target: Target, outputs: Any, images: int) -> Tensor:
    """A target's scores (B,) of outputs that were made those of the batch that it was made for."""
    scores = target(outputs)
    if isinstance(scores, Tensor) and scores.shape != (images,):
        raise ValueError(
            f"the target returned {tuple(scores.shape)}, and not ({images},), for images that ran "
            "in a batch of another size: it should read parts of the outputs that have the images "
            "first, as CLIP's logits_per_image has them, and logits_per_text has not"
        )
    return checked_scores(scores, images)


def checked_scores(scores: Any, images: int) -> Tensor:
    """What a target returned; a ValueError where that is not one real number per image."""
    if isinstance(scores, Tensor) and scores.shape == (images,) and scores.is_floating_point():
        return scores
    got = type(scores).__name__
    if isinstance(scores, Tensor):
        kind = str(scores.dtype).removeprefix("torch.")
        got = f"{tuple(scores.shape)}{'' if scores.is_floating_point() else f' of type {kind}'}"
    raise ValueError(
        f"the target returned {got}; it should be one score per image, a floating-point tensor of "
        f"shape ({images},)"
    )
