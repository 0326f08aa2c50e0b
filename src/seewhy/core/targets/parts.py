"""Any function as a target, any target of one part of the outputs, and any value as a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.core.outputs import part_of
from seewhy.core.targets.base import Asked, Classes, Settled, Target
from seewhy.core.targets.classes import Class, Predicted
from seewhy.options import settled, shown


@dataclass(frozen=True)
class Score(Settled):
    """Any function from what the model returned to one score per image, (B,)."""

    function: Callable[[Any], Tensor]

    def __call__(self, outputs: Any) -> Tensor:
        """Scores (B,)."""
        return self.function(outputs)


def with_gradients(starts: Sequence[tuple[Tensor, Tensor]], images: int) -> Score:
    """A target whose gradient at the first tensor of each pair is the second one.

    Raises ValueError for rows of tokens in which images come second, (L, B, D).
    """
    if any(x.ndim == 3 and len(x) != images == x.shape[1] for x, _ in starts):
        raise ValueError(
            "the classifier takes tokens first and images second, (L, B, D), where this method "
            "would mix the images; let the network hand it images first, or use 'grad_cam'"
        )

    def linear(_: Any) -> Tensor:
        each = [x * gradient for x, gradient in starts]
        if all(one.ndim > 1 and len(one) == images for one in each):
            return reduce(torch.add, [one.flatten(1).sum(1) for one in each])
        # Rows are no images where each is looked at several times, or apart from the others. Then
        # nothing but the sum of the scores counts.
        return F.pad(reduce(torch.add, [one.sum() for one in each])[None], (0, images - 1))

    return Score(linear)


@dataclass(init=False, unsafe_hash=True)
class Of(Asked):
    """A target for one part of the outputs, such as one of several heads.

    path: key, index or attribute, or several of them joined by dots: "gender", "0", "heads.age".
    target: any target; None is the predicted class of that part.
    """

    path: str | int
    target: Target

    def __init__(self, path: str | int, target: TargetLike = None) -> None:
        """Settle what is meant."""
        path = settled("Of", Of, {"path": path})["path"]
        self.path, self.target = path, as_target(target)
        if isinstance(self.target, Of):
            self.path, self.target = f"{path}.{self.target.path}", self.target.target

    def __call__(self, outputs: Any) -> Tensor:
        """Scores (B,)."""
        return self.target(self.read(outputs))

    def resolve(self, outputs: Any) -> Of:
        """With its target settled by that part."""
        return Of(self.path, self.target.resolve(self.read(outputs)))

    def read(self, outputs: Any) -> Any:
        """That part of the outputs."""
        for step in str(self.path).split("."):
            outputs = part_of(outputs, step, self.path)
        return outputs

    @property
    def named(self) -> tuple[Classes, ...]:
        """The classes that it names."""
        return self.target.named

    def asking(self, question: Target) -> Of:
        """Another question about that part."""
        return Of(self.path, question)

    @property
    def question(self) -> Target:
        """What is asked of that part."""
        return self.target

    def of_image(self, index: int, images: int) -> Of:
        """The question about one image."""
        return Of(self.path, self.target.of_image(index, images))

    def repeated(self, times: int, images: int) -> Of:
        """The question about a batch that is repeated."""
        return Of(self.path, self.target.repeated(times, images))


TargetLike = Target | int | Sequence[int] | Tensor | np.ndarray | Callable[[Any], Tensor] | None


def as_target(target: TargetLike) -> Target:
    """A value as a target: None is the predicted class, an int that class, several ints
    one class per image, any function a score.

    Raises TypeError for anything else.
    """
    if target is None:
        return Predicted()
    if isinstance(target, Target):
        return target
    if callable(target) and not isinstance(target, Tensor):
        return Score(target)
    try:
        return Class(target)  # type: ignore[arg-type]
    except TypeError:
        pass
    hint = "; names of classes go through load_model(…).target(name)"
    raise TypeError(
        f"target is {shown(target)}; it should be None, a class index, one index per image, "
        f"a seewhy target or a function of the model's outputs{hint * isinstance(target, str)}"
    )
