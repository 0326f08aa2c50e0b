"""Photos of which grids are made: the grid pointing game's dataset, before it knows a network.

Which photos make a grid depends on the network that is asked, see `seewhy.evaluation.grids`. A grid
is named by its photos, so that its key alone says what to read.
"""

from collections.abc import Sequence
from dataclasses import replace

from seewhy.data.dataset import Dataset, DatasetError

_BETWEEN = " | "  # the photos in a grid's key


def as_grids(name: str, photos: Dataset, side: int) -> Dataset:
    """The photos, as a dataset that says it is one of grids with so many on a side.

    Raises DatasetError where they are grids themselves.
    """
    if photos.grid:
        raise DatasetError(f"{name}: grids are made of photos, not of grids")
    return replace(
        photos,
        name=name,
        region="boxes",
        grid=side,
        files=lambda key: [path for one in photos_of(key) for path in photos.files(one)],
    )


def key_of(photos: Sequence[str]) -> str:
    """The key of the grid of these photos, given row by row by their keys."""
    return _BETWEEN.join(photos)


def photos_of(key: str) -> list[str]:
    """The keys of the photos of a grid; the key of a photo is its own."""
    return key.split(_BETWEEN)
