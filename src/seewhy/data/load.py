"""Datasets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from seewhy.data.coco import read_coco
from seewhy.data.dataset import Dataset, DatasetError
from seewhy.data.folder import read_folder
from seewhy.data.grids import located, read_grids
from seewhy.data.imagenet import read_imagenet
from seewhy.data.rendered import read_scenes
from seewhy.data.voc import read_voc
from seewhy.naming import suggestion

READERS: dict[str, Callable[..., Dataset]] = {
    "voc": read_voc,
    "coco": read_coco,
    "imagenet": read_imagenet,
    "folder": read_folder,
    "scenes": read_scenes,
}
KINDS = (*READERS, "grids")


def load_dataset(spec: str, **options: Any) -> Dataset:
    """Load a dataset by its specification.

    Args:
        spec: `voc:FOLDER`, `coco:FOLDER`, `imagenet:FOLDER`, `folder:FOLDER`, or `scenes:COUNT`; or
            `grids:` before any of these or before a folder, for 2x2 grids of its photos, and
            `grids:3x3:` for others. Which photos make a grid is for the network to say:
            `seewhy.evaluate` and benchmarks ask it, see `seewhy.evaluation.grids`.
        options: of the reader: `split="val"` for the first three, `seed` and `size` for scenes.

    Raises:
        DatasetError: no such kind, or what the reader says of the folder.
    """
    kind, _, where = spec.partition(":")
    if kind not in KINDS:
        raise DatasetError(
            f"dataset {spec!r} is of no known kind{suggestion(kind, KINDS)}; write it as "
            "KIND:FOLDER, or scenes:COUNT"
        )
    if not where:
        raise DatasetError(
            f"dataset {spec!r} names no folder; write it as KIND:FOLDER with one of "
            f"{', '.join(kind for kind in KINDS if kind != 'scenes')}, or scenes:COUNT"
        )
    if kind == "grids":
        return read_grids(where, lambda photos: load_dataset(_specified(photos), **options))
    try:
        return READERS[kind](where, **options)
    except TypeError as error:
        raise DatasetError(f"dataset {spec!r}: {error}") from error


def below(root: Path, spec: str) -> str:
    """The specification with a folder that is relative to `root`."""
    kind, _, where = spec.partition(":")
    if kind == "grids" and where:
        return f"grids:{located(where, lambda photos: below(root, _specified(photos)))}"
    if kind == "scenes" or not where:
        return spec
    return f"{kind}:{root / Path(where).expanduser()}"


def _specified(photos: str) -> str:
    """The specification of photos that may be given as a folder alone."""
    return photos if photos.partition(":")[0] in KINDS else f"folder:{photos}"
