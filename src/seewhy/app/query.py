"""A query to the viewer: what a browser sent, checked value by value, and its answer.

A browser names photos and results by tokens it was given, networks by their label in the list, and
methods in the grammar of `seewhy.naming`: no path, address or module name is among them. What a
text-image network looks for comes with each query, and is remembered with its result alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.app.limits import Limits
from seewhy.data.images import FORMATS, ImageError, encoded, load_image
from seewhy.explanation import Explanation
from seewhy.models import LoadedModel
from seewhy.models.texts import named, texts_of
from seewhy.naming import Method, Refinement, parse
from seewhy.photos import Answer
from seewhy.printable import on_one_line

Item = TypeVar("Item")

PREDICTED, NOTHING = -1, -2
"""The targets that stand for the predicted class, and for no target at all."""

MAP_PIXELS = 64_000_000
"""Of all maps of a query together: they are kept in memory at the photo's own size."""

# Options that multiply the work or the memory, and the largest numbers that a browser may give.
COSTLY = {
    "batch_size": 64,
    "cells": 32,
    "masks": 10_000,
    "references": 32,
    "samples": 128,
    "scales": 4,
    "steps": 200,
}
LONGEST_SIDE = 30_000  # pixels; a photo of one column takes many times the memory of its pixels
LONGEST_NAME = 200  # characters of a method
LONGEST_LIST = 8  # values of an option
MOST_TEXTS = 16  # that a text-image network looks for at once
LONGEST_TEXT = 200  # characters of one


@dataclass(frozen=True)
class Network:
    """A network that the viewer may ask, and the weights that it was loaded with, as given.

    again: a function of a module, or a partial one, that loads it again in another process; needed
        where its classes cannot be pickled.
    """

    model: LoadedModel
    weights: str | None = None
    again: Callable[[], LoadedModel] | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """What a text-image network looks for at first; none for a network with its own classes."""
        return texts_of(self.model)

    def named(self, texts: Sequence[str]) -> LoadedModel:
        """The network with the names of its classes, which are the texts that it looks for."""
        return named(self.model, texts) if texts else self.model


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo: an image file, which takes a tenth of the memory of its pixels.

    name: of its file, without folders.
    size: width and height, upright.
    """

    content: bytes
    name: str
    size: tuple[int, int]

    @property
    def image(self) -> Image.Image:
        """The photo, RGB and upright; each time decoded anew."""
        return load_image(self.content)


@dataclass(frozen=True, eq=False)
class Query:
    """Methods and targets to explain a photo by; None stands for the predicted class.

    texts: what a text-image network looks for; none for a network with its own classes.
    """

    network: Network
    photo: Photo
    methods: tuple[str, ...]
    targets: tuple[int | None, ...]
    texts: tuple[str, ...] = ()

    @property
    def model(self) -> LoadedModel:
        """The network with the names of the classes that are asked about."""
        return self.network.named(self.texts)


@dataclass(frozen=True, eq=False)
class Result:
    """A query with its answer.

    facts: what the page gets to know of each map, see `view.about`.
    notes: what was assumed or adapted for it.
    """

    query: Query
    answer: Answer
    facts: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """What it takes in memory, about: the photo's pixels, and each map with what was seen."""
        width, height = self.query.photo.size
        return width * height * (4 + 5 * len(self.answer.explanations))

    def chosen(self, index: object) -> Explanation:
        """One explanation. Raises ValueError where there is none of that index."""
        return numbered("map", self.answer.explanations, index)

    @property
    def pairs(self) -> list[tuple[str, int | None]]:
        """The method and the target of each explanation; those that failed have none."""
        failed = {(one.method, one.target) for one in self.answer.failures}
        model = self.query.model
        found = []
        for target in self.query.targets:
            name = "the predicted class" if target is None else model.class_name(target)
            if (None, name) not in failed:
                methods = self.query.methods
                found += [(one, target) for one in methods if (one, name) not in failed]
        return found


def numbered(what: str, items: Sequence[Item], index: object) -> Item:
    """One of several items. Raises ValueError where there is none of that index."""
    if not isinstance(index, int) or not 0 <= index < len(items):
        raise ValueError(f"{what} {index!r} does not exist; give 0 to {len(items) - 1}")
    return items[index]


def fields_of(explanation: Explanation) -> dict[str, Any]:
    """All of an explanation but the photo, as `Explanation` takes them by name."""
    return {name: value for name, value in vars(explanation).items() if name != "image"}


def measured(data: bytes, limits: Limits) -> tuple[int, int]:
    """Width and height of the photo in a file, all of which can be decoded.

    Raises ImageError for what is no image, damaged or too large; the message names no file.
    """
    if len(data) > limits.bytes:
        raise ImageError(
            f"the photo has {len(data) / 1e6:.1f} MB; at most {limits.megabytes:g} MB are taken"
        )
    if not data:
        raise ImageError("the photo's file is empty; give a complete image file")
    try:
        with Image.open(BytesIO(data), formats=list(FORMATS)) as header:
            longest = max(header.size)
    except Exception:  # what is wrong with it is said below
        longest = 0
    check_longest(longest)
    try:
        size = load_image(data, max_pixels=limits.pixels).size
    except ImageError as error:
        reason = str(error).removeprefix("bytes: ")
        reason = reason.replace(", or a window LOW HIGH", "")  # which the page does not ask for
        raise ImageError(f"the photo cannot be used: {reason}") from None
    check_longest(max(size))  # of what has no header for Pillow
    return size


def check_longest(side: int) -> None:
    """Raise ImageError for a longer side of more than `LONGEST_SIDE` pixels."""
    if side > LONGEST_SIDE:
        raise ImageError(
            f"the photo cannot be used: it is {side:,} pixels long; at most {LONGEST_SIDE:,} are "
            "taken a side"
        )


def file_name(name: str) -> str:
    """The last part of a browser's file name, fit to be printed and saved under."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(letter for letter in last if letter.isprintable()).strip().lstrip(".-")
    return kept[-100:] or "photo.png"


def query_of(
    network: Network,
    photo: Photo,
    methods: object,
    refinements: object,
    targets: Iterable[object],
    limits: Limits,
    texts: object = None,
) -> Query:
    """The query that a browser's values ask.

    methods: names in the grammar. refinements: names, put behind each method. targets: class
    indices, `PREDICTED` or `NOTHING`. texts: what a text-image network looks for, whose classes
    are indexed as they are.

    Raises ValueError that says which value was wrong and what would be right.
    """
    names = tuple(dict.fromkeys(map(str, method_list(methods, refinements))))
    asked = Query(network, photo, names, (), texts_of_page(network, texts))
    wanted = (target_of(target, asked) for target in targets if target != NOTHING)
    classes = tuple(dict.fromkeys(wanted))
    if not classes:
        raise ValueError("no class is asked for; choose one, or the predicted class")
    maps = len(names) * len(classes)
    if maps > limits.maps:
        raise ValueError(
            f"{len(names)} methods for {len(classes)} classes are {maps} maps; at most "
            f"{limits.maps} are made at once"
        )
    width, height = photo.size
    if maps * width * height > MAP_PIXELS:
        raise ValueError(
            f"{maps} maps of a photo of {width} x {height} pixels are too many to keep; ask for "
            f"{max(1, MAP_PIXELS // (width * height))}, or make the photo smaller"
        )
    return replace(asked, targets=classes)


def method_list(methods: object, refinements: object) -> list[Method]:
    """The methods, each with the refinements behind it, within the bounds of `COSTLY`."""
    names, behind = listed("methods", methods), listed("refinements", refinements)
    if not names:
        raise ValueError("no method is chosen; choose at least one")
    found = []
    for name in names:
        if len(name) > LONGEST_NAME:
            raise ValueError(f"a method's name has {len(name)} characters; use {LONGEST_NAME}")
        method = parse(name)
        for refinement in behind:
            if refinement not in {one.name for one in method.refinements}:
                method = method + Refinement(refinement)
        found.append(bounded(method))
    return found


def bounded(method: Method) -> Method:
    """The method itself, if its options are within the bounds of `COSTLY`."""
    refinements = [one.name for one in method.refinements]
    if len(set(refinements)) < len(refinements):
        raise ValueError(f"{method}: give each refinement once")
    parts: list[Method | Refinement] = [method, *method.refinements]
    for part in parts:
        for option, value in part.options:
            values = value if isinstance(value, tuple) else (value,)
            most = COSTLY.get(option, float("inf"))
            if len(values) > LONGEST_LIST:
                raise ValueError(f"{part.name}: {option} has more than {LONGEST_LIST} values")
            if any(isinstance(one, int | float) and one > most for one in values):
                raise ValueError(f"{part.name}: {option} may be at most {most:g} here")
            if option in ("base", "by"):  # the name of another method
                bounded(parse(value))
    return method


def target_of(value: object, asked: Query) -> int | None:
    """The class index that a browser names; None for the predicted class."""
    unknown = ValueError("the class is not in the list; choose one of the list")
    if isinstance(value, bool) or not isinstance(value, int):
        raise unknown
    if value == PREDICTED:
        return None
    if not asked.texts:
        return asked.model.class_index(value)
    if not 0 <= value < len(asked.texts):
        raise unknown
    # A single text may have "not …" for another class before it.
    return asked.model.names.index(asked.texts[value])


def texts_of_page(network: Network, values: object) -> tuple[str, ...]:
    """What a text-image network is asked to look for; none for a network with its own classes.

    Raises ValueError for no texts, too many, and empty, equal, too long or unprintable ones.
    """
    found = listed("texts", values)
    if not network.texts:
        if found:
            raise ValueError(f"{network.model.name} has its own classes, and reads no texts")
        return ()
    if not found:
        raise ValueError("there is no text yet; say what to look for")
    if len(found) > MOST_TEXTS:
        raise ValueError(f"{len(found)} texts are too many; at most {MOST_TEXTS} are looked for")
    for text in found:
        if len(text) > LONGEST_TEXT:
            raise ValueError(f"a text has {len(text)} characters; at most {LONGEST_TEXT} are read")
        if not text.strip() or on_one_line(text) != text:
            raise ValueError("a text is empty, or has signs that cannot be printed; type it again")
    if len(set(found)) < len(found):
        raise ValueError("a text is there twice; remove one of the two")
    return tuple(found)


def region_of(mask: bytes, photo: Photo) -> Tensor:
    """What is brushed, (H, W) bool at the photo's size, from a picture that is white there.

    Raises ImageError for no picture, or one of more than a million pixels.
    """
    drawn = load_image(mask, max_pixels=1_000_000).convert("L")
    return torch.from_numpy(np.array(drawn.resize(photo.size)) > 127)


def listed(what: str, values: object) -> list[str]:
    """A list of names or texts as it is; nothing chosen is an empty list."""
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{what}: give a list of names")
    return values


def png(image: Image.Image) -> bytes:
    """An image as a PNG file, quickly rather than small."""
    return encoded(image, "PNG", compress_level=1)
