"""The XML annotations of PASCAL VOC, which ImageNet's boxes come in too."""

import math
from pathlib import Path
from xml.etree import ElementTree as xml

from PIL import Image
from torch import Tensor

from seewhy.data.dataset import DatasetError, boxes_of, check_size, lies_outside


def read_objects(path: Path, image: Image.Image) -> tuple[list[str], Tensor]:
    """The objects of a photo's annotation file: names, and boxes (n, 4) float64 `x0, y0, x1, y1`.

    VOC counts pixels from 1 and includes the last, so a box begins at `xmin - 1`.

    Raises DatasetError for a missing or broken file, or that of a photo of another size.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; each photo needs its annotation")
    try:
        note = xml.parse(path).getroot()
        size = (int(_number(note, "size/width")), int(_number(note, "size/height")))
        objects = note.findall("object")
        boxes = [
            [_number(item, f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
            for item in objects
        ]
        for x0, y0, x1, y1 in boxes:
            if x1 < x0 or y1 < y0:
                raise ValueError(f"a bndbox ends before it begins: {x0:g}, {y0:g}, {x1:g}, {y1:g}")
        labels = [item.findtext("name", "").strip() for item in objects]
        if not all(labels):
            raise ValueError("<object> has no name")
    except (xml.ParseError, ValueError, LookupError) as error:  # the last of an unknown encoding
        raise DatasetError(f"{path}: no annotation in PASCAL VOC's XML ({error})") from error
    check_size(path, size, image)
    corners = boxes_of(boxes)
    corners[:, :2] -= 1
    for written, box in zip(boxes, corners.tolist(), strict=True):
        if lies_outside(box, image):
            raise DatasetError(f"{path}: the bndbox {written} lies outside of the photo")
    return labels, corners


def _number(element: xml.Element, path: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"<{element.tag}> has no {path}")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{path} of <{element.tag}> is {text}")
    return number
