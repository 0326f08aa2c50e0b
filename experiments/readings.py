"""Which reading of a paper fits its claims best? Candidates measured side by side.

    python experiments/readings.py gig --network scenes:resnet --count 500
    python experiments/readings.py fusion --network mobilenet --shared ../shared

Networks: scenes:resnet and scenes:vgg on rendered scenes (one object asked for in each), mobilenet
and squeezenet with ImageNet weights on pairs of a COCO photo and a category, where --shared leads
to them. Printed are means with bootstrap 95 % intervals, in percent; * marks a difference from the
first row that its own paired interval separates from 0. The pointing game's tolerance is 15 pixels
in a photo of 500, scaled to the network's input.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from seewhy import Probe, list_methods, load_model, normalize
from seewhy.core.targets import Probability
from seewhy.data.preprocess import Preprocess
from seewhy.data.scenes import CATEGORIES, Scenes
from seewhy.maps import upsample
from seewhy.metrics import (
    average_drop,
    box_masks,
    class_probability,
    confidences,
    deletion,
    energy_pointing_game,
    gini,
    increase,
    insertion,
    insertion_deletion,
    pointing_game,
)
from seewhy.naming import expect, parse
from seewhy.refine.gradual import brightness, extrapolate

Candidate = str | Callable[[Probe], Tensor] | None  # None is the annotated region itself
TABLES = ["plain", "guidance", "gig", "fusion", "gradual", "auto", "methods"]
SCENES_SEED = 7  # apart from the scenes that the networks were trained and tested on


class Batch(NamedTuple):
    """Images (B, C, H, W), the class asked for (B,), and the region where it is (B, H, W)."""

    images: Tensor
    classes: list[int]
    masks: Tensor


# ---------------------------------------------------------------------- networks and images


def scenes(network: str, count: int, size: int) -> tuple[nn.Module, str, list[Batch]]:
    """A bundled network, its activation, and scenes with one of their objects asked for."""
    model = load_model(network)
    batches = []
    for start in range(0, count, size):
        chosen = [
            Scenes(count, seed=SCENES_SEED)[i] for i in range(start, min(start + size, count))
        ]
        labels = [scene.labels[scene.index % len(scene.labels)] for scene in chosen]
        masks = []
        for scene, label in zip(chosen, labels, strict=True):
            same = [own == label for own in scene.labels]
            boxes = torch.from_numpy(scene.boxes[same]).float()
            masks.append(box_masks([boxes], (scene.size, scene.size))[0])
        images = torch.stack([model.preprocess(scene.image) for scene in chosen])
        classes = [CATEGORIES.index(label) for label in labels]
        batches.append(Batch(images, classes, torch.stack(masks)))
    return model.module, "sigmoid", batches


def coco(
    network: str, shared: Path, size: int, further: bool
) -> tuple[nn.Module, str, list[Batch]]:
    """A network with ImageNet weights, its activation, and photos of objects that it knows.

    The pairs of photo and category are those that MobileNetV2 ranks among its first five, or those
    further ones that the network itself ranks among its first hundred.
    """
    file, name, mean, std = {
        "mobilenet": ("mobilenet_v2_imagenet", "mobilenet_v2", (0.5,) * 3, (0.5,) * 3),
        "squeezenet": (
            "squeezenet1_0_imagenet",
            "squeezenet1_0",
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
        ),
    }[network]
    model = load_model(f"torchvision:{name}", weights="random").module
    model.load_state_dict(load_file(shared / f"real/weights/{file}.safetensors"))
    preprocess = Preprocess(resize=(256, 256), mean=mean, std=std)
    folder = shared / "real/coco"
    pairs = json.loads((folder / "pairs.json").read_text())
    annotated = json.loads((folder / "instances.json").read_text())
    model.eval()
    if further:
        pairs = further_pairs(model, preprocess, folder, annotated, pairs)
    # A ball of a few pixels is named by what surrounds it.
    pairs = [pair for pair in pairs if pair["category"] != "sports ball"]
    batches = []
    for start in range(0, len(pairs), size):
        images, classes, masks = [], [], []
        for pair in pairs[start : start + size]:
            photo = Image.open(folder / "images" / pair["file_name"]).convert("RGB")
            own = [
                one["bbox"]
                for one in annotated["annotations"]
                if (one["image_id"], one["category_id"]) == (pair["image_id"], pair["category_id"])
            ]
            x, y, w, h = torch.tensor(own).unbind(1)
            boxes = preprocess.geometry(photo).boxes_to_input(torch.stack([x, y, x + w, y + h], 1))
            images.append(preprocess(photo))
            classes.append(pair["imagenet_class"])
            masks.append(box_masks([boxes], (256, 256))[0])
        batches.append(Batch(torch.stack(images), classes, torch.stack(masks)))
    return model, "softmax", batches


def further_pairs(
    model: nn.Module,
    preprocess: Preprocess,
    folder: Path,
    annotated: dict[str, Any],
    known: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Pairs that are not known yet, with the likeliest ImageNet class of each category."""
    classes_of = json.loads((folder / "coco_to_imagenet.json").read_text())
    names = {one["id"]: one["name"] for one in annotated["categories"]}
    asked = {(one["image_id"], one["category_id"]) for one in annotated["annotations"]}
    asked -= {(one["image_id"], one["category_id"]) for one in known}
    asked = {(image, category) for image, category in asked if classes_of.get(names[category])}
    found = []
    for image in sorted(annotated["images"], key=lambda one: one["id"]):
        with Image.open(folder / "images" / image["file_name"]) as photo, torch.no_grad():
            logits = model(preprocess(photo.convert("RGB"))[None])[0]
        for category in sorted(category for of, category in asked if of == image["id"]):
            best = max(classes_of[names[category]], key=logits.__getitem__)
            if (logits > logits[best]).sum() < 100:
                pair = {"image_id": image["id"], "category_id": category, "imagenet_class": best}
                found.append(pair | {"category": names[category], "file_name": image["file_name"]})
    return found


# ---------------------------------------------------------------------- candidates


def centre(probe: Probe) -> Tensor:
    """A Gaussian at the centre of the picture, whatever is asked."""
    h, w = probe.inputs.shape[-2:]
    y, x = torch.linspace(-1, 1, h)[:, None], torch.linspace(-1, 1, w)
    return (-(y**2 + x**2) / (2 * 0.5**2)).exp().expand(len(probe.inputs), -1, -1)


def noise(probe: Probe) -> Tensor:
    """Random values, other ones for each image."""
    return torch.rand(probe.inputs[:, 0].shape, generator=torch.Generator().manual_seed(0))


def edges(probe: Probe) -> Tensor:
    """Sobel's edges of the grey picture."""
    grey = F.pad(probe.inputs.mean(1, keepdim=True), [1] * 4, mode="replicate")
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])[None, None]
    return (F.conv2d(grey, kernel) ** 2 + F.conv2d(grey, kernel.mT) ** 2).sqrt()[:, 0]


def probability(name: str, activation: str) -> Candidate:
    """The method asked of the class's probability instead of its logit."""

    def of(probe: Probe) -> Tensor:
        return parse(name)(probe.with_target(Probability(probe.target.classes, activation)))

    return of


def earlier(name: str) -> Candidate:
    """The method at the stage before the layer."""
    return lambda probe: parse(name)(probe.with_layer(list(probe.stages)[-1]))


def fusion(
    method: str, scales: tuple[float, ...], put: Callable[[list[Tensor]], Tensor]
) -> Candidate:
    """Maps of several scales put together by a function, at the size of the finest."""

    def of(probe: Probe) -> Tensor:
        maps = [parse(method)(probe if s == 1 else probe.at_scale(s)) for s in scales]
        size = max((m.shape[-2:] for m in maps), key=lambda s: s[0] * s[1])
        return put([upsample(m, size).relu() for m in maps])

    return of


def corrected(maps: list[Tensor]) -> Tensor:
    """The original scale's map, corrected by the root of each finer one's."""
    total = normalize(maps[0])
    for finer in maps[1:]:
        total = total * normalize(finer) ** 0.5
    return total


def climbing(method: str, depth: int | None, keep: float) -> Candidate:
    """Gradual Extrapolation with some of the coarse map kept."""

    def of(probe: Probe) -> Tensor:
        coarse = parse(method)(probe)
        stages = list(probe.expect_stages().stages.values())[::-1][:depth]
        found = extrapolate(coarse, [brightness(s.relu()) for s in stages])
        coarse = normalize(upsample(coarse, found.shape[-2:]))
        return (1 - keep) * normalize(found) + keep * coarse

    return of


def candidates(what: str, activation: str) -> dict[str, Candidate]:
    """The rows of one table; the first is what the others are compared with."""
    plain = ["grad_cam", "grad_cam_plus_plus", "xgrad_cam", "hires_cam", "layer_cam", "eigen_cam"]
    twelve = tuple(round(0.05 * 1.3**step, 3) for step in range(12))
    table: dict[str, dict[str, Candidate]] = {
        "plain": {
            **{name: name for name in [*plain, "global_guidance", "tsgb"]},
            "centre": centre,
            "noise": noise,
            "edges": edges,
        },
        "auto": {
            "grad_cam": "grad_cam",
            "auto": "auto",
            "without detail": "grad_cam+sharpen",
            "without sharpening": "grad_cam+detail",
            "guided backprop instead": "guided_backprop+sharpen",
            "guided Grad-CAM instead": "guided_grad_cam+sharpen",
            "tsgb instead": "tsgb+sharpen",
            **{
                f"detail by {m}": f"grad_cam+detail(by='{m}')+sharpen" for m in ("gradient", "tsgb")
            },
            "two scales": "grad_cam+multiscale(scales=(1, 1.5))+detail+sharpen",
            **{
                f"smoothing {s}": f"grad_cam+detail(smoothing={s})+sharpen"
                for s in (0.005, 0.01, 0.04)
            },
            **{f"price {p}": f"grad_cam+detail+sharpen(price={p})" for p in (0.02, 0.05, 0.2)},
            **{
                f"threshold {t} everywhere": f"grad_cam+detail+sharpen(thresholds=({t},))"
                for t in (0.2, 0.4)
            },
            "twelve thresholds": f"grad_cam+detail+sharpen(thresholds={twelve})",
            "the annotated boxes": None,
        },
        "methods": {
            "auto": "auto",
            **{
                name: name
                for name in list_methods()
                if name not in ("auto", "ss_cam", "is_cam", "rise")
            },
            "rise": f"rise(masks={500 if activation == 'sigmoid' else 1000})",
        },
        "guidance": {
            **{name: name for name in plain},
            **{
                f"guidance {g}, {w}": f"global_guidance(guidance='{g}', weights='{w}')"
                for g in ("global", "channel")
                for w in ("mean", "plus_plus")
            },
        },
        "gig": {
            "grad_cam": "grad_cam",
            **{
                f"{name} {aggregate} {baseline}": f"{name}(steps=10, aggregate='{aggregate}', "
                f"baseline={baseline!r})"
                for name in ("integrated_grad_cam", "gig_cam")
                for aggregate in ("maps", "increments")
                for baseline in (0.0, "blurred")
            },
            **{
                f"{name} {aggregate} probability": probability(
                    f"{name}(steps=10, aggregate='{aggregate}')", activation
                )
                for name in ("integrated_grad_cam", "gig_cam")
                for aggregate in ("maps", "increments")
            },
            **{
                f"gig_cam fraction {fraction}": f"gig_cam(steps=10, fraction={fraction})"
                for fraction in (0.05, 1.0)
            },
            "grad_cam earlier": earlier("grad_cam"),
            "gig_cam earlier": earlier("gig_cam(steps=10)"),
        },
        "fusion": {
            "grad_cam": "grad_cam",
            **{
                f"{combine} {scales}": f"grad_cam+multiscale(scales={scales}, combine='{combine}')"
                for combine in ("mean", "geometric", "product")
                for scales in ((1, 1.5), (1, 1.5, 2))
            },
            "unweighted mean (1, 1.5, 2)": fusion(
                "grad_cam", (1, 1.5, 2), lambda maps: sum(map(normalize, maps))
            ),
            "corrected (1, 1.5, 2)": fusion("grad_cam", (1, 1.5, 2), corrected),
            "gig_cam, mean (1, 1.5)": "gig_cam(steps=5)+multiscale(scales=(1, 1.5))",
        },
        "gradual": {
            "grad_cam": "grad_cam",
            **{
                f"published, image {image}": f"grad_cam+gradual(image='{image}')"
                for image in ("signed", "bright", "none")
            },
            "published, standardized": "grad_cam+gradual(standardize=True)",
            **{
                f"depth {depth} power {power}": f"grad_cam+gradual(depth={depth}, "
                f"power={power}, image='none')"
                for depth in (1, 2)
                for power in (1.0, 0.5)
            },
            **{
                f"all stages power {power}": f"grad_cam+gradual(power={power}, image='none')"
                for power in (0.5, 0.25)
            },
            "depth 1 keep 0.5": climbing("grad_cam", 1, keep=0.5),
            "depth 2 keep 0.5": climbing("grad_cam", 2, keep=0.5),
            "all keep 0.5": climbing("grad_cam", None, keep=0.5),
        },
    }
    return table[what]


# ---------------------------------------------------------------------- measures

MEASURES = ["pointing", "energy", "drop", "increase", "gini", "insertion", "deletion"]


def measured(
    model: nn.Module, activation: str, batches: list[Batch], rows: dict[str, Candidate], steps: int
) -> dict[str, dict[str, Tensor]]:
    """Values (n,) of each measure for each candidate, in percent; the curves' if steps."""
    parts: dict[str, dict[str, list[Tensor]]] = {name: {m: [] for m in MEASURES} for name in rows}
    spent = dict.fromkeys(rows, 0.0)
    for batch in batches:
        score = class_probability(model, batch.classes, activation)
        probe = Probe(model, batch.images, batch.classes)
        expect(probe, [parse(row) for row in rows.values() if isinstance(row, str)])
        for name, row in rows.items():
            begun = time.perf_counter()
            try:
                maps = batch.masks if row is None else _method(row)(probe)
            except ValueError as error:  # such as CAM, which asks for a certain head
                if parts.pop(name, None):
                    print(f"  left out: {name}: {error}", flush=True)
                continue
            maps = upsample(maps.float(), batch.images.shape[-2:])
            spent[name] += time.perf_counter() - begun
            seen = confidences(score, batch.images, maps)
            tolerance = 15 * batch.images.shape[-1] / 500
            found = {
                "pointing": pointing_game(maps, batch.masks, tolerance),
                "energy": energy_pointing_game(maps, batch.masks),
                "drop": average_drop(*seen),
                "increase": increase(*seen),
                "gini": gini(maps.relu()),
            }
            if steps:
                curves = insertion_deletion(score, batch.images, maps, steps=steps)
                found |= {"insertion": insertion(curves), "deletion": deletion(curves)}
            for measure, values in found.items():
                parts[name][measure].append(100 * values.double())
    for name in parts:
        print(f"  {spent[name]:6.1f} s  {name}", flush=True)
    return {
        name: {m: torch.cat(values) for m, values in found.items() if values}
        for name, found in parts.items()
    }


def _method(row: str | Callable[[Probe], Tensor]) -> Callable[[Probe], Tensor]:
    return parse(row) if isinstance(row, str) else row


def bootstrap(values: Tensor, samples: int = 2000) -> tuple[float, float]:
    """95 % interval of the mean."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(values), (samples, len(values)), generator=generator)
    low, high = values[chosen].mean(1).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return low, high


def lines(results: dict[str, dict[str, Tensor]]) -> Iterator[str]:
    """A table in Markdown."""
    first = next(iter(results.values()))
    yield "| | " + " | ".join(first) + " |"
    yield "|---|" + "---|" * len(first)
    for name, found in results.items():
        cells = []
        for measure, values in found.items():
            low, high = bootstrap(values)
            apart = bootstrap(values - first[measure])
            star = "*" if apart[0] > 0 or apart[1] < 0 else ""
            cells.append(f"{values.mean():.1f}{star} ({low:.0f}–{high:.0f})")
        yield f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Measure one table for one network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=TABLES)
    parser.add_argument("--network", default="scenes:resnet")
    parser.add_argument("--count", type=int, default=500, help="scenes")
    parser.add_argument("--first", help="row that the others are compared with")
    parser.add_argument("--only", default="", help="rows whose name matches this expression")
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--steps", type=int, default=0, help="of insertion and deletion")
    parser.add_argument("--further", action="store_true", help="pairs of photos that chose nothing")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    options = parser.parse_args()
    if options.network.startswith("scenes:"):
        question = scenes(options.network, options.count, options.batch)
    elif options.shared.is_dir():
        question = coco(options.network, options.shared, options.batch, options.further)
    else:
        raise SystemExit(f"{options.network} skipped: there is no folder {options.shared}")
    model, activation, batches = question
    rows = candidates(options.what, activation)
    first = options.first or next(iter(rows))
    others = [name for name in rows if name != first and re.search(options.only, name)]
    rows = {name: rows[name] for name in [first, *others]}
    results = measured(model, activation, batches, rows, options.steps)
    count = len(next(iter(results.values()))["pointing"])
    print(f"\n{options.what}, {options.network}, n = {count}\n")
    print("\n".join(lines(results)), flush=True)


if __name__ == "__main__":
    main()
