"""COCO 2014 and 2017: instances with boxes and outlines."""

import math
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from seewhy.data.dataset import (
    Dataset,
    DatasetError,
    Sample,
    annotations_of,
    boxes_of,
    check_size,
    folder_of,
    lies_outside,
)
from seewhy.data.images import load_image
from seewhy.printable import on_one_line


def read_coco(root: str | Path, split: str = "val2017") -> Dataset:
    """The instances of one split; needs the package pycocotools.

    root: the folder with `annotations/instances_SPLIT.json` and the photos in a folder called
        as the split; or one with `instances.json`, there or below `annotations`, and the
        photos in `images`.
    split: such as "val2017" or "val2014"; without meaning in the second layout.

    Regions of crowds count as their category's. The pointing game is played on masks; a category
    has none in a photo where one of its instances is without. Photos without instances are not
    among the samples.

    Raises DatasetError if a folder or file is missing, or the file is not in COCO's format.
    """
    base = folder_of(root, "a folder of COCO, with annotations/instances_val2017.json")
    layouts = [
        (base / "annotations" / f"instances_{split}.json", base / split),
        (base / "annotations" / "instances.json", base / "images"),
        (base / "instances.json", base / "images"),
    ]
    table, photos = next((one for one in layouts if one[0].is_file()), layouts[0])
    if not table.is_file():
        raise DatasetError(f"{table}: no such file; give the instances of split {split!r}")
    coco = _opened(table)
    by_key = {
        on_one_line(about["file_name"]): number
        for number, about in coco.imgs.items()
        if coco.imgToAnns[number]
    }

    def files(key: str) -> list[Path]:
        return [photos / coco.imgs[by_key[key]]["file_name"]]

    def read(key: str) -> Sample:
        about = coco.imgs[by_key[key]]
        image = load_image(*files(key))
        check_size(table, (about.get("width"), about.get("height")), image)
        labels: list[str] = []
        boxes: list[list[float]] = []
        masks: list[Tensor | None] = []
        for instance in coco.imgToAnns[by_key[key]]:
            try:
                labels.append(coco.cats[instance["category_id"]]["name"])
                x, y, width, height = map(float, instance["bbox"])
                if not all(map(math.isfinite, (x, y, width, height))) or min(width, height) < 0:
                    raise ValueError(f"its bbox is {instance['bbox']}")
                box = [x, y, x + width, y + height]
                if lies_outside(box, image):
                    raise ValueError(f"its bbox lies outside of the photo: {instance['bbox']}")
                boxes.append(box)
                masks.append(_outlined(coco, instance, image))
            except Exception as error:  # pycocotools has no checks, and so all kinds of them
                raise DatasetError(
                    f"{table}: the annotation with the id {instance.get('id')}, of {key}, is not "
                    f"as COCO writes them ({error!r})"
                ) from error
        return Sample(key, image, annotations_of(labels, boxes_of(boxes), masks))

    keys = tuple(sorted(by_key))
    return Dataset(f"coco:{root}", keys, read, region="masks", files=files, tables=(table,))


def _outlined(coco: Any, instance: dict[str, Any], image: Image.Image) -> Tensor | None:
    """The pixels of an instance, (H, W) bool; None where it has a box alone."""
    outline = instance.get("segmentation")
    if not outline:
        return None
    if isinstance(outline, dict):
        height, width = outline["size"]
        if (width, height) != image.size:
            raise ValueError(f"its mask has {width}x{height} pixels")
        if (pixels := sum(_runs(outline["counts"]))) != height * width:
            # where they end too early, pycocotools leaves what was in memory before
            raise ValueError(f"the runs of its mask have {pixels} pixels")
    elif any(len(polygon) % 2 for polygon in outline):  # pycocotools would leave out the last
        raise ValueError("its outline has an odd number of coordinates")
    elif not all(abs(value) <= 10 * max(image.size) for polygon in outline for value in polygon):
        # pycocotools keeps each pixel on the way there in memory, and takes nan for 0
        raise ValueError("its outline leads far beyond the photo")
    return torch.from_numpy(coco.annToMask(instance)).bool()


def _runs(counts: list[int] | str) -> list[int]:
    """The lengths of a mask's runs, which as a text have 5 bits and whether more come in a letter.

    From the fourth on the text has what a run is longer than the one before the last.
    """
    if isinstance(counts, list):
        return counts
    runs: list[int] = []
    value = shift = 0
    for bits in (ord(letter) - 48 for letter in counts):
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:  # the last letter's highest bit is the sign
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def _opened(table: Path) -> Any:
    try:
        from pycocotools.coco import COCO
    except ImportError as error:
        raise DatasetError("COCO's masks need a package: pip install pycocotools") from error
    try:
        with redirect_stdout(StringIO()):
            coco = COCO(table)
        names = Counter(about["file_name"] for about in coco.imgs.values())
        for name, count in names.items():
            if not isinstance(name, str):
                raise TypeError(f"file_name is {name!r}")
            if count > 1:
                raise ValueError(f"{count} images have the file_name {name!r}")
        for part, kept in (("images", coco.imgs), ("categories", coco.cats)):
            for about in coco.dataset.get(part, ()):
                if kept[about["id"]] != about:  # pycocotools keeps the last one
                    raise ValueError(f"several {part} have the id {about['id']!r}")
    except (ValueError, LookupError, AssertionError, TypeError, AttributeError) as error:
        raise DatasetError(f"{table}: no instances as COCO writes them ({error!r})") from error
    except RecursionError:
        raise DatasetError(f"{table}: no instances, but JSON nested too deeply") from None
    return coco
