"""Pictures of explanations: overlays, outlines and galleries."""

from seewhy.draw.galleries import Cell, Row, gallery
from seewhy.draw.overlays import colorize, contour, overlay, save_saliency

__all__ = ["Cell", "Row", "colorize", "contour", "gallery", "overlay", "save_saliency"]
