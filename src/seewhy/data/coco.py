"""COCO 2014 and 2017: instances with boxes and outlines."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from seewhy.data.dataset import Annotation, Dataset, DatasetError, Sample, check_size, folder_of
from seewhy.data.images import load_image
from seewhy.printable import on_one_line


def read_coco(root: str | Path, split: str = "val2017") -> Dataset:
    """The instances of one split; needs the package pycocotools.

    root: the folder with `annotations/instances_SPLIT.json` and the photos in a folder called
        as the split; or one with `instances.json`, there or below `annotations`, and the
        photos in `images`.
    split: such as "val2017" or "val2014"; without meaning in the second layout.

    Regions of crowds count as their category's. The pointing game is played on masks. Photos
    without instances are not among the samples.

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
        check_size(table, (about["width"], about["height"]), image)
        instances: dict[str, list[Any]] = {}
        for instance in coco.imgToAnns[by_key[key]]:
            name = coco.cats[instance["category_id"]]["name"]
            instances.setdefault(name, []).append(instance)
        annotations = []
        for label, own in instances.items():
            boxes = torch.tensor([one["bbox"] for one in own], dtype=torch.float64)
            boxes[:, 2:] += boxes[:, :2]
            masks = [torch.from_numpy(coco.annToMask(one)).bool() for one in own]
            annotations.append(Annotation(label, boxes, torch.stack(masks).any(0)))
        return Sample(key, image, tuple(annotations))

    keys = tuple(sorted(by_key))
    return Dataset(f"coco:{root}", keys, read, region="masks", files=files, tables=(table,))


def _opened(table: Path) -> Any:
    try:
        from pycocotools.coco import COCO
    except ImportError as error:
        raise DatasetError("COCO's masks need the package pycocotools; install it") from error
    try:
        with redirect_stdout(StringIO()):
            coco = COCO(table)
        for about in coco.imgs.values():
            if not isinstance(about["file_name"], str):
                raise TypeError(f"file_name is {about['file_name']!r}")
    except (ValueError, LookupError, AssertionError, TypeError, AttributeError) as error:
        raise DatasetError(f"{table}: no instances as COCO writes them ({error!r})") from error
    except RecursionError:
        raise DatasetError(f"{table}: no instances, but JSON nested too deeply") from None
    return coco
