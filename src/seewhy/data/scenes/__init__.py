"""Scenes: rendered pictures whose evidence is known, and two networks trained on them."""

from seewhy.data.scenes.dataset import Scene, Scenes
from seewhy.data.scenes.effects import effect
from seewhy.data.scenes.exporting import export
from seewhy.data.scenes.networks import load_network
from seewhy.data.scenes.objects import CATEGORIES

SAMPLES = (15, 47, 2, 43, 30, 10, 20, 26)
"""Indices of scenes of seed 0 that show well what the library does."""

__all__ = [
    "CATEGORIES",
    "SAMPLES",
    "Scene",
    "Scenes",
    "effect",
    "export",
    "load_network",
]
