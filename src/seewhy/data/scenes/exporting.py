"""Scenes written to disk in the layouts that standard readers know."""

import csv
import json
from collections.abc import Callable, Iterable
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seewhy.data.images import encoded
from seewhy.data.scenes.dataset import Scene, Scenes
from seewhy.data.scenes.objects import CATEGORIES


def export(
    directory: str | Path, count: int, layout: str = "voc", *, seed: int = 0, size: int = 128
) -> Path:
    """Write `count` scenes into a new or empty directory and return its path.

    Layouts (JPEG pictures are of quality 95; masks and boxes are of the visible part):

    - `voc`: as PASCAL VOC 2012, below `VOCdevkit/VOC2012`, which is what
      `torchvision.datasets.VOCDetection` and `VOCSegmentation` look for; image set `val`.
    - `coco`: `images/` and `annotations/instances.json` with run-length masks, for pycocotools and
      `torchvision.datasets.CocoDetection`. Categories are numbered from 1.
    - `folder`: `images/*.png`, `masks/*.png` (0 where there is no object, i + 1 on object i) and
      `labels.csv` with one column of 0 and 1 per category.

    Raises ValueError for an unknown layout, or a count, seed or size out of range; FileExistsError
    if the directory is not empty, or is a file; OSError that names a file which cannot be written.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout: {layout!r} is unknown; choose one of {', '.join(LAYOUTS)}")
    scenes = Scenes(count, seed, size)
    root = Path(directory)
    if root.is_file() or (root.is_dir() and any(root.iterdir())):
        raise FileExistsError(f"{root}: is a file or a directory with files in it; name a new one")
    LAYOUTS[layout](root, scenes)
    return root


def _folders(root: Path, *names: str) -> list[Path]:
    folders = [root / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def _write(path: Path, content: bytes) -> None:
    """Write a file whole; of one that a full disk cuts off nothing is left."""
    try:
        path.write_bytes(content)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(f"{path}: cannot be written ({error.strerror or error})") from error


def _picture(image: Image.Image, path: Path, **options: Any) -> None:
    _write(path, encoded(image, "JPEG" if path.suffix == ".jpg" else "PNG", **options))


def _voc_palette() -> list[int]:
    """The colours of VOC's label images: the bits of the index, spread over the three channels."""
    index = np.arange(256)
    channels = [
        sum(((index >> (3 * bit + c)) & 1) << (7 - bit) for bit in range(3)) for c in range(3)
    ]
    return list(np.stack(channels, axis=1).ravel().tolist())


def _label_image(scene: Scene, values: Iterable[int]) -> NDArray[np.uint8]:
    """Zero on the ground and each object's value on its mask."""
    out = np.zeros((scene.size, scene.size), np.uint8)
    for mask, value in zip(scene.masks, values, strict=True):
        out[mask] = value
    return out


def _voc(root: Path, scenes: Scenes) -> None:
    base = root / "VOCdevkit" / "VOC2012"
    images, notes, main, segmentation, classes, instances = _folders(
        base, "JPEGImages", "Annotations", "ImageSets/Main", "ImageSets/Segmentation",
        "SegmentationClass", "SegmentationObject",
    )  # fmt: skip
    palette = _voc_palette()
    present: dict[str, tuple[str, ...]] = {}
    for scene in scenes:
        name = scene.key
        present[name] = scene.labels
        _picture(scene.image, images / f"{name}.jpg", quality=95)
        for folder, values in (
            (classes, [CATEGORIES.index(label) + 1 for label in scene.labels]),
            (instances, range(1, len(scene.labels) + 1)),
        ):
            label_image = _label_image(scene, values)
            # VOC marks every outline as 255, "of no class".
            solid = np.pad(label_image, 1, mode="edge")
            edge = np.zeros_like(label_image, bool)
            for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
                edge |= solid[dy : dy + scene.size, dx : dx + scene.size] != label_image
            label_image[edge] = 255
            picture = Image.fromarray(label_image)
            picture.putpalette(palette)
            _picture(picture, folder / f"{name}.png")
        _write(notes / f"{name}.xml", xml.tostring(_voc_annotation(scene)))
    names = "".join(f"{name}\n" for name in present)
    for folder in (main, segmentation):
        _write(folder / "val.txt", names.encode())
    for category in CATEGORIES:
        lines = (f"{name} {1 if category in found else -1:2d}\n" for name, found in present.items())
        _write(main / f"{category}_val.txt", "".join(lines).encode())


def _voc_annotation(scene: Scene) -> xml.Element:
    note = xml.Element("annotation")

    def add(parent: xml.Element, **texts: object) -> None:
        for tag, text in texts.items():
            xml.SubElement(parent, tag).text = str(text)

    add(note, folder="VOC2012", filename=f"{scene.key}.jpg")
    add(xml.SubElement(note, "source"), database="Seewhy scenes")
    add(xml.SubElement(note, "size"), width=scene.size, height=scene.size, depth=3)
    add(note, segmented=1)
    for label, (x0, y0, x1, y1) in zip(scene.labels, scene.boxes.tolist(), strict=True):
        item = xml.SubElement(note, "object")
        add(item, name=label, pose="Unspecified", truncated=0, difficult=0)
        # VOC counts pixels from 1 and includes the last.
        add(xml.SubElement(item, "bndbox"), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
    xml.indent(note)
    return note


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed run-length code of a mask (H, W): runs of 0 and 1 in turn, by column."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
    return {"size": list(mask.shape), "counts": np.diff(ends, prepend=0).tolist()}


def _coco(root: Path, scenes: Scenes) -> None:
    images, notes = _folders(root, "images", "annotations")
    pictures: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    side = scenes.size
    for scene in scenes:
        name = f"{scene.key}.jpg"
        _picture(scene.image, images / name, quality=95)
        pictures.append({"id": scene.index, "file_name": name, "width": side, "height": side})
        found = zip(scene.labels, scene.boxes.tolist(), scene.masks, strict=True)
        for label, (x0, y0, x1, y1), mask in found:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": scene.index,
                    "category_id": CATEGORIES.index(label) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": run_lengths(mask),
                }
            )
    categories = [
        {"id": k, "name": name, "supercategory": "scene"} for k, name in enumerate(CATEGORIES, 1)
    ]
    table = {
        "info": {"description": "Seewhy scenes"},
        "images": pictures,
        "annotations": annotations,
        "categories": categories,
    }
    _write(notes / "instances.json", json.dumps(table).encode())


def _folder(root: Path, scenes: Scenes) -> None:
    images, masks = _folders(root, "images", "masks")
    text = StringIO()
    table = csv.writer(text)
    table.writerow(["file", *CATEGORIES])
    for scene in scenes:
        name = f"{scene.key}.png"
        _picture(scene.image, images / name)
        label_image = _label_image(scene, range(1, len(scene.labels) + 1))
        _picture(Image.fromarray(label_image), masks / name)
        table.writerow([name, *(int(value) for value in scene.target)])
    _write(root / "labels.csv", text.getvalue().encode())


LAYOUTS: dict[str, Callable[[Path, Scenes], None]] = {
    "voc": _voc,
    "coco": _coco,
    "folder": _folder,
}
