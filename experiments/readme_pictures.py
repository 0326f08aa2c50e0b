"""Draws the pictures of the README, from the photos and networks that come with Seewhy.

    python experiments/readme_pictures.py

Where the photos come from is in `src/seewhy/data/photos/sources.toml`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from seewhy.data.samples import sample_photos
from seewhy.demo import GRID, METHODS, explain_grid, explain_two
from seewhy.explanation import Explanation, gallery_of

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
WIDTH = 1600  # pixels


def draw(explanations: list[Explanation], name: str, columns: int) -> None:
    """Write a gallery into the documentation's images."""
    picture = gallery_of(explanations, columns=columns).convert("RGB")
    picture.thumbnail((WIDTH, picture.height), Image.Resampling.LANCZOS)
    picture.save(IMAGES / name, quality=85, optimize=True, progressive=True)


def photos() -> None:
    """A grid of four photos asked four questions, and one photo asked for two of its objects."""
    samples = sample_photos()
    draw(explain_grid([samples[name] for name in GRID]), "readme-grid.jpg", 5)
    draw(explain_two(samples["camera"]), "readme-photos.jpg", len(METHODS) + 1)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    photos()
