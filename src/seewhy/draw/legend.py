"""What the colours of an overlay mean: small samples, each with a few words."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from seewhy.draw.overlays import DIVERGING, SEQUENTIAL, WEAKEST, colours, overlay

WIDTH, HEIGHT = 120, 28  # pixels


class Key(NamedTuple):
    """A sample of what is seen in a picture, and what it means."""

    swatch: Image.Image
    meaning: str


def keys(*, positive: bool = True, signed: bool = False, unseen: bool = False) -> list[Key]:
    """The keys to what pictures have: maps of one sign, maps of both, parts that were not seen."""
    found = []
    if positive:
        found.append(Key(_bar(SEQUENTIAL, WEAKEST), "evidence for the class; brighter is more"))
    if signed:
        found.append(Key(_bar(DIVERGING, 0.0), "red: evidence for the class, blue: against it"))
    if unseen:
        grey = Image.new("RGB", (WIDTH, HEIGHT), "grey")
        nothing = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool, device="cpu")
        hatched = overlay(grey, nothing, seen=nothing)
        found.append(Key(hatched, "not seen by the network"))
    return found


def _bar(cmap: str, first: float) -> Image.Image:
    levels = np.linspace(255 * first, 255, WIDTH).round().astype(int)
    return Image.fromarray(np.repeat(colours(cmap)[None, levels], HEIGHT, axis=0))
