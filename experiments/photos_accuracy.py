"""How good the networks of `photos:` are, by how photos are made their input: docs/models.md.

python experiments/photos_accuracy.py FOLDER, of photos with a labels.csv (file, index).
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import seewhy
from seewhy.data.preprocess import Preprocess
from seewhy.models.efficientnet_lite import VARIANTS

FIRST = 150  # photos, whose rates are given beside those of all


def ways(preprocess: Preprocess, side: int) -> dict[str, Preprocess]:
    """What a user might do, by name."""
    squashed = replace(preprocess, resize=(side, side), crop=None)
    centred = replace(preprocess, resize=side)
    return {
        "crop + 32, centre, bicubic": preprocess,
        "crop + 32, centre, bilinear": replace(preprocess, interpolation="bilinear"),
        "crop, centre, bicubic": centred,
        "crop, centre, bilinear": replace(centred, interpolation="bilinear"),
        "squashed, bicubic": squashed,
    }


def rates(hits: Tensor) -> str:
    """Top-1 and top-5 of hits (N, 5)."""
    return f"{100 * hits[:, 0].double().mean():.2f} / {100 * hits.any(1).double().mean():.2f}"


def main(folder: Path) -> None:
    """Print the table."""
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    photos = [seewhy.load_image(folder / row["file"]) for row in rows]
    truth = torch.tensor([int(row["index"]) for row in rows])
    for name, (_, _, side) in VARIANTS.items():
        model = seewhy.load_model(f"photos:{name}")
        for way, preprocess in ways(model.preprocess, side).items():
            top = []
            with torch.inference_mode():
                for start in range(0, len(photos), 20):
                    batch = [preprocess(photo) for photo in photos[start : start + 20]]
                    top.append(model.module(torch.stack(batch)).topk(5).indices)
            hits = torch.cat(top) == truth[:, None]
            print(name, way, rates(hits), f"({rates(hits[:FIRST])})", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="photos with a labels.csv (file, index)")
    main(parser.parse_args().folder)
