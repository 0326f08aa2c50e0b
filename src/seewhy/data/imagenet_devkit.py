"""The development kit of ILSVRC 2012: what it says of classes and validation photos."""

from pathlib import Path
from typing import NamedTuple

from seewhy.data.dataset import DatasetError, listed_in

NAME = "ILSVRC2012_devkit_t12"


class Devkit(NamedTuple):
    """WordNet numbers of the classes, and of each validation photo by its name without suffix."""

    classes: list[str]
    validation: dict[str, str]


def read_devkit(folder: Path) -> Devkit:
    """Read `data/meta.mat` and the validation ground truth of the kit as it is distributed.

    Raises DatasetError if a file is missing or broken, or scipy, which reads .mat, is not
    installed.
    """
    meta = folder / "data" / "meta.mat"
    truth = folder / "data" / "ILSVRC2012_validation_ground_truth.txt"
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DatasetError(f"{meta}: needs scipy to be read: pip install scipy") from None
    for path in (meta, truth):
        if not path.is_file():
            raise DatasetError(f"{path}: no such file; unpack {NAME}.tar.gz as it is")
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
    return Devkit(sorted(leaves), validation)
