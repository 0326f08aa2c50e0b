"""Datasets by name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from seewhy.data.coco import read_coco
from seewhy.data.dataset import Dataset, DatasetError
from seewhy.data.folder import read_folder
from seewhy.data.grids import as_grids
from seewhy.data.imagenet import read_imagenet
from seewhy.data.scenes.dataset import read_scenes
from seewhy.data.voc import read_voc
from seewhy.naming import add, checked, suggestion
from seewhy.options import checking

Function = TypeVar("Function", bound=Callable[..., Dataset])

_SIDES = re.compile(r"(\d+)x(\d+):(.+)", re.DOTALL)
_MOST = 8  # photos along a side of a grid


@dataclass(frozen=True)
class Reader:
    """A kind of dataset: `function(where, **options)` reads what stands behind the colon.

    folder: whether that is a folder or file, relative to a benchmark's config.
    """

    function: Callable[..., Dataset]
    folder: bool = True


READERS: dict[str, Reader] = {
    "voc": Reader(read_voc),
    "coco": Reader(read_coco),
    "imagenet": Reader(read_imagenet),
    "folder": Reader(read_folder),
    "scenes": Reader(read_scenes, folder=False),
}


def register_dataset(kind: str, *, folder: bool = True) -> Callable[[Function], Function]:
    """Make a function `(where, **options) -> Dataset` a kind of dataset: `KIND:WHERE`.

    folder: whether `where` is a folder or file; then in a benchmark it is relative to the config.
    """

    def register(function: Function) -> Function:
        if not kind.isidentifier() or kind == "grids":
            raise ValueError(f"a dataset cannot be of the kind {kind!r}; choose another word")
        add("dataset", READERS, kind, Reader(function, folder))
        return function

    return register


def reader_of(spec: str) -> Reader:
    """Who reads a dataset, or of grids their photos. Raises DatasetError where nobody does."""
    kind, _, where = spec.partition(":")
    kinds = (*READERS, "grids")
    if kind not in kinds:
        raise DatasetError(
            f"dataset {spec!r} is of no known kind{suggestion(kind, kinds)}; write it as "
            "KIND:FOLDER, or scenes:COUNT"
        )
    if not where:
        folders = [*(kind for kind, reader in READERS.items() if reader.folder), "grids"]
        raise DatasetError(
            f"dataset {spec!r} names no folder; write it as KIND:FOLDER with one of "
            f"{', '.join(folders)}, or scenes:COUNT"
        )
    return reader_of(_photos_of_grids(where)[1]) if kind == "grids" else READERS[kind]


@checking
def load_dataset(spec: str, **options: Any) -> Dataset:
    """Load a dataset by its specification.

    spec: `voc:FOLDER`, `coco:FOLDER`, `imagenet:FOLDER`, `folder:FOLDER` or `scenes:COUNT`. The
        prefix `grids:` makes 2x2 grids of the photos of any of these or of a folder, `grids:3x3:`
        larger ones. `seewhy.evaluate` and benchmarks choose the photos by the network, see
        `seewhy.evaluation.grids`.
    options: of the reader: `split="val"` for the first three, `seed` and `size` for scenes.

    Raises DatasetError for an unknown kind or option, and for anything that the reader refuses.
    """
    reader = reader_of(spec)
    kind, _, where = spec.partition(":")
    if kind == "grids":
        side, photos = _photos_of_grids(where)
        return as_grids(spec, load_dataset(photos, **options), side)
    try:
        given = checked(f"the dataset {spec!r}", [reader.function], options)
    except ValueError as error:
        raise DatasetError(str(error)) from None
    found = reader.function(where, **dict(given))
    if not isinstance(found, Dataset):
        raise DatasetError(f"{spec}: its reader returned a {type(found).__name__} and no Dataset")
    return found


def below(root: Path, spec: str) -> str:
    """The specification with a folder that is relative to `root`."""
    kind, _, where = spec.partition(":")
    if kind == "grids" and where:
        side, photos = _photos_of_grids(where)
        return f"grids:{side}x{side}:{below(root, photos)}"
    if not where or not READERS[kind].folder:
        return spec
    return f"{kind}:{root / Path(where).expanduser()}"


def _photos_of_grids(where: str) -> tuple[int, str]:
    """How many photos a side has in `grids:[SIDExSIDE:]PHOTOS`, and the photos' specification.

    Grids are 2x2 where nothing is said. The photos may be given as a folder alone.

    Raises DatasetError for sides that are not equal or out of range.
    """
    sides = _SIDES.fullmatch(where)
    across, down, photos = sides.groups() if sides else ("2", "2", where)
    if across != down:
        raise DatasetError(f"grids:{where}: a grid has as many rows as columns; write 2x2 or 3x3")
    if not 2 <= int(across) <= _MOST:
        raise DatasetError(f"grids:{where}: grids are from 2x2 to {_MOST}x{_MOST}")
    known = photos.partition(":")[0] in (*READERS, "grids")
    return int(across), photos if known else f"folder:{photos}"
