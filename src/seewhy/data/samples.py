"""Sample photos of the real world, all CC0 or in the public domain, that come with Seewhy."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageOps

from seewhy.data.images import load_image

FOLDER = Path(__file__).parent / "photos"


@dataclass(frozen=True)
class SamplePhoto:
    """A photo and where it comes from.

    name: its file is `name.jpg`.
    about: what it shows, in words.
    classes: of ImageNet, that are seen in it; the first is its main one.
    by, source, licence: who made it, where it was taken from, and on what terms.
    """

    name: str
    about: str
    classes: tuple[str, ...]
    by: str
    source: str
    licence: str

    @property
    def image(self) -> Image.Image:
        """The photo, RGB, of 480 pixels at most; each time decoded anew."""
        return load_image(FOLDER / f"{self.name}.jpg")


@cache
def sample_photos() -> dict[str, SamplePhoto]:
    """All sample photos by name."""
    table = tomllib.loads((FOLDER / "sources.toml").read_text("utf-8"))
    return {
        name: SamplePhoto(name, **{**about, "classes": tuple(about["classes"])})
        for name, about in table.items()
    }


def grid_of(photos: list[Image.Image], side: int) -> Image.Image:
    """Four photos in a square of two by two, each cut to a square of `side` pixels."""
    grid = Image.new("RGB", (2 * side, 2 * side))
    for place, photo in enumerate(photos):
        row, column = divmod(place, 2)
        grid.paste(ImageOps.fit(photo, (side, side)), (column * side, row * side))
    return grid
