"""ImageNet (ILSVRC 2012): one class per photo, boxes where they were drawn."""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

from seewhy.data.dataset import (
    Annotation,
    Dataset,
    DatasetError,
    Sample,
    boxes_of,
    folder_of,
    listed_in,
)
from seewhy.data.finding import find_images
from seewhy.data.images import load_image
from seewhy.data.pascal import read_objects
from seewhy.printable import on_one_line

_WNID = re.compile(r"n\d{8}")
_KIT = "ILSVRC2012_devkit_t12"


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
    photos = _first_folder(base / "Data" / "CLS-LOC" / split, base / split, base)
    notes = base / "Annotations"
    notes = _first_folder(notes / "CLS-LOC" / split, notes / split, notes)
    found = find_images(photos)
    alike = Counter(path.stem for path in found)  # in each folder of classes there may be a 1.jpg
    paths = {}
    for path in found:
        key = path.stem if alike[path.stem] == 1 else path.relative_to(photos).as_posix()
        paths[on_one_line(key)] = path
    if (base / _KIT).is_dir():
        numbers, known = _read_kit(base / _KIT / "data")
    else:
        numbers, known = _wordnet_numbers(base, photos), {}

    def label_of(key: str) -> str | None:
        for name in (paths[key].parent.name, paths[key].name.partition("_")[0]):
            if _WNID.fullmatch(name):
                return name
        return known.get(key)

    def notes_of(key: str) -> list[Path]:
        """Where a photo's annotation may be; the first that is there counts."""
        name = f"{paths[key].stem}.xml"
        below = notes / f"{label_of(key)}" / name
        return [below] if "/" in key else [notes / name, below]

    def read(key: str) -> Sample:
        image, label = load_image(paths[key]), label_of(key)
        note = next((path for path in notes_of(key) if path.exists()), None)
        names, boxes = read_objects(note, image) if note else ([], boxes_of([]))
        label = label or next(iter(names), None)
        if label is None:
            raise DatasetError(
                f"{paths[key]}: neither its folder, an annotation in {notes}, nor {_KIT} says its "
                "class"
            )
        own = [place for place, name in enumerate(names) if name == label]
        return Sample(key, image, (Annotation(label, boxes[own]),))

    return Dataset(
        f"imagenet:{root}",
        tuple(sorted(paths)),
        read,
        classes={wnid: (index,) for index, wnid in enumerate(numbers)},
        files=lambda key: [paths[key], *notes_of(key)],
        tables=tuple(sorted((base / _KIT / "data").glob("*"))),
    )


def _first_folder(*paths: Path) -> Path:
    """The first of them that is a folder, or else the last."""
    return next((path for path in paths if path.is_dir()), paths[-1])


def _wordnet_numbers(base: Path, photos: Path) -> list[str]:
    for name in ("LOC_synset_mapping.txt", "synset_words.txt"):
        if (base / name).is_file():
            return sorted(_WNID.findall(listed_in(base / name)))
    folders = sorted(path.name for path in photos.iterdir() if _WNID.fullmatch(path.name))
    return folders if len(folders) == 1000 else list(imagenet_classes())


def _read_kit(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The kit's WordNet numbers of the classes, and of each validation photo by its name.

    Raises DatasetError if a file is missing or broken, or scipy, which reads .mat, is not
    installed.
    """
    meta, truth = folder / "meta.mat", folder / "ILSVRC2012_validation_ground_truth.txt"
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DatasetError(f"{meta}: needs scipy to be read: pip install scipy") from None
    for path in (meta, truth):
        if not path.is_file():
            raise DatasetError(f"{path}: no such file; unpack {_KIT}.tar.gz as it is")
    try:
        synsets = loadmat(str(meta), squeeze_me=True)["synsets"]
        numbers = {int(one["ILSVRC2012_ID"]): str(one["WNID"]) for one in synsets}
        leaves = [str(one["WNID"]) for one in synsets if int(one["num_children"]) == 0]
    except Exception as error:  # a broken .mat fails in many ways
        raise DatasetError(f"{meta}: cannot be read as the kit's table: {error}") from None
    validation = {}
    for place, line in enumerate(listed_in(truth).split(), start=1):
        if not line.isdigit() or int(line) not in numbers:
            raise DatasetError(f"{truth}: line {place} is {line!r}, no class number of {meta}")
        validation[f"ILSVRC2012_val_{place:08d}"] = numbers[int(line)]
    return sorted(leaves), validation


@cache
def imagenet_classes() -> dict[str, str]:
    """The WordNet number of each class and a short name, all different: n01440764, tench.

    They are in the order in which networks count them.
    """
    path = Path(__file__).with_name("imagenet_classes.json")
    classes: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["classes"]
    return classes
