"""Pictures of explanations: overlays of photos, signals and volumes, outlines and galleries."""

from seewhy.draw.galleries import Cell, Row, gallery
from seewhy.draw.overlays import colorize, contour, overlay, save_saliency
from seewhy.draw.signals import overlay_signal
from seewhy.draw.volumes import overlay_volume

__all__ = [
    "Cell",
    "Row",
    "colorize",
    "contour",
    "gallery",
    "overlay",
    "overlay_signal",
    "overlay_volume",
    "save_saliency",
]
