"""The demonstration: real photos asked real questions, and scenes on which methods are graded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seewhy.data.samples import SamplePhoto, grid_of, sample_photos
from seewhy.data.scenes import SAMPLES, Scene, Scenes
from seewhy.draw.page import write_page
from seewhy.explanation import Explanation, gallery_of, legend_of
from seewhy.metrics.localization import energy_pointing_game, pointing_game
from seewhy.models import DEFAULT_MODEL, LoadedModel, load_model
from seewhy.photos import explain_photos

GRID = ("chelsea", "coffee", "camera", "rocket")
OPENING = "auto(effort='quick')"  # the method of the grid
TWO = "camera"  # a photo that is asked for both of its classes
METHODS = {
    "grad_cam": "Where the class is, coarsely. One backward pass to the layer.",
    "global_guidance": "Less outside the object than Grad-CAM, at the same cost.",
    "grad_cam+multiscale": "Grad-CAM, averaged over three sizes of the photo.",
    "tsgb": "Outlines at the pixel that depend on the class.",
    "auto": "Grad-CAM and TSGB combined and sharpened.",
}
"""Each with what to see in its maps."""

CELL = 300  # pixels of a photo in the grid
SIZE = 384  # pixels of a scene; the networks see 128


@dataclass(frozen=True)
class Grade:
    """How well a method's maps lie on the objects asked for, with 95 % intervals.

    pointing: share of maps whose maximum lies on the object; energy: mean share of the map's
    positive values on the object. `count` maps were graded.
    """

    method: str
    count: int
    pointing: tuple[float, float, float]
    energy: tuple[float, float, float]


def demo(folder: Path, advance: Callable[[int], None] = lambda steps: None) -> list[Grade]:
    """Explain the sample photos, grade the methods on scenes, and write a page about it.

    Writes `index.html` and `gallery.jpg` into `folder`. `advance(1)` is called for each of the
    `steps()`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photos = sample_photos()
    opening = explain_grid([photos[name] for name in GRID])
    advance(1)
    two = explain_two(photos[TWO])
    advance(1)
    network, scenes = load_model("scenes:resnet"), sample_scenes()
    explained = []
    for scene in scenes:
        explained.append(explain_scene(network, scene, list(METHODS)))
        advance(1)
    grades = grade(scenes, explained)
    gallery_of([*opening, *two], columns=7).save(folder / "gallery.jpg", quality=88)
    write_page(
        folder / "index.html",
        "demo.html",
        network=DEFAULT_MODEL.partition(":")[2],
        keys=legend_of([*opening, *two]),
        grid=opening,
        asked=[(one, asked_of_grid(one, place)) for place, one in enumerate(opening)],
        two=two,
        methods=METHODS,
        scene=[one for one in explained[0] if one.target == explained[0][0].target],
        scenes=len(SAMPLES),
        grades={one.method: one for one in grades},
        shown=shown,
        photos=[photos[name] for name in GRID],
    )
    return grades


def steps() -> int:
    """How often `demo` calls `advance(1)`."""
    return 2 + len(SAMPLES)


def explain_grid(photos: Sequence[SamplePhoto]) -> list[Explanation]:
    """A grid of four photos, asked for the main class of each."""
    grid = grid_of([photo.image for photo in photos], CELL)
    network = _whole(448)  # each photo is as large to the network as if it were alone
    classes = [photo.classes[0] for photo in photos]
    (answer,) = explain_photos(network, grid, OPENING, classes, sources=["four photos"])
    return answer.explanations


def asked_of_grid(explanation: Explanation, cell: int) -> str:
    """The question that a map answers, and how much of it lies in the photo asked for."""
    row, column = divmod(cell, 2)
    inside = torch.zeros_like(explanation.saliency, dtype=torch.bool)
    half = inside.shape[0] // 2
    inside[row * half : (row + 1) * half, column * half : (column + 1) * half] = True
    share = float(energy_pointing_game(explanation.saliency[None], inside[None]))
    return (
        f"Where is the {explanation.target}?\n"
        f"{100 * share:.0f}\u00a0% of the map lies in its photo; by chance 25\u00a0%"
    )


def explain_two(photo: SamplePhoto) -> list[Explanation]:
    """One photo, asked for two of its classes by each method."""
    (answer,) = explain_photos(
        _whole(224), photo.image, list(METHODS), photo.classes[:2], sources=[photo.name]
    )
    return answer.explanations


def _whole(side: int) -> LoadedModel:
    """The default network, taking a whole picture as a square of a side."""
    return load_model(DEFAULT_MODEL, preprocess={"resize": (side, side), "crop": None})


def sample_scenes(size: int = SIZE) -> list[Scene]:
    """The bundled sample scenes, each with objects of two categories at least."""
    return [Scenes(max(SAMPLES) + 1, size=size)[index] for index in SAMPLES]


def explain_scene(model: LoadedModel, scene: Scene, methods: Sequence[str]) -> list[Explanation]:
    """The scene explained for two of its objects by each method."""
    targets = list(dict.fromkeys(scene.labels))[:2]
    (answer,) = explain_photos(model, [scene.image], methods, targets, sources=[scene.key])
    return answer.explanations


def grade(scenes: Sequence[Scene], explained: Sequence[Sequence[Explanation]]) -> list[Grade]:
    """Grade the maps of each scene on the objects asked for; the best pointing comes first."""
    hits: dict[str, list[Tensor]] = {}
    energies: dict[str, list[Tensor]] = {}
    for scene, explanations in zip(scenes, explained, strict=True):
        masks = torch.from_numpy(scene.masks)
        for one in explanations:
            asked = masks[[label == one.target for label in scene.labels]].any(0)[None]
            maps = one.saliency[None]
            hits.setdefault(one.method, []).append(pointing_game(maps, asked, tolerance=0))
            energies.setdefault(one.method, []).append(energy_pointing_game(maps, asked))
    grades = []
    for name in hits:
        hit, energy = torch.cat(hits[name]), torch.cat(energies[name])
        grades.append(Grade(name, len(hit), proportion(hit), mean(energy)))
    return sorted(grades, key=lambda grade: (-grade.pointing[0], -grade.energy[0]))


def mean(values: Tensor) -> tuple[float, float, float]:
    """Mean and its 95 % interval by the normal approximation."""
    centre = float(values.mean())
    half = 1.96 * float(values.std()) / math.sqrt(len(values))
    return centre, centre - half, centre + half


def proportion(hits: Tensor) -> tuple[float, float, float]:
    """A share of hits and its 95 % interval (Wilson's)."""
    n, p, z = len(hits), float(hits.float().mean()), 1.96
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return p, centre - half, centre + half


def shown(interval: tuple[float, float, float]) -> str:
    """A share with its interval: 93 % (89-96)."""
    value, low, high = (100 * part for part in interval)
    return f"{value:.0f} % ({low:.0f}-{high:.0f})"
