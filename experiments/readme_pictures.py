"""Draws the pictures of the README.

    python experiments/readme_pictures.py [--photos DIR --weights FILE]

The scenes need nothing. The photos are Chelsea the cat (Stefan van der Walt) and the coffee cup
(Rachel Michetti), both CC0, as they ship with scikit-image (`skimage/data`); the network for them
is a torchvision squeezenet1_0 with ImageNet weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from seewhy.data.images import load_image
from seewhy.data.preprocess import Preprocess
from seewhy.data.scenes import Scenes
from seewhy.demo import explain_scene
from seewhy.explanation import Explanation, gallery_of
from seewhy.models import load_model
from seewhy.photos import explain_photos

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
METHODS = [
    "grad_cam",
    "global_guidance",
    "gig_cam+multiscale",
    "grad_cam+gradual(image='none')",
    "tsgb(clamp=True)",
    "auto",
]
SCENES = (47, 26)
WIDTH = 1800  # pixels


def draw(explanations: list[Explanation], name: str) -> None:
    """Write a gallery into the documentation's images."""
    picture = gallery_of(explanations, columns=len(METHODS) + 1).convert("RGB")
    picture.thumbnail((WIDTH, picture.height), Image.Resampling.LANCZOS)
    picture.save(IMAGES / name, quality=88)


def scenes() -> None:
    """Two scenes, each explained for two objects; and the first of them alone."""
    model = load_model("scenes:resnet")
    explanations = []
    for index in SCENES:
        scene = Scenes(index + 1, size=512)[index]
        explanations += explain_scene(model, scene, METHODS)
    draw(explanations, "readme-scenes.jpg")
    Scenes(48, size=512)[47].image.save(IMAGES / "scene.png")


def photos(folder: Path, weights: Path) -> None:
    """Two photos, each explained for its predicted class."""
    # The whole photo, squashed: nothing of it stays unseen.
    model = load_model(
        "torchvision:squeezenet1_0", weights=weights, preprocess=Preprocess(resize=(256, 256))
    )
    names = ("chelsea.png", "coffee.png")
    pictures = [load_image(folder / name) for name in names]
    answers = explain_photos(model, pictures, METHODS, sources=names)
    draw([one for answer in answers for one in answer.explanations], "readme-photos.jpg")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    scenes()
    if options.photos and options.weights:
        photos(options.photos, options.weights)
