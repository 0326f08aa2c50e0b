"""What every dataset is: keys, and a way to read the photo and its annotations behind each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.data.class_map import ClassMap
from seewhy.options import check, shown
from seewhy.printable import abridged
from seewhy.reading import text_of

if TYPE_CHECKING:
    from seewhy.data.scenes import Scene


def boxes_of(corners: Sequence[Sequence[float]]) -> Tensor:
    """Boxes (n, 4) float64 of the corners of each, on the CPU whatever torch's default is."""
    return torch.tensor(corners, dtype=torch.float64, device="cpu").reshape(-1, 4)


class DatasetError(ValueError):
    """A dataset or one of its annotations cannot be used; the message names the file."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """All objects of one category in one photo.

    label: the dataset's name of the category; None if it has none.
    boxes: (n, 4) float64, `x0, y0, x1, y1` in the photo's pixels, counted from its top-left
        edge; none by default.
    mask: (H, W) bool at the photo's size, the objects' pixels; None without outlines.
    """

    label: str | None
    boxes: Tensor = field(default_factory=lambda: boxes_of([]))
    mask: Tensor | None = None


def annotations_of(
    labels: Sequence[str], boxes: Tensor, masks: Sequence[Tensor | None]
) -> tuple[Annotation, ...]:
    """One annotation for each label of some objects, without a mask where one of them has none.

    labels, boxes, masks: of each object: its category, (n, 4) float64, and (H, W) bool or None.
    """
    annotations = []
    for label in dict.fromkeys(labels):
        own = [place for place, name in enumerate(labels) if name == label]
        drawn = [mask for place in own if (mask := masks[place]) is not None]
        whole = torch.stack(drawn).any(0) if len(drawn) == len(own) else None
        annotations.append(Annotation(label, boxes[own], whole))
    return tuple(annotations)


@dataclass(frozen=True, eq=False)
class Sample:
    """A photo with its annotations, one for each category in it.

    `key` names it within its dataset, on every machine alike. `scene` is what a rendered picture
    was made of, so that its objects can be taken away.
    """

    key: str
    image: Image.Image
    annotations: tuple[Annotation, ...]
    scene: Scene | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples that are read when they are asked for: `dataset[3]`, `dataset[:100]`, a loop.

    name: the specification that it was loaded by.
    keys: of its samples, in a fixed order, each once; one line of writing each, see
        `seewhy.printable.on_one_line`, whatever the files are called.
    read: gives the sample of a key; raises DatasetError or ImageError naming a file that is
        missing or broken.
    region: what its pointing game is played on, by its authors' convention.
    classes: the network's classes of each label, where the dataset itself says so.
    files: those that the sample of a key is read from, also where they may be missing.
    tables: the files that are about all samples.
    grid: how many photos a side has of the grids that are to be made of its samples; 0 where
        they are explained as they are.

    Raises DatasetError for a key that is no text or comes twice.
    """

    name: str
    keys: tuple[str, ...]
    read: Callable[[str], Sample]
    region: Literal["boxes", "masks"] = "boxes"
    classes: ClassMap | None = None
    files: Callable[[str], Iterable[Path]] = lambda key: ()
    tables: tuple[Path, ...] = ()
    grid: int = 0

    def __post_init__(self) -> None:
        for key, count in Counter(self.keys).items():
            if not isinstance(key, str) or count > 1:
                why = f"is there {count} times" if count > 1 else "is no text"
                said = f"{self.name}: the key {shown(key)} {why}"
                raise DatasetError(f"{said}; each names one sample")

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Sample | Dataset:
        """The sample of a place, or the dataset of a slice of the keys."""
        if isinstance(index, slice):
            return replace(self, keys=self.keys[index])
        return self.read(self.keys[index])

    def __iter__(self) -> Iterator[Sample]:
        return map(self.read, self.keys)


def checked(sample: Sample, key: str) -> Sample:
    """The sample that was read for a key. Results are stored by key and label: both must be unique.

    Raises DatasetError where it has another key, or several annotations of one label, and for boxes
    and masks that cannot be those of the photo.
    """
    if not isinstance(sample, Sample):
        raise DatasetError(f"the sample of {key!r} was read as {shown(sample)}; give a Sample")
    if sample.key != key:
        raise DatasetError(f"the sample of {key!r} was read with the key {shown(sample.key)}")
    for label, count in Counter(one.label for one in sample.annotations).items():
        if count > 1:
            raise DatasetError(
                f"{key}: has {count} annotations of {shown(label)}; give one with all its objects"
            )
    for one in sample.annotations:
        check(f"an annotation of {key}", Annotation, vars(one))
        if one.boxes.shape[1:] != (4,) or not one.boxes.isfinite().all():
            raise DatasetError(f"{key}: boxes={shown(one.boxes)}; give finite numbers, (n, 4)")
        if one.mask is not None and isinstance(sample.image, Image.Image):
            size = sample.image.height, sample.image.width
            if one.mask.shape != size:
                raise DatasetError(f"{key}: mask is {tuple(one.mask.shape)}; the photo is {size}")
    return sample


def check_size(source: Path, annotated: tuple[int, int], image: Image.Image) -> None:
    """Raise DatasetError unless the photo has the (width, height) that `source` annotates."""
    if annotated != image.size:
        raise DatasetError(
            f"{source}: annotates a photo of {annotated[0]}x{annotated[1]} pixels, but the photo "
            f"has {image.width}x{image.height}"
        )


def lies_outside(box: Iterable[float], image: Image.Image) -> bool:
    """Whether a box `x0, y0, x1, y1` with an area has none of it on the photo."""
    x0, y0, x1, y1 = box
    beside = x1 <= 0 or y1 <= 0 or x0 >= image.width or y0 >= image.height
    return beside and x0 < x1 and y0 < y1


def listed_in(path: Path) -> str:
    """The text of a dataset's own file; a DatasetError says what is wrong with it."""
    try:
        return text_of(path)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


def pixels_of(path: Path, image: Image.Image) -> Tensor:
    """The values of a PNG that annotates a photo, (H, W) or (H, W, C); a palette's are its indices.

    Raises DatasetError where it is no PNG, or not of the photo's size.
    """
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            values = torch.from_numpy(np.array(picture))
    except (OSError, SyntaxError) as error:
        raise DatasetError(f"{path}: cannot be decoded ({error}); give a PNG") from error
    check_size(path, (values.shape[1], values.shape[0]), image)
    return values


def folder_of(root: str | Path, kind: str) -> Path:
    """The path, which must be a folder; a DatasetError says what `kind` of folder to give."""
    path = Path(root).expanduser()
    if not os.path.isdir(path):  # which also answers where a name is too long
        problem = "is a file" if os.path.exists(path) else "no such folder"
        raise DatasetError(f"{abridged(path)}: {problem}; give {kind}")
    return path
