"""The picture of docs/grids.md: four photos in a grid, and what methods mark for one of them.

    python experiments/grid_picture.py --photos src/seewhy/data/photos --out docs/images/grids.jpg

Each map is of the class that the network says of the first photo alone; below it the share of its
positive part in that photo's cell.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from seewhy import explain, load_image, load_model, overlay
from seewhy.core.outputs import logits
from seewhy.metrics import box_masks, grid_pointing

PHOTOS = ["chelsea.jpg", "coffee.jpg", "hopper.jpg", "rocket.jpg"]
METHODS = ["tsgb", "global_guidance", "grad_cam", "grad_cam_plus_plus", "layer_cam"]
TILE, LINE = 300, 26  # pixels


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    model = load_model("photos:efficientnet_lite0")
    cells = [model.preprocess(load_image(options.photos / name)) for name in PHOTOS]
    rows = [torch.cat(cells[:2], 2), torch.cat(cells[2:], 2)]
    grid = torch.cat(rows, 1)[None]
    with torch.no_grad():
        asked = int(logits(model.module(cells[0][None])).argmax())
    seen = replace(model.preprocess, resize=None, crop=None).unnormalize(grid[0])
    maps = explain(model, grid, METHODS, asked)
    side = cells[0].shape[-1]
    mask = box_masks([torch.tensor([[0.0, 0, side, side]])], (2 * side, 2 * side))
    tiles = [("the grid", seen)]
    for method, found in maps.items():
        share = float(grid_pointing(found, mask))
        tiles.append((f"{method}  {share:.2f}", overlay(seen, found[0])))
    across = 3
    down = -(-len(tiles) // across)
    picture = Image.new("RGB", (across * TILE, down * (TILE + LINE)), "white")
    draw = ImageDraw.Draw(picture)
    for place, (title, tile) in enumerate(tiles):
        x, y = place % across * TILE, place // across * (TILE + LINE)
        picture.paste(tile.resize((TILE - 6, TILE - 6)), (x, y + LINE))
        draw.text((x + 2, y + 4), title, fill="black", font_size=16)
    picture.save(options.out, quality=85)
    print(model.class_name(asked))


if __name__ == "__main__":
    main()
