"""The XML annotations of PASCAL VOC, which ImageNet's boxes come in too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as xml

import torch
from torch import Tensor

from seewhy.data.dataset import DatasetError


@dataclass(frozen=True, eq=False)
class Objects:
    """What an XML file annotates: the photo's (width, height), and for each object its name, box
    (n, 4) float64 `x0, y0, x1, y1`, and whether it is flagged difficult.
    """

    size: tuple[int, int]
    labels: tuple[str, ...]
    boxes: Tensor
    difficult: tuple[bool, ...]


def read_objects(path: Path) -> Objects:
    """The objects of an annotation file.

    VOC counts pixels from 1 and includes the last, so a box begins at `xmin - 1`.

    Raises DatasetError for a missing or broken file.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; each photo needs its annotation")
    try:
        note = xml.parse(path).getroot()
        size = (_number(note, "size/width"), _number(note, "size/height"))
        objects = note.findall("object")
        boxes = [
            [_number(item, f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
            for item in objects
        ]
        labels = tuple(item.findtext("name", "").strip() for item in objects)
    except (xml.ParseError, ValueError) as error:
        raise DatasetError(f"{path}: no annotation in PASCAL VOC's XML ({error})") from error
    corners = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    corners[:, :2] -= 1
    difficult = tuple(item.findtext("difficult", "0").strip() == "1" for item in objects)
    return Objects((int(size[0]), int(size[1])), labels, corners, difficult)


def _number(element: xml.Element, path: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"<{element.tag}> has no {path}")
    return float(text)
