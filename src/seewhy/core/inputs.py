"""What a network takes: one tensor, or several of which one is explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from seewhy.core.casting import Casts, casting, casts
from seewhy.notes import note
from seewhy.options import shown

# A tensor (B, C, ...), or a tuple, list or mapping of what `model(*inputs)` or `model(**inputs)`
# takes.
InputsLike = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Inputs:
    """The arguments of a network.

    given: all of them, by position or keyword.
    key: the one that is explained.
    paired: whether others with as many entries as there are images have one for each; if not, they
        are texts, say, with each of which each image is compared. None is not known.
    casts: what `torch.autocast` did where they were given, and does while the network runs.
    """

    given: dict[int | str, Any]
    key: int | str
    paired: bool | None = None
    casts: Casts = field(default_factory=dict)

    @property
    def tensor(self) -> Tensor:
        """The explained tensor, (B, C, ...)."""
        found: Tensor = self.given[self.key]
        return found

    @property
    def others(self) -> list[Any]:
        """What goes into the network beside the explained tensor."""
        return [value for key, value in self.given.items() if key != self.key]

    @property
    def ambiguous(self) -> bool:
        """Whether another input could have been explained as well: a second image, say."""
        return any(map(_explainable, self.others))

    @property
    def doubtful(self) -> bool:
        """Whether it is not known, and matters, if others have one entry per image."""
        unknown = self.paired is None and len(self.tensor) > 1
        return unknown and any(map(self._has_one_each, tree_leaves(self.others)))

    def _has_one_each(self, value: Any) -> bool:
        """Whether a value has as many entries as there are images."""
        return isinstance(value, Tensor) and value.ndim > 0 and len(value) == len(self.tensor)

    @property
    def aligned(self) -> bool:
        """Whether another input has the explained one's sides: a depth map or a mask, say."""
        return any(map(self._aligned, self.others))

    def _aligned(self, value: Any) -> bool:
        sides = self.tensor.shape[2:]
        return isinstance(value, Tensor) and value.shape[-len(sides) :] == sides

    @property
    def words(self) -> frozenset[int]:
        """The lengths of rows of token ids, (·, L), among the arguments."""
        return frozenset(
            value.shape[1]
            for value in self.given.values()
            if isinstance(value, Tensor) and value.ndim == 2 and value.dtype == torch.int64
        )

    def with_tensor(self, tensor: Tensor) -> Inputs:
        """The same arguments about another explained tensor, (k · B, C, ...).

        What else has one entry per image, as far as is known, is repeated k times.
        """
        times = len(tensor) // len(self.tensor)

        def repeated(value: Tensor) -> Tensor:
            own = self._has_one_each(value)
            return value.repeat(times, *[1] * (value.ndim - 1)) if own else value

        given = self.given
        if self.others and times > 1 and self.paired is not False:
            given = tree_map_only(Tensor, repeated, given)
        return replace(self, given={**given, self.key: _plain(tensor)})

    def mirrored(self) -> Inputs:
        """The arguments about the mirror images: the explained tensor and all that are aligned."""
        return replace(
            self,
            given={
                key: value.flip(-1) if self._aligned(value) else value
                for key, value in self.given.items()
            },
        )

    def image(self, index: int) -> Inputs:
        """The arguments about one image of the batch."""

        def own(value: Tensor) -> Tensor:
            return value[index : index + 1] if self._has_one_each(value) else value

        given = {**self.given, self.key: own(self.tensor)}
        if self.paired is not False:
            given = tree_map_only(Tensor, own, given)
        return replace(self, given=given)

    def run(self, model: nn.Module, tensor: Tensor) -> Any:
        """What the model returns for these arguments, with `tensor` as the explained one.

        The others are given as copies: what the model writes into them does not reach the caller.
        """
        given = tree_map_only(Tensor, torch.clone, self.given) if self.others else self.given
        given = {**given, self.key: tensor}
        places = [value for key, value in given.items() if isinstance(key, int)]
        named = {key: value for key, value in given.items() if not isinstance(key, int)}
        with casting(self.casts):
            return model(*places, **named)


def as_inputs(inputs: InputsLike, explained: int | str | None = None) -> Inputs:
    """The arguments that a user means, and which of them is explained.

    explained: position or keyword; None is the only floating-point tensor (B, C, ...) among them.

    Raises TypeError or ValueError where that does not lead to one such tensor; the message lists
    what there is.
    """
    given: dict[int | str, Any]
    if isinstance(inputs, Tensor):
        given = {0: inputs}
    elif isinstance(inputs, tuple | list):
        given = dict(enumerate(inputs))
    elif isinstance(inputs, Mapping):
        given = dict(inputs.items())
    else:
        raise TypeError(
            f"inputs is a {type(inputs).__name__}; it should be a tensor (B, C, H, W), as "
            "preprocessed for the model, or a tuple or dict of what the model takes; "
            "seewhy.explain_photos takes photos and their paths"
        )
    if explained is None:
        fitting = [key for key, value in given.items() if _explainable(value)]
        if len(given) == 1:
            fitting = list(given)
        if len(fitting) != 1:
            which = "several of the inputs" if fitting else "none of the inputs"
            raise ValueError(
                f"{which} could be explained: {_listed(given)}; name a floating-point tensor "
                "(B, C, ...) with the option explained, by position or keyword"
            )
        explained = fitting[0]
    if type(explained) not in (int, str) or explained not in given:
        raise ValueError(f"explained={shown(explained)} is not among the inputs: {_listed(given)}")
    found = given[explained]
    if not isinstance(found, Tensor):
        raise TypeError(
            f"the explained input is a {type(found).__name__}; it should be a tensor (B, C, ...)"
        )
    if found.layout is not torch.strided or found.is_nested:
        kind = str(found.layout).removeprefix("torch.").replace("strided", "nested")
        raise ValueError(
            f"inputs is a tensor of the layout {kind}; it should be a dense one, as "
            "inputs.to_dense() or torch.stack(images) makes it"
        )
    if not _explainable(found) or 0 in found.shape:
        raise ValueError(
            f"inputs has shape {tuple(found.shape)} and type {found.dtype}; it should be a "
            "floating-point tensor (B, C, H, W) with at least one image, or (B, C, L) or "
            "(B, C, D, H, W)"
        )
    if found.is_meta:
        raise ValueError("inputs are on the device 'meta', where tensors hold no values")
    if torch._C._functorch.is_functorch_wrapped_tensor(found):
        raise ValueError(
            "inputs is a tensor inside a transform of torch.func (vmap, grad, jacrev), which no "
            "explanation can run in; give all images as one batch, outside of it"
        )
    if found.ndim == 5 and found.shape[1] > found.shape[2] == 3:
        note(
            f"inputs of shape {tuple(found.shape)} count as (B, C, D, H, W), {found.shape[1]} "
            "channels of 3 slices; if they are frames of 3 channels, explain a module that swaps "
            "them, see docs/guides/volumes-and-signals.md"
        )
    return Inputs(given, explained, casts=casts()).with_tensor(found.detach())


def _plain(tensor: Tensor) -> Tensor:
    """The tensor without a class of its own, which all that is computed from it would have.

    Rules hand on plain ones. What is no such view of numbers (`__torch_dispatch__`) stays.
    """
    only_named = type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__
    return tensor.as_subclass(Tensor) if only_named else tensor


def _explainable(value: Any) -> bool:
    return isinstance(value, Tensor) and 3 <= value.ndim <= 5 and value.is_floating_point()


def _listed(given: Mapping[int | str, Any]) -> str:
    def described(value: Any) -> str:
        if isinstance(value, Tensor):
            return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
        return type(value).__name__

    listed = [f"{shown(key)}: {described(value)}" for key, value in list(given.items())[:20]]
    return ", ".join(listed + ["…"] * (len(given) > len(listed)))
