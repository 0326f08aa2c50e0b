"""The demonstration: real photos asked real questions, and scenes on which methods are graded."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from seewhy.data.images import encoded
from seewhy.data.load import load_dataset
from seewhy.data.samples import SamplePhoto, grid_of, sample_photos
from seewhy.data.scenes import SAMPLES, Scene, Scenes
from seewhy.draw.page import write_page
from seewhy.evaluating import evaluate
from seewhy.evaluation.evaluation import Evaluation
from seewhy.evaluation.statistics import Summary
from seewhy.explanation import Explanation, gallery_of, legend_of
from seewhy.metrics.localization import energy_pointing_game
from seewhy.models import DEFAULT_MODEL, LoadedModel, load_model
from seewhy.photos import explain_photos
from seewhy.writing import write_whole

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
METRICS = ("pointing_game(tolerance=0)", "mass_accuracy")

CELL = 300  # pixels of a photo in the grid
SIZE = 384  # pixels of a scene; the networks see 128


def demo(folder: Path, advance: Callable[[int], None] = lambda steps: None) -> Evaluation:
    """Explain the sample photos, grade the methods on scenes, and write a page about it.

    Writes `index.html`, and `gallery.jpg` with the grid of photos alone, into `folder`.
    `advance(1)` is called for each of the `steps()`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photos = sample_photos()
    opening = explain_grid([photos[name] for name in GRID])
    advance(1)
    two = explain_two(photos[TWO])
    advance(1)
    network = load_model("scenes:resnet")
    scene = sample_scenes()[0]
    (answer,) = explain_photos(
        network, scene.image, list(METHODS), scene.labels[0], sources=[scene.key]
    )
    grades = graded(network, advance)
    picture = gallery_of(opening)
    write_whole(folder / "gallery.jpg", encoded(picture, "JPEG", quality=88))
    write_page(
        folder / "index.html",
        "demo.html",
        network=DEFAULT_MODEL.partition(":")[2],
        keys=legend_of([*opening, *two]),
        grid=opening,
        asked=[(one, asked_of_grid(one, place)) for place, one in enumerate(opening)],
        two=two,
        methods=METHODS,
        scene=answer.explanations,
        scenes=len(SAMPLES),
        grades={(one.method, one.metric): one for one in grades.summary()},
        metrics=METRICS,
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


def graded(network: LoadedModel, advance: Callable[[int], None]) -> Evaluation:
    """The methods graded on all objects of the sample scenes."""
    scenes = load_dataset(f"scenes:{max(SAMPLES) + 1}", size=SIZE)
    scenes = replace(scenes, keys=tuple(scenes.keys[index] for index in SAMPLES))
    return evaluate(network, scenes, list(METHODS), METRICS, batch_size=1, advance=advance)


def shown(one: Summary) -> str:
    """A share with its interval: 93 % (89-96)."""
    return f"{100 * one.mean:.0f} % ({100 * one.low:.0f}-{100 * one.high:.0f})"
