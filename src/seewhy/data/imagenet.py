"""ImageNet (ILSVRC 2012): one class per photo, boxes where they were drawn."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import torch

from seewhy.data.class_map import ClassMap
from seewhy.data.dataset import (
    Annotation,
    Dataset,
    DatasetError,
    Sample,
    check_size,
    folder_of,
    listed_in,
)
from seewhy.data.finding import find_images
from seewhy.data.imagenet_classes import wordnet_numbers
from seewhy.data.imagenet_devkit import NAME, read_devkit
from seewhy.data.images import load_image
from seewhy.data.pascal import read_objects
from seewhy.printable import on_one_line

_WNID = re.compile(r"n\d{8}")


def read_imagenet(root: str | Path, split: str = "val") -> Dataset:
    """The photos of one split, labelled by WordNet number ("n01440764").

    root: in one of two layouts. That of the localisation challenge has `Data/CLS-LOC/SPLIT`
        and `Annotations/CLS-LOC/SPLIT`. The other has the photos in a folder called as the
        split (or in `root` itself) and, if there are any, annotations in `Annotations/SPLIT`
        or `Annotations`. Photos may lie in folders called by WordNet number, and the
        development kit `ILSVRC2012_devkit_t12` beside them.
    split: such as "val".

    The class comes from the photo's folder, else from the beginning of its own name, as in
    "n01440764_18", else from its annotation, else from the kit. Class
    indices count the WordNet numbers in order: those of the kit, of `LOC_synset_mapping.txt` or
    `synset_words.txt` in `root`, else of the class folders if there are a thousand, else the usual
    thousand.

    Raises DatasetError if there are no photos, or the kit is broken.
    """
    base = folder_of(root, "a folder of ImageNet, with Data/CLS-LOC/val or val")
    devkit = base / "Data" / "CLS-LOC" / split
    photos = next((path for path in (devkit, base / split) if path.is_dir()), base)
    notes = base / "Annotations"
    for below in (notes / "CLS-LOC" / split, notes / split):
        if below.is_dir():
            notes = below
            break
    paths = {on_one_line(path.stem): path for path in find_images(photos)}
    kit = read_devkit(base / NAME) if (base / NAME).is_dir() else None
    numbers = kit.classes if kit else _wordnet_numbers(base, photos)
    classes: ClassMap = {wnid: (index,) for index, wnid in enumerate(numbers)}
    known = kit.validation if kit else {}
    return Dataset(
        f"imagenet:{root}",
        tuple(sorted(paths)),
        partial(_read, paths, notes, known),
        classes=classes,
        files=lambda key: [paths[key], *_notes(paths, notes, known, key)],
        tables=tuple(sorted((base / NAME / "data").glob("*"))),
    )


def _wordnet_numbers(base: Path, photos: Path) -> list[str]:
    for name in ("LOC_synset_mapping.txt", "synset_words.txt"):
        if (base / name).is_file():
            return sorted(_WNID.findall(listed_in(base / name)))
    folders = sorted(path.name for path in photos.iterdir() if _WNID.fullmatch(path.name))
    if len(folders) == 1000:
        return folders
    return list(wordnet_numbers())


def _label(path: Path, known: dict[str, str], key: str) -> str | None:
    for name in (path.parent.name, path.name.partition("_")[0]):
        if _WNID.fullmatch(name):
            return name
    return known.get(key)


def _notes(paths: dict[str, Path], notes: Path, known: dict[str, str], key: str) -> list[Path]:
    """Where a photo's annotation may be; the first that is there counts."""
    label = _label(paths[key], known, key)
    return [notes / f"{key}.xml", notes / f"{label}/{key}.xml"]


def _read(paths: dict[str, Path], notes: Path, known: dict[str, str], key: str) -> Sample:
    path = paths[key]
    image = load_image(path)
    label = _label(path, known, key)
    found = [note for note in _notes(paths, notes, known, key) if note.exists()]
    boxes = torch.zeros(0, 4, dtype=torch.float64)
    difficult: tuple[bool, ...] = ()
    if found:
        objects = read_objects(found[0])
        check_size(found[0], objects.size, image)
        label = label or next(iter(objects.labels), None)
        own = [i for i, name in enumerate(objects.labels) if name == label]
        boxes, difficult = objects.boxes[own], tuple(objects.difficult[i] for i in own)
    if label is None:
        raise DatasetError(
            f"{path}: neither its folder, an annotation in {notes}, nor {NAME} says its class"
        )
    return Sample(key, image, (Annotation(label, boxes, None, difficult),))
