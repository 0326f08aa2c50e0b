"""Any folder of photos, with labels and masks as far as there are any."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from os.path import isfile  # which takes a name that is too long for one that is not there
from pathlib import Path

from PIL import Image
from torch import Tensor

from seewhy.data.dataset import (
    Annotation,
    Dataset,
    DatasetError,
    Sample,
    boxes_of,
    folder_of,
    listed_in,
    pixels_of,
)
from seewhy.data.finding import find_images
from seewhy.data.images import load_image
from seewhy.options import shown
from seewhy.printable import on_one_line


def read_folder(root: str | Path) -> Dataset:
    """The photos below `images`, or below `root` where there is no such folder.

    Labels come from `labels.csv` in `root`, with a column `file` (as below the photos' folder) and
    either a column `label` or `name`, with a line for each label of a photo, or a column of 0 and 1
    for each category; without that file, from the name of the folder in which a photo lies; photos
    that lie in none have no label, and what is explained is their predicted class.

    Masks are PNGs, nonzero on the object, or transparent around it: `masks/LABEL/NAME.png` of one
    category, or `masks/NAME.png` for photos with a single label or none. One that photos in several
    folders would have is refused when these are read.

    Raises DatasetError for a missing folder, a folder without photos, or an unreadable
    `labels.csv`.
    """
    base = folder_of(root, "a folder of photos")
    photos = base / "images" if (base / "images").is_dir() else base
    masks = base / "masks"
    found = [path.relative_to(photos) for path in find_images(photos) if masks not in path.parents]
    paths = {on_one_line(path.as_posix()): path for path in found}
    table = base / "labels.csv"
    labels: Mapping[str, Sequence[str | None]]
    if table.is_file():
        labels = _labels(table)
        if missing := sorted(paths.keys() - labels.keys()):
            raise DatasetError(f"{table}: has no line for {missing[0]}, nor for {len(missing)} in "
                               "all")  # fmt: skip
        paths = {key: paths.get(key, Path(key)) for key in labels}
    else:
        labels = {key: [on_one_line(path.parent.name) or None] for key, path in paths.items()}

    def masks_of(key: str, label: str | None) -> list[Path]:
        """Where the mask of a label may be; the first that is there counts."""
        name = paths[key].with_suffix(".png")
        found = []
        # A label is any text: "../images" is no folder of masks.
        if label is not None and ".." not in Path(label).parts and label[:1] != "/":
            found.append(masks / label / name.name)
        if len(labels[key]) == 1:
            found += [masks / name, masks / name.name]
        return found

    alike: dict[str, list[str]] = {}  # in several folders there may be a 1.jpg
    for key, path in paths.items():
        alike.setdefault(path.stem, []).append(key)

    def mask_of(key: str, label: str | None) -> Path | None:
        return next((path for path in masks_of(key, label) if isfile(path)), None)

    def check_owner(mask: Path, key: str) -> None:
        """Raise DatasetError where a photo in another folder would have the same mask."""
        for other in alike[paths[key].stem]:
            beside = paths[other].parent == paths[key].parent  # one photo, in another format
            if not beside and mask in (mask_of(other, label) for label in labels[other]):
                raise DatasetError(
                    f"{mask}: may be of {key} or of {other}; give photos with masks names of "
                    "their own"
                )

    def files(key: str) -> list[Path]:
        found = [path for label in labels[key] for path in masks_of(key, label)]
        return [photos / paths[key], *found]

    def read(key: str) -> Sample:
        image = load_image(photos / paths[key])
        annotations = []
        for label in labels[key]:
            path = mask_of(key, label)
            if path is None:
                annotations.append(Annotation(label))
            else:
                check_owner(path, key)
                mask = _marked(pixels_of(path, image) != 0)
                box = Image.fromarray(mask.numpy()).getbbox()  # around what is on it, if any
                boxes = boxes_of([box] if box else [])
                annotations.append(Annotation(label, boxes, mask))
        return Sample(key, image, tuple(annotations))

    keys = tuple(sorted(paths))
    return Dataset(f"folder:{root}", keys, read, "masks", files=files, tables=(table,))


def _marked(solid: Tensor) -> Tensor:
    """The pixels (H, W) of a mask, of which the nonzero values are given."""
    if solid.ndim == 2:
        return solid
    if solid.shape[2] in (2, 4):  # the last is opacity, which marks nothing where all is opaque
        opaque, solid = solid[..., -1], solid[..., :-1]
        if not opaque.all():
            return opaque
    return solid.any(-1)


def _labels(table: Path) -> dict[str, list[str]]:
    """The labels of each photo, in the order of the table."""
    lines = csv.DictReader(StringIO(listed_in(table), newline=""))
    try:
        columns = list(lines.fieldnames or [])
        if "file" not in columns or len(columns) < 2:
            raise DatasetError(
                f"{table}: has the columns {shown(columns)}; give file and label, or file and one "
                "column of 0 and 1 per category"
            )
        labels: dict[str, list[str]] = {}
        named = next((column for column in ("label", "name") if column in columns), None)
        columns.remove("file")
        for line in lines:
            if named is not None:
                own = [line[named]]
                if None in (line["file"], *own):
                    raise DatasetError(f"{table}, line {lines.line_num}: give a file and its label")
            elif {line[name] for name in columns} <= {"0", "1"}:
                own = [name for name in columns if line[name] == "1"]
            else:
                raise DatasetError(f"{table}, line {lines.line_num}: give 0 or 1 for each category")
            before = labels.setdefault(on_one_line(line["file"]), [])
            before += [label for label in own if label not in before]
        return labels
    except csv.Error as error:
        raise DatasetError(f"{table}, line {lines.line_num + 1}: no CSV ({error})") from None
