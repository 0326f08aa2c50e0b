"""Draws the pictures of the README, from the photos and networks that come with Seewhy.

    python experiments/readme_pictures.py

Where the photos come from is in `src/seewhy/data/photos/sources.toml`.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from seewhy.data.samples import sample_photos
from seewhy.data.scenes import Scenes
from seewhy.demo import GRID, METHODS, explain_grid, explain_scene, explain_two
from seewhy.explanation import Explanation, gallery_of
from seewhy.models import load_model

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SCENES = (47, 26)
WIDTH = 1600  # pixels


def draw(explanations: list[Explanation], name: str, columns: int) -> None:
    """Write a gallery into the documentation's images."""
    picture = gallery_of(explanations, columns=columns).convert("RGB")
    picture.thumbnail((WIDTH, picture.height), Image.Resampling.LANCZOS)
    picture.save(IMAGES / name, quality=85, optimize=True, progressive=True)


def scenes() -> None:
    """Two scenes, each explained for two objects; and the first of them alone."""
    model = load_model("scenes:resnet")
    explanations = []
    for index in SCENES:
        scene = Scenes(index + 1, size=512)[index]
        explanations += explain_scene(model, scene, list(METHODS))
    draw(explanations, "readme-scenes.jpg", len(METHODS) + 1)
    Scenes(48, size=512)[47].image.save(IMAGES / "scene.png")


def photos() -> None:
    """A grid of four photos asked four questions, and one photo asked for two of its objects."""
    samples = sample_photos()
    draw(explain_grid([samples[name] for name in GRID]), "readme-grid.jpg", 5)
    draw(explain_two(samples["camera"]), "readme-photos.jpg", len(METHODS) + 1)


if __name__ == "__main__":
    photos()
    scenes()
