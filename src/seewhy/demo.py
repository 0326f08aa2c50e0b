"""The demonstration: scenes with several objects, each explained, drawn and graded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seewhy.data.scenes import CATEGORIES, SAMPLES, Scene, Scenes
from seewhy.draw.page import strip, table, write_page
from seewhy.explanation import Explanation, gallery_of
from seewhy.maps import upsample
from seewhy.metrics.localization import energy_pointing_game, pointing_game
from seewhy.models import LoadedModel, load_model
from seewhy.naming import methods, parse
from seewhy.photos import explain_photos
from seewhy.probe import Probe

GALLERY_SCENES = 4
PAGE_SIZE = 384  # pixels; the networks see 128
GRADING_SEED = 2  # the networks were trained on scenes of seed 1


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


def demo(
    folder: Path, scenes: int = 48, advance: Callable[[int], None] = lambda steps: None
) -> list[Grade]:
    """Explain sample scenes for two objects each, by every method; grade all methods on `scenes`.

    Writes `gallery.png` and `index.html` into `folder`. `advance(1)` is called for each picture
    and each graded scene.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = load_model("scenes:resnet")
    names = methods()
    explanations = []
    for scene in sample_scenes(PAGE_SIZE):
        explanations.append(explain_scene(model, scene, names))
        advance(1)
    grades = grade(model, Scenes(scenes, seed=GRADING_SEED), names, advance)

    rows = [one for scene in explanations[:GALLERY_SCENES] for one in scene]
    gallery_of(rows, columns=7).save(folder / "gallery.png")
    write_page(
        folder / "index.html",
        "Seewhy: why the network said what it said",
        f"Rendered scenes with several objects, explained by {len(names)} methods for two "
        f"objects each. The network is {model.name}, which is bundled. A method that is "
        "selective for its target shows another map for the other object.",
        [
            *(_strips(scene) for scene in explanations),
            table(
                f"Graded on {grades[0].count} objects in {scenes} other scenes",
                ["method", "pointing game", "energy on the object"],
                [[g.method, shown(g.pointing), shown(g.energy)] for g in grades],
            ),
        ],
    )
    return grades


def sample_scenes(size: int = PAGE_SIZE) -> list[Scene]:
    """The bundled sample scenes, each with two objects of different categories at least."""
    return [Scenes(max(SAMPLES) + 1, size=size)[index] for index in SAMPLES]


def explain_scene(model: LoadedModel, scene: Scene, methods: Sequence[str]) -> list[Explanation]:
    """The scene explained for two of its objects by each method."""
    targets = list(dict.fromkeys(scene.labels))[:2]
    (answer,) = explain_photos(model, [scene.image], methods, targets, sources=[scene.key])
    return answer.explanations


def grade(
    model: LoadedModel,
    scenes: Sequence[Scene],
    methods: Sequence[str],
    advance: Callable[[int], None] = lambda steps: None,
) -> list[Grade]:
    """Grade methods on each category of each scene, best pointing first."""
    parsed = [parse(name) for name in methods]
    hits: dict[str, list[Tensor]] = {name: [] for name in methods}
    energies: dict[str, list[Tensor]] = {name: [] for name in methods}
    for scene in scenes:
        present = sorted(set(scene.labels), key=CATEGORIES.index)
        masks = torch.from_numpy(scene.masks)
        objects = torch.stack(
            [masks[[label == own for own in scene.labels]].any(0) for label in present]
        )
        image = model.preprocess(scene.image)
        # One image per category: a batch with the scene repeated, and one target for each.
        inputs = image.expand(len(present), -1, -1, -1)
        targets = [model.class_index(label) for label in present]
        probe = Probe(model.module, inputs, targets)
        if any(method.input_gradient for method in parsed):
            probe.expect_input_gradient()
        for name, method in zip(methods, parsed, strict=True):
            maps = upsample(method(probe).float(), objects.shape[-2:])
            hits[name].append(pointing_game(maps, objects, tolerance=0))
            energies[name].append(energy_pointing_game(maps, objects))
        advance(1)
    grades = []
    for name in methods:
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
