"""Which files are photos: files, folders and globs as a person names them."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from seewhy.data.images import SUFFIXES, ImageError
from seewhy.printable import abridged


def find_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The image files that `paths` name: files, folders (all below) and globs (`**` too).

    A file named outright is taken as it is; from folders and globs come the files with an image's
    suffix, without hidden ones. Sorted, each file once. Neither a folder nor `**` leads through
    links to other folders, which may form a ring.

    Raises ImageError if one of `paths` matches no image.
    """
    found: dict[str, Path] = {}
    for given in [paths] if isinstance(paths, str | Path) else paths:
        if given == "":
            raise ImageError("the path of a photo is empty; give '.' for the current folder")
        path = Path(given).expanduser()
        try:
            path.exists()
        except OSError as error:  # a name that is too long, or a folder that may not be read
            raise ImageError(
                f"{abridged(given)}: {error.strerror}; give an image file, a folder or a glob"
            ) from None
        hits: list[Path] = []
        for match in [path] if path.exists() else map(Path, _matches(path.parts)):
            if match.is_dir():
                hits += _images_below(match)
            elif match == path or match.suffix.lower() in SUFFIXES:
                hits.append(match)
        if not hits:
            problem = "holds no images" if path.is_dir() else "no such file or folder"
            problem = "matches no images" if glob.has_magic(str(path)) else problem
            raise ImageError(
                f"{abridged(given)}: {problem}; give an image file, a folder of images or a glob "
                "such as 'photos/**/*.jpg'"
            )
        for hit in sorted(hits):
            found.setdefault(os.path.realpath(hit), hit)
    return sorted(found.values())


def _matches(pattern: Sequence[str]) -> Iterator[str]:
    """What matches a glob, given as the parts of its path; some of it maybe twice."""
    if "**" not in pattern:
        yield from glob.iglob(os.path.join("", *pattern))
        return
    place = pattern.index("**")
    rest = pattern[place + 1 :]
    for top in glob.iglob(os.path.join(*pattern[:place], "")) if place else [os.curdir]:
        if not rest:
            yield top  # a folder stands for all below
            continue
        for folder, below, _ in os.walk(top):
            below[:] = [name for name in below if not name.startswith(".")]
            yield from _matches([glob.escape(folder), *rest])


def _images_below(folder: Path) -> list[Path]:
    below = map(Path, _matches([glob.escape(str(folder)), "**", "*"]))
    return [path for path in below if path.suffix.lower() in SUFFIXES and path.is_file()]
