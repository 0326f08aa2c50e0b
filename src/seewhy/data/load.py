"""Datasets by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seewhy.data.coco import read_coco
from seewhy.data.dataset import Dataset, DatasetError
from seewhy.data.folder import read_folder
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


def load_dataset(spec: str, **options: Any) -> Dataset:
    """Load a dataset by its specification.

    Args:
        spec: `voc:FOLDER`, `coco:FOLDER`, `imagenet:FOLDER`, `folder:FOLDER`, or `scenes:COUNT`.
        options: of the reader: `split="val"` for the first three, `seed` and `size` for scenes.

    Raises:
        DatasetError: no such kind, or what the reader says of the folder.
    """
    kind, _, where = spec.partition(":")
    if kind not in READERS:
        raise DatasetError(
            f"dataset {spec!r} is of no known kind{suggestion(kind, READERS)}; write it as "
            "KIND:FOLDER, or scenes:COUNT"
        )
    if not where:
        raise DatasetError(
            f"dataset {spec!r} names no folder; write it as KIND:FOLDER with one of "
            f"{', '.join(kind for kind in READERS if kind != 'scenes')}, or scenes:COUNT"
        )
    try:
        return READERS[kind](where, **options)
    except TypeError as error:
        raise DatasetError(f"dataset {spec!r}: {error}") from error
