"""From a dataset's categories to a network's classes."""

from collections.abc import Sequence
from pathlib import Path

from seewhy.reading import parsed, text_of

ClassMap = dict[str, tuple[int, ...]]


def read_class_map(path: str | Path) -> ClassMap:
    """A JSON file with an object from each category to its class indices, as {"bus": [654, 779]}.

    Raises ValueError if the file is missing or holds anything else.
    """
    try:
        content = parsed(text_of(Path(path)))
    except ValueError as error:
        raise ValueError(f"class map {path}: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f'class map {path}: give an object such as {{"bus": [654, 779]}}')
    for category, indices in content.items():
        whole = isinstance(indices, list) and all(type(i) is int and i >= 0 for i in indices)
        if not whole or not indices:
            raise ValueError(
                f"class map {path}: {category!r} has {repr(indices)[:100]}; give a list of class "
                "indices"
            )
    return {category: tuple(indices) for category, indices in content.items()}


def classes_by_name(names: Sequence[str]) -> ClassMap:
    """The classes that a category's name means by itself: a class's name, synonym or index.

    Case does not matter, and an underscore is a space.
    """
    found: dict[str, dict[int, None]] = {}
    for index, name in enumerate(names):
        for word in (name, *name.split(","), str(index)):
            found.setdefault(plain(word), {})[index] = None
    return {word: tuple(indices) for word, indices in found.items()}


def plain(name: str) -> str:
    """A name without what does not matter in it."""
    return name.strip().casefold().replace("_", " ")
