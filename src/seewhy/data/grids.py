"""Photos of which grids are made: the grid pointing game's dataset, before it knows a network.

Which photos make a grid depends on the network that is asked, see `seewhy.evaluation.grids`. A grid
is named by its photos, so that its key alone says what to read.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from seewhy.data.dataset import Dataset, DatasetError

_BETWEEN = " | "  # the photos in a grid's key
_SIDES = re.compile(r"(\d+)x(\d+):(.+)", re.DOTALL)
MOST = 8  # photos along a side


def read_grids(where: str, open_photos: Callable[[str], Dataset]) -> Dataset:
    """The photos behind `grids:[SIDExSIDE:]PHOTOS`, as a dataset that says it is one of grids.

    where: `PHOTOS` is a folder with a folder of photos for each class, or the specification of
        another dataset, as in `imagenet:FOLDER`. Grids are 2x2 where nothing is said.

    Raises DatasetError for sides that are not equal or out of range, and for anything that the
    photos' reader refuses.
    """
    side, photos = parts(where)
    if not 2 <= side <= MOST:
        raise DatasetError(f"grids:{where}: grids are from 2x2 to {MOST}x{MOST}")
    found = open_photos(photos)
    if found.grid:
        raise DatasetError(f"grids:{where}: grids are made of photos, not of grids")
    return replace(
        found,
        name=f"grids:{where}",
        region="boxes",
        grid=side,
        files=lambda key: [path for one in photos_of(key) for path in found.files(one)],
    )


def key_of(photos: Sequence[str]) -> str:
    """The key of the grid of these photos, given row by row by their keys."""
    return _BETWEEN.join(photos)


def photos_of(key: str) -> list[str]:
    """The keys of the photos of a grid; the key of a photo is its own."""
    return key.split(_BETWEEN)


def parts(where: str) -> tuple[int, str]:
    """How many photos a side of the grids has, and the specification of the photos."""
    found = _SIDES.fullmatch(where)
    if not found:
        return 2, where
    across, down, photos = found.groups()
    if across != down:
        raise DatasetError(f"grids:{where}: a grid has as many rows as columns; write 2x2 or 3x3")
    return int(across), photos
