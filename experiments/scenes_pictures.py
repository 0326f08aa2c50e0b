"""The pictures of docs/scenes.md.

python experiments/scenes_pictures.py
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from seewhy.data.scenes import SAMPLES, Scene, Scenes

OUT = Path(__file__).parents[1] / "docs" / "images"
SIDE, GAP, LINE = 192, 8, 20
MORE = (38, 52, 14, 5, 22, 58, 25)


def sheet(pictures: Sequence[tuple[Scene, str]], columns: int, path: Path) -> None:
    """Scenes in rows, each over its caption."""
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (columns * (SIDE + GAP) - GAP, rows * (SIDE + LINE)), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for k, (scene, caption) in enumerate(pictures):
        x, y = (k % columns) * (SIDE + GAP), (k // columns) * (SIDE + LINE)
        page.paste(scene.image, (x, y))
        pen.text((x, y + SIDE + 2), caption, fill="#444444", font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, quality=87)


def main() -> None:
    """Write the contact sheet and the counterfactuals."""
    data = Scenes(100, size=SIDE)
    shown = [data[i] for i in (*SAMPLES, *MORE)]
    sheet([(s, ", ".join(s.labels)) for s in shown], 5, OUT / "scenes.jpg")
    scene = data[30]
    fish = scene.labels.index("fish")
    changes = [
        (scene, "scene 30"),
        (scene.without(fish), f"without({fish})"),
        (scene.swapped(fish, "rocket"), f'swapped({fish}, "rocket")'),
        (scene.with_background(4), "with_background(4)"),
    ]
    sheet(changes, 4, OUT / "scenes-counterfactuals.jpg")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    main()
