"""Do the maps of two objects in one picture differ? The figures of docs/target-selectivity.md.

    python experiments/target_selectivity.py [--scenes 200] [--pictures]

Each picture holds two objects, and the network is asked for either. A method that ignores the
target can do well on one of them, never on both. Real photos and weights are read from the folder
`shared` beside the checkout; without it only scenes are asked for.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

import seewhy
from seewhy.core.probe import layers_of
from seewhy.data.images import load_image
from seewhy.data.preprocess import Preprocess
from seewhy.data.scenes import CATEGORIES, Scenes, load_network
from seewhy.draw.galleries import Row, Tile, gallery
from seewhy.draw.overlays import overlay
from seewhy.metrics.localization import energy_pointing_game, pointing_game
from seewhy.models import load_model

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "real"
METHODS = [
    "gradient",
    "input_x_gradient",
    "guided_backprop",
    "tsgb",
    "grad_cam",
    "excitation_backprop",
    "contrastive_excitation_backprop",
]
BASELINES = ["center_gaussian", "random"]
SQUASHED = {
    "mobilenet_v2": Preprocess(resize=(256, 256), mean=(0.5,) * 3, std=(0.5,) * 3),
    "squeezenet1_0": Preprocess(resize=(256, 256)),
}


@dataclass
class Question:
    """One picture (C, H, W), two classes, their names, and where they are, (2, H, W) bool."""

    image: Tensor
    classes: tuple[int, int]
    names: tuple[str, str]
    masks: Tensor
    preprocess: Preprocess


# ---------------------------------------------------------------------------- pictures


def photos(name: str, model: nn.Module, *, recognised: bool) -> Iterator[Question]:
    """COCO photos with two annotated categories that ImageNet has, in boxes.

    recognised: only categories of which MobileNetV2's top five hold a class; otherwise the two
        that cover most of the photo, and the likeliest of each one's classes.
    """
    coco = json.loads((SHARED / "coco" / "instances.json").read_text())
    classes = json.loads((SHARED / "coco" / "coco_to_imagenet.json").read_text())
    pairs = json.loads((SHARED / "coco" / "pairs.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    known = defaultdict(list)
    for pair in pairs:
        known[pair["image_id"]].append(pair["category"])
    for entry in coco["images"]:
        boxes: dict[str, list[list[float]]] = defaultdict(list)
        areas: dict[str, float] = defaultdict(float)
        for a in coco["annotations"]:
            if (
                a["image_id"] == entry["id"]
                and not a["iscrowd"]
                and names[a["category_id"]] in classes
            ):
                boxes[names[a["category_id"]]].append(a["bbox"])
                areas[names[a["category_id"]]] += a["area"] / (entry["height"] * entry["width"])
        chosen = [c for c in sorted(areas, key=areas.__getitem__, reverse=True) if areas[c] > 0.01]
        if recognised:
            chosen = known[entry["id"]]
        if len(chosen) < 2:
            continue
        picture = load_image(SHARED / "coco" / "images" / entry["file_name"])
        preprocess = SQUASHED[name]
        image, geometry = preprocess(picture), preprocess.geometry(picture)
        with torch.no_grad():
            scores = model(image[None])[0]
        likeliest = [max(classes[c], key=lambda i: float(scores[i])) for c in chosen[:2]]
        yield Question(
            image,
            (likeliest[0], likeliest[1]),
            (chosen[0], chosen[1]),
            torch.stack([in_boxes(geometry.boxes_to_input, boxes[c], image) for c in chosen[:2]]),
            preprocess,
        )


def in_boxes(
    to_input: Callable[[Tensor], Tensor], boxes: list[list[float]], image: Tensor
) -> Tensor:
    """Where boxes (x, y, width, height) of the photo are in the input: (H, W) bool."""
    mask = torch.zeros(image.shape[1:], dtype=torch.bool)
    xywh = torch.tensor(boxes)
    for x0, y0, x1, y1 in to_input(torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)).tolist():
        mask[round(max(y0, 0)) : max(round(y1), 1), round(max(x0, 0)) : max(round(x1), 1)] = True
    return mask


def scenes(name: str, count: int) -> Iterator[Question]:
    """Scenes with two objects that the network recognises, in pixel masks."""
    model, _, preprocess = load_network(name)
    for scene in Scenes(10 * count, seed=9):
        if len(scene.labels) < 2 or scene.labels[0] == scene.labels[1]:
            continue
        image = preprocess(scene.image)
        classes = (CATEGORIES.index(scene.labels[0]), CATEGORIES.index(scene.labels[1]))
        with torch.no_grad():
            recognised = (model(image[None])[0, list(classes)] > 0).all()
        labels = torch.tensor([CATEGORIES.index(label) for label in scene.labels])
        masks = torch.stack([torch.tensor(scene.masks)[labels == c].any(0) for c in classes])
        if recognised and masks.flatten(1).any(1).all():
            yield Question(image, classes, (scene.labels[0], scene.labels[1]), masks, preprocess)
            count -= 1
        if count == 0:
            return


# ------------------------------------------------------------------------- measurements


def maps_of(model: nn.Module, question: Question, middle: str) -> dict[str, Tensor]:
    """The maps (2, H, W) of both classes by each method, and by two that know no class."""
    image = question.image[None].expand(2, -1, -1, -1)
    found = {}
    for method in METHODS + BASELINES:
        layer = middle if "excitation" in method else None
        maps = seewhy.explain(model, image, method, list(question.classes), layer=layer)
        found[method] = maps
    return found


def blurred(maps: Tensor, share: float = 0.02) -> Tensor:
    """Gaussian blur of 2 % of the side, as is usual for pointing with maps of single pixels."""
    sigma = share * max(maps.shape[-2:])
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = nn.functional.pad(maps[:, None], (reach,) * 4, mode="replicate")
    rows = nn.functional.conv2d(padded, kernel[None, None, :, None])
    return nn.functional.conv2d(rows, kernel[None, None, None, :])[:, 0]


def measure(maps: Tensor, masks: Tensor) -> dict[str, float]:
    """One picture's figures, each the mean over its two targets.

    pointing, energy: of the target's own object. both: pointing hits on both targets. selectivity:
    of the energy in the two objects, less where they overlap, the share in the target's own; 0.5
    for any method that ignores the target. correlation: Pearson's, between the two maps. detail:
    the share of the map's variance that a blur of 2 % of the side takes away.
    """
    positive, smooth = maps.clamp(min=0), blurred(maps)
    tolerance = 15 * maps.shape[-1] / 480  # 15 pixels of a photo of usual size
    hits, smooth_hits = (pointing_game(m, masks, tolerance) for m in (maps, smooth))
    apart = masks & ~masks.flip(0)
    own, other = (energy_pointing_game(positive, m) for m in (apart, apart.flip(0)))
    return {
        "pointing": float(hits.mean()),
        "pointing, blurred": float(smooth_hits.mean()),
        "both, blurred": float(smooth_hits.prod()),
        "energy": float(energy_pointing_game(positive, masks).mean()),
        "selectivity": float(torch.where(own + other > 0, own / (own + other), 0.5).mean()),
        "correlation": float(torch.corrcoef(maps.flatten(1))[0, 1].nan_to_num(0)),
        "detail": float((1 - smooth.var((1, 2)) / maps.var((1, 2)).clamp(min=1e-30)).mean()),
    }


def interval(values: Tensor) -> str:
    """The mean and its 95 % bootstrap interval over pictures."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.randint(len(values), (4000, len(values)), generator=generator)
    low, high = values[draws].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
    return f"{values.mean():.2f} ({low:.2f}–{high:.2f})"


def report(title: str, model: nn.Module, questions: list[Question], pictures: int) -> list[Row]:
    """Print a table, and draw the first pictures."""
    middle = layers_of(model, questions[0].image[None])[2][-2]
    rows, figures = [], defaultdict(list)
    for k, question in enumerate(questions):
        found = maps_of(model, question, middle)
        for method, maps in found.items():
            figures[method].append(measure(maps, question.masks))
        if k < pictures:
            rows += drawn(question, found)
    columns = list(figures["tsgb"][0])
    print(f"\n{title}: {len(questions)} pictures, {2 * len(questions)} targets; EBP at {middle}\n")
    print("| method |", " | ".join(columns), "|")
    print("|---|", "---|" * len(columns), sep="")
    for method, measured in figures.items():
        cells = [interval(torch.tensor([m[column] for m in measured])) for column in columns]
        print(f"| {method} |", " | ".join(cells), "|", flush=True)
    return rows


def drawn(question: Question, maps: dict[str, Tensor]) -> list[Row]:
    """A row for each target."""
    photo = question.preprocess.unnormalize(question.image)
    shown = [m for m in METHODS if m != "input_x_gradient"]
    return [
        [
            Tile(f"{name}?", "", photo),
            *(Tile(m, "", overlay(photo, blurred(maps[m], 0.006)[i].clamp(min=0))) for m in shown),
        ]
        for i, name in enumerate(question.names)
    ]


def save(rows: list[Row], name: str) -> None:
    """Write the page of pictures."""
    page = gallery(rows, columns=len(rows[0]))
    page.thumbnail((1200, 4000), Image.Resampling.LANCZOS)
    path = ROOT / "docs" / "images" / f"target-selectivity-{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, quality=85)


def main() -> None:
    """Ask all questions and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200, help="scenes per network, or 0")
    parser.add_argument("--pictures", action="store_true", help="draw docs/images as well")
    options = parser.parse_args()
    drawn_rows: dict[str, list[Row]] = defaultdict(list)
    count = 2 if options.pictures else 0
    for name in ("scenes:resnet", "scenes:vgg") if options.scenes else ():
        model, *_ = load_network(name)
        questions = list(scenes(name, options.scenes))
        drawn_rows["scenes"] += report(name, model, questions, count)
    if SHARED.is_dir():
        for name in SQUASHED:
            weights = SHARED / "weights" / f"{name}_imagenet.safetensors"
            model = load_model(f"torchvision:{name}", weights=weights).module
            for recognised in (True, False) if name == "mobilenet_v2" else (False,):
                which = "both in its top five" if recognised else "any two"
                questions = list(photos(name, model, recognised=recognised))
                rows = report(f"{name}, COCO photos, {which}", model, questions, count)
                drawn_rows["photos"] += rows if recognised else []
    for name, rows in drawn_rows.items():
        if rows:
            save(rows, name)


if __name__ == "__main__":
    main()
