"""Fingerprints of everything that a run depends on, by content."""

import json
import platform
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest, sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seewhy.data.class_map import ClassMap
from seewhy.data.dataset import Dataset
from seewhy.models import LoadedModel
from seewhy.plugins import INSTALLED, NAMED

PACKAGES = ("seewhy", "torch", "numpy", "pillow")
READERS = 8  # files at a time: a disk, and more so a network, is slow to answer


def of_weights(module: nn.Module) -> str:
    """Of all weights and buffers, the same on every device."""
    digest = sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def of_network(model: LoadedModel, spec: str) -> str:
    """Of all but the weights: preprocessing, classes and code.

    That is the files of `module:factory` and of the classes of the network's parts, of whichever
    package they are; not a script that is run itself, which changes for other reasons.
    """
    parts = {type(part).__module__ for part in model.module.modules()} - {"__main__"}
    code = of_files(_sources(sorted({spec.partition(":")[0], *parts})))
    return _of(str(model.preprocess), list(model.classes), str(model.activation), code)


def of_plugins() -> dict[str, str]:
    """Of the file of each plugin that was named; of all files of its package, if it is in one."""
    found = {}
    for name in (one.module for one in NAMED):
        folders = getattr(sys.modules[name.partition(".")[0]], "__path__", ())
        files = sorted(path for folder in folders for path in Path(folder).rglob("*.py"))
        found[name] = of_files(files or _sources([name]))
    return found


def plugins_lacking(manifest: dict[str, Any]) -> str:
    """What to do for the plugins that a run had and that are not loaded; "" where all are."""
    named = manifest.get("plugins", {}).keys() - {one.module for one in NAMED}
    packages = manifest["versions"].keys() - {"python", *PACKAGES, *INSTALLED}
    ways = [f"give {', '.join(sorted(named))} with --plugin"] if named else []
    ways += [f"install {', '.join(sorted(packages))}"] if packages else []
    return ", or ".join(ways)


def of_dataset(data: Dataset) -> str:
    """Of its keys, its classes and the files that are about all samples; see `of_samples`."""
    return _of(list(data.keys), data.classes, of_files(data.tables))


def of_class_map(classes: ClassMap) -> str:
    """Of a class map, however its file is written."""
    return _of(classes)


def of_samples(data: Dataset, keys: Sequence[str]) -> dict[str, str]:
    """Of each sample's own files, by key: its photo, and what is annotated in it."""

    def fingerprint(key: str) -> str:
        try:
            return of_files(data.files(key))[:16]
        except Exception:  # datasets are anyone's; a broken sample is reported when it is read
            return ""

    with ThreadPoolExecutor(READERS) as readers:
        return dict(zip(keys, readers.map(fingerprint, keys), strict=True))


def of_files(paths: Iterable[Path]) -> str:
    """Of sizes and contents, in that order; that a file is not there, or cannot be read, counts."""
    return _of(*map(_of_file, paths))


def _sources(modules: Iterable[str]) -> list[Path]:
    files = (getattr(sys.modules.get(name), "__file__", None) for name in modules)
    return [Path(file) for file in files if file]


def _of_file(path: Path) -> list[object]:
    try:
        if not path.is_file():
            return []
        with path.open("rb") as file:
            return [path.stat().st_size, file_digest(file, "sha256").hexdigest()]
    except (OSError, ValueError):  # as a name that is too long, or none
        return []


def _of(*parts: object) -> str:
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def facts(
    config: dict[str, Any], seed: int, device: str, **fingerprints: dict[str, str]
) -> dict[str, Any]:
    """What decides the rows, as plain data: another run may go on with them where all is equal.

    fingerprints: weights, networks, images and class_maps, see `seewhy.bench.plan.Plan`.
    """
    versions = {package: version(package) for package in PACKAGES}
    found = {
        "config": config,
        "seed": seed,
        "versions": {"python": platform.python_version(), **versions, **INSTALLED},
        "device": device,
        **fingerprints,
        "plugins": of_plugins(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain
