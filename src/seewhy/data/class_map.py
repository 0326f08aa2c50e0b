"""From a dataset's categories to a network's classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from seewhy.options import as_number, shown
from seewhy.printable import abridged
from seewhy.reading import parsed, text_of

ClassMap = dict[str, tuple[int, ...]]


def read_class_map(given: str | Path | Mapping[str, Sequence[int]]) -> ClassMap:
    """The class indices of each category, as {"bus": [654, 779]}: a mapping, or its JSON file.

    Raises ValueError if the file is missing, and for anything else.
    """
    title, content = "class_map", given
    if isinstance(given, str | Path):
        title = f"class map {abridged(given)}"
        try:
            content = parsed(text_of(Path(given)))
        except ValueError as error:
            raise ValueError(f"{title}: {error}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f'{title}: give an object such as {{"bus": [654, 779]}}')
    if not content:
        raise ValueError(f"{title}: names no category; leave it out to find classes by name")
    content = {category: as_number(indices) for category, indices in content.items()}
    for category, indices in content.items():
        listed = isinstance(indices, list | tuple | range) and len(indices) > 0
        if not listed or not all(type(index) is int and index >= 0 for index in indices):
            raise ValueError(
                f"{title}: {category!r} has {shown(indices)}; give a list of class indices"
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
