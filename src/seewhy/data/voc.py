"""PASCAL VOC 2007 and 2012: boxes of every photo, outlines of some."""

from pathlib import Path

import torch

from seewhy.data.dataset import (
    Dataset,
    DatasetError,
    Sample,
    annotations_of,
    folder_of,
    listed_in,
    pixels_of,
)
from seewhy.data.images import load_image
from seewhy.data.pascal import read_objects
from seewhy.printable import on_one_line

_BAND = 255  # the number of pixels around the outlines; those of objects end before it


def read_voc(root: str | Path, split: str = "val") -> Dataset:
    """The detection and segmentation data of one year.

    root: the year's folder (with `JPEGImages` and `Annotations`), or one that holds it, as
        itself or below `VOCdevkit`.
    split: the list of photos below `ImageSets/Main`, such as "val", "trainval" or "test"; or
        below another folder of lists, as in "Segmentation/val". Of a list of one category, such
        as "dog_val", those without it (-1) are left out.

    Masks come from `SegmentationObject`, where object i of the annotation is i + 1, for the photos
    that are in it; the band around the outlines, of no class, belongs to no object. A category with
    an object from the 255th on, which has no number of its own, has no mask. The pointing game is
    played on boxes.

    Raises DatasetError for a missing folder or list, or several years below the folder.
    """
    year = _year(folder_of(root, "a folder of PASCAL VOC, such as VOCdevkit/VOC2012"))
    lists = year / "ImageSets"
    listed = (lists if "/" in split else lists / "Main") / f"{split}.txt"
    if not listed.is_file():
        known = sorted(
            path.relative_to(lists).with_suffix("").as_posix() for path in lists.glob("*/*.txt")
        )
        known = [name.removeprefix("Main/") for name in known if "_" not in name]
        raise DatasetError(f"{listed}: no such list; there are {', '.join(known) or 'none'}")
    lines = listed_in(listed).splitlines()
    words = [line.split() for line in lines if line.strip()]
    keys = tuple(on_one_line(first) for first, *more in words if more != ["-1"])

    def files(key: str) -> tuple[Path, Path, Path]:
        """Photo, annotation and outlines."""
        return (
            year / "JPEGImages" / f"{key}.jpg",
            year / "Annotations" / f"{key}.xml",
            year / "SegmentationObject" / f"{key}.png",
        )

    def read(key: str) -> Sample:
        photo, path, outlines = files(key)
        image = load_image(photo)
        labels, boxes = read_objects(path, image)
        # Which object each pixel belongs to, counted from 1.
        numbered = pixels_of(outlines, image) if outlines.is_file() else None
        if numbered is not None and (numbered.ndim, numbered.dtype) != (2, torch.uint8):
            raise DatasetError(
                f"{outlines}: has no number of an object at each pixel; give a PNG of 8 bits, with "
                "a palette or grey"
            )
        masks = [
            numbered == number if numbered is not None and number < _BAND else None
            for number in range(1, len(labels) + 1)
        ]
        return Sample(key, image, annotations_of(labels, boxes, masks))

    return Dataset(f"voc:{root}", keys, read, files=files)


def _year(root: Path) -> Path:
    for below in (root, root / "VOCdevkit"):
        years = [below, *sorted(below.glob("VOC20*"))]
        found = [path for path in years if (path / "JPEGImages").is_dir()]
        if len(found) == 1 or below in found:
            return found[0]
        if found:
            names = ", ".join(path.name for path in found)
            raise DatasetError(f"{below}: holds {names}; give the folder of one year")
    raise DatasetError(f"{root}: holds no JPEGImages; give the folder of one year, as in VOC2012")
