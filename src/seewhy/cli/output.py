"""Files that a command writes: never onto anything that it did not make itself."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from uuid import uuid4

from PIL import ExifTags, Image

MARK = ("Software", "seewhy")
"""By this text in a PNG, and in the EXIF of a JPEG, our own pictures are known."""


class Output:
    """A folder for pictures, whose names are given out once each.

    folder: made, unless it is there.
    inputs: files that are read; they are never written onto.
    overwrite: whether other files that are there already may be replaced.

    Raises ValueError where a file is in the folder's place.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path], overwrite: bool) -> None:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--out {folder} is a file; give a folder")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.overwrite = overwrite
        self._inputs = {os.path.realpath(path) for path in inputs}
        self._given: set[str] = set()

    def path(self, *parts: str, suffix: str) -> Path:
        """A path in the folder, named by the parts; numbered where two would be alike."""
        stem = ".".join(slug(part) for part in parts)
        return self.folder / unused(stem, self._given, f".{suffix}")

    def check(self, path: Path) -> None:
        """Raise ValueError where the path may not be written onto."""
        if os.path.realpath(path) in self._inputs:
            raise ValueError(f"{path} is one of the photos; give another --out")
        if not self.overwrite and os.path.lexists(path):
            raise ValueError(
                f"{path} is there already; give another --out, or --overwrite to replace it"
            )

    def write(self, path: Path, save: Callable[[Path], None]) -> None:
        """Let `save` write a new file, and put it in its place when it is complete.

        Raises ValueError if the path may not be written onto.
        """
        self.check(path)
        partial = path.with_name(f".{uuid4().hex}{path.suffix}")
        try:
            save(partial)
            self.check(path)  # it may have come there meanwhile
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def unused(stem: str, given: set[str], suffix: str = "") -> str:
    """A name that was not given yet, numbered if need be; then it is."""
    name, number = f"{stem}{suffix}", 2
    while name.casefold() in given:  # some file systems know no capitals
        name, number = f"{stem}-{number}{suffix}", number + 1
    given.add(name.casefold())
    return name


def slug(text: str) -> str:
    """Text as part of a file name."""
    return shortened(re.sub(r"[^\w.+-]+", "-", text).strip("-."), 60) or "-"


def shortened(text: str, most: int) -> str:
    """The beginning of a text, of so many bytes at most: names of files have 255 in all."""
    return os.fsencode(text)[:most].decode(errors="ignore")


def ours(path: Path) -> bool:
    """Whether a file is a picture that a command like this wrote."""
    if path.name.endswith(".map.png"):  # a map itself lies beside its picture
        beside = path.name.removesuffix(".map.png")
        return any(ours(path.with_name(f"{beside}.{suffix}")) for suffix in ("png", "jpg"))
    if path.suffix.lower() not in (".png", ".jpg"):
        return False
    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as image:
            said = image.info.get(MARK[0]) or image.getexif().get(ExifTags.Base.Software)
            return bool(said == MARK[1])
    except Exception:  # no picture, or a broken one: reading it will say so
        return False
