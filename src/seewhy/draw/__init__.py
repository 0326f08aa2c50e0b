"""Pictures of explanations: overlays of photos, signals and volumes, outlines and galleries."""

from seewhy.draw.galleries import Tile, gallery
from seewhy.draw.legend import Key, keys
from seewhy.draw.overlays import colorize, contour, overlay, save_saliency
from seewhy.draw.signals import overlay_signal
from seewhy.draw.volumes import overlay_volume

__all__ = [
    "Key",
    "Tile",
    "colorize",
    "contour",
    "gallery",
    "keys",
    "overlay",
    "overlay_signal",
    "overlay_volume",
    "save_saliency",
]
