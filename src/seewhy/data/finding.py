"""Which files are photos: files, folders and globs as a person names them."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from seewhy.data.images import SUFFIXES, ImageError


def find_images(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The image files that `paths` name: files, folders (all below) and globs (`**` too).

    A file named outright is taken as it is; from folders and globs come the files with an image's
    suffix, without hidden ones. Sorted, each file once.

    Raises ImageError if one of `paths` matches no image.
    """
    found: dict[Path, Path] = {}
    for given in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(given).expanduser()
        if path.is_dir():
            hits = _images_below(path)
        elif path.exists():
            hits = [path]
        else:
            hits = []
            for match in map(Path, glob.glob(str(path), recursive=True)):
                if match.is_dir():
                    hits += _images_below(match)
                elif match.suffix.lower() in SUFFIXES:
                    hits.append(match)
        if not hits:
            problem = "holds no images" if path.is_dir() else "no such file, and matches no images"
            raise ImageError(
                f"{given}: {problem}; give an image file, a folder of images or a glob such as "
                "'photos/**/*.jpg'"
            )
        found.update((hit.resolve(), hit) for hit in sorted(hits) if hit.resolve() not in found)
    return sorted(found.values())


def _images_below(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
