"""What a network returned: its scores, its parts, and its entries per image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from copy import copy
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map


def logits(outputs: Any) -> Tensor:
    """The scores per class, (B, C) or (B, C, H, W), from any kind of outputs.

    A tensor is returned unchanged. From a mapping or an object with attributes (a transformers
    `ModelOutput`, a named tuple) `logits` is used, else torchvision's `out`, else the first
    tensor that is not a single number, such as a loss. Outputs of shape (B,) count as one class, a
    number as that of one image, and (B, C, 1, 1), which a convolution behind the pool makes, as
    (B, C).

    Raises TypeError where there is no tensor, or a number that may be a loss or one image's score.
    """
    found = _first(outputs, ("logits", "out"))
    if found.ndim > 2 and found.shape[2:].numel() == 1:
        return found.flatten(1)
    return found.reshape(-1, 1) if found.ndim < 2 else found


def embedding(outputs: Any) -> Tensor:
    """One vector per image, (B, D): `image_embeds` or `pooler_output`, else the flat `logits`."""
    return _first(outputs, ("image_embeds", "pooler_output", "logits", "out")).flatten(1)


def _first(outputs: Any, keys: Sequence[str]) -> Tensor:
    if isinstance(outputs, Tensor):
        return outputs
    for key in keys:
        value = outputs.get(key) if isinstance(outputs, Mapping) else getattr(outputs, key, None)
        if isinstance(value, Tensor):
            return value
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    listed = isinstance(outputs, Mapping | Sequence)
    found = [value for value in values if isinstance(value, Tensor)] if listed else []
    arrays = [value for value in found if value.ndim]
    lacking = "without a tensor of scores"
    if arrays and not found[0].ndim and len(arrays[0]) == 1:
        lacking = "with a single number first, a loss or the squeezed score of one image"
    elif found:
        return (arrays or found)[0]
    raise TypeError(
        f"the model returned a {type(outputs).__name__} {lacking}; pass targets.Of(key, target) "
        "for one of several heads, or a function of the outputs that returns one score per image"
    )


def class_scores(outputs: Any) -> Tensor:
    """The scores per class, (B, C); a ValueError where there are none."""
    scores = logits(outputs)
    if scores.ndim != 2:
        raise ValueError(
            f"the model returned scores of shape {tuple(scores.shape)} where a class target needs "
            "(B, C); use Segment(class) where they are one per class and pixel, (B, C, H, W), "
            "Of(key, class) for another of several outputs, Similarity(reference) for an "
            "embedding, or a function of the outputs that returns one score per image"
        )
    return scores


def check_rows(outputs: Any, images: int) -> None:
    """Raise ValueError where the scores of classes are not one row per image."""
    scores = logits(outputs)
    if scores.ndim == 2 and len(scores) != images:
        raise ValueError(
            f"the model returned scores of shape {tuple(_first(outputs, ('logits', 'out')).shape)} "
            f"for {images} images; it should be (B, C). A squeeze() in the model takes the first "
            "axis from a single image; squeeze(-1) keeps it"
        ) from None


def check_softmax(scores: Tensor) -> None:
    """Raise ValueError for scores (B, 1), whose softmax is 1 whatever they are."""
    if scores.shape[1] == 1:
        raise ValueError(
            "the network has a single logit, whose softmax is always 1; use activation='sigmoid'"
        )


def pixel_scores(outputs: Any) -> Tensor:
    """The scores per class and pixel, (B, C, H, W); a ValueError where there are none."""
    scores = logits(outputs)
    if scores.ndim < 3:
        raise ValueError(
            "Segment needs one score per class and pixel, (B, C, H, W); "
            f"the model returned {tuple(scores.shape)}"
        )
    return scores


def part_of(outputs: Any, step: str, path: str | int) -> Any:
    """The part behind one step of a path; a ValueError where there is none."""
    if isinstance(outputs, Mapping) and step in outputs:
        return outputs[step]
    counted = isinstance(outputs, Sequence) and step.lstrip("-").isdecimal()
    if counted and -len(outputs) <= int(step) < len(outputs):
        return outputs[int(step)]
    if not isinstance(outputs, Tensor) and hasattr(outputs, step):
        return getattr(outputs, step)
    there = list(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
    raise ValueError(f"the model's outputs have no part {path!r}: at {step!r} there is {there}")


def changed(outputs: Any, images: int, change: Callable[[Any], Any]) -> Any:
    """The outputs, of which each part that has one entry per image is changed.

    The parts are in lists, tuples and mappings, in what torch knows as such, and in the attributes
    of an object.
    """

    def of_images(value: Any) -> bool:
        return _of_images(value, images)

    def inside(value: Any) -> Any:
        return tree_map(part, value, is_leaf=of_images)

    def part(value: Any) -> Any:
        if of_images(value):
            return change(value)
        found = value if isinstance(value, Tensor) else copy(value)
        if found is value:
            return value
        if isinstance(found, MutableMapping):
            found.update({key: inside(one) for key, one in value.items()})
        if hasattr(found, "__dict__"):
            vars(found).update({key: inside(one) for key, one in vars(value).items()})
        return found

    return inside(outputs)


def _of_images(value: Any, images: int) -> bool:
    """Whether a part of the outputs has one entry per image: a tensor, or a list of detections.

    A list of as many heads is none, of which each has one entry per image itself.
    """
    if isinstance(value, Tensor):
        return value.ndim > 0 and len(value) == images
    if not isinstance(value, list) or len(value) != images:
        return False
    return not all(isinstance(one, Tensor) and _of_images(one, images) for one in value)
