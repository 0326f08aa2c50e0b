"""The demonstration: scenes with several objects, each explained, drawn and graded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from seewhy.data.scenes import SAMPLES, Scene, Scenes
from seewhy.draw.page import strip, table, write_page
from seewhy.explanation import Explanation, gallery_of
from seewhy.metrics.localization import energy_pointing_game, pointing_game
from seewhy.models import LoadedModel, load_model
from seewhy.naming import list_methods
from seewhy.photos import explain_photos

GALLERY_SCENES = 2
GALLERY_WIDTH = 2000  # pixels
SIZE = 384  # pixels of a scene; the networks see 128
# Sampling methods take minutes at their published settings.
BRIEF = {
    "rise": "rise(masks=250)",
    "ss_cam": "ss_cam(samples=1)",
    "is_cam": "is_cam(steps=1)",
}


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
    """Explain the sample scenes for two objects each, by every method, and grade the maps.

    Writes `gallery.png` and `index.html` into `folder`. `advance(1)` is called for each scene.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = load_model("scenes:resnet")
    names = [BRIEF.get(name, name) for name in list_methods()]
    scenes = sample_scenes()
    explained = []
    for scene in scenes:
        explained.append(explain_scene(model, scene, names))
        advance(1)
    grades = grade(scenes, explained)

    shown_scenes = [one for scene in explained[:GALLERY_SCENES] for one in scene]
    gallery = gallery_of(shown_scenes, columns=9)
    gallery.thumbnail((GALLERY_WIDTH, gallery.height), Image.Resampling.LANCZOS)
    gallery.save(folder / "gallery.png")
    write_page(
        folder / "index.html",
        "Seewhy: why the network said what it said",
        f"Rendered scenes with several objects, explained by {len(names)} methods for two "
        f"objects each. The network is {model.name}, which is bundled. A method that is "
        "selective for its target shows another map for the other object.",
        [
            *(_strips(scene) for scene in explained),
            table(
                f"Graded on these {grades[0].count} objects",
                ["method", "pointing game", "energy on the object"],
                [[g.method, shown(g.pointing), shown(g.energy)] for g in grades],
            ),
        ],
    )
    return grades


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


def _strips(explanations: list[Explanation]) -> str:
    first = explanations[0]
    strips = []
    for target in dict.fromkeys(one.target for one in explanations):
        asked = [one for one in explanations if one.target == target]
        pictures = [("scene", first.image), *((one.method, one.overlay()) for one in asked)]
        strips.append(strip(f"Why “{target}”? ({asked[0].caption})", pictures))
    return "".join(strips)
