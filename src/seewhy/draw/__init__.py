"""Pictures of explanations: overlays, outlines and galleries."""

from seewhy.draw.galleries import Cell, Row, gallery
from seewhy.draw.legend import Key, keys
from seewhy.draw.overlays import colorize, contour, overlay, save_saliency

__all__ = [
    "Cell",
    "Key",
    "Row",
    "colorize",
    "contour",
    "gallery",
    "keys",
    "overlay",
    "save_saliency",
]
