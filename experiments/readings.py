"""Which reading of a paper fits its claims best? Candidates measured side by side.

    python experiments/readings.py gig --network scenes:resnet --count 200 --out readings
    python experiments/readings.py gig --network squeezenet --count 40 --out readings
    python experiments/readings.py gig --merge readings

Networks: scenes:resnet and scenes:vgg on rendered scenes (one object asked for in each); mobilenet,
squeezenet, lite0 and lite1 with ImageNet weights on pairs of a COCO photo and a category that the
network ranks among its first five, where --shared leads to the photos. Printed are means with
bootstrap 95 % intervals, in percent; * marks a difference from the first row that its own paired
interval separates from 0. The pointing game's tolerance is 15 pixels in a photo of 500, scaled to
the network's input. --merge prints one table of all networks that were measured.
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
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from seewhy import Probe, list_methods, load_model
from seewhy.core.targets import Probability
from seewhy.data.preprocess import Preprocess
from seewhy.data.scenes import CATEGORIES, Scenes
from seewhy.evaluation import bootstrap_interval
from seewhy.maps import unit, upsample
from seewhy.metrics import (
    average_drop,
    box_masks,
    class_probability,
    confidences,
    deletion,
    energy_pointing_game,
    gini,
    half_confidences,
    half_drop,
    increase,
    insertion,
    insertion_deletion,
    pointing_game,
    rank_accuracy,
)
from seewhy.naming import parse
from seewhy.refine.sharpen import sharpened

Candidate = str | Callable[[Probe], Tensor] | None  # None is the annotated region itself
TABLES = [
    "plain",
    "tsgb",
    "guidance",
    "gig",
    "fusion",
    "script",
    "gradual",
    "auto",
    "attention",
    "tiles",
    "methods",
]
SCENES_SEED = 7  # apart from the scenes that the networks were trained and tested on


class Batch(NamedTuple):
    """Images (B, C, H, W), the class asked for (B,), and the region where it is (B, H, W).

    black: what the network takes for a black pixel.
    """

    images: Tensor
    classes: list[int]
    masks: Tensor
    black: tuple[float, ...]


# ---------------------------------------------------------------------- networks and images


def scenes(network: str, count: int, size: int, seed: int) -> tuple[nn.Module, str, list[Batch]]:
    """A bundled network, its activation, and scenes with one of their objects asked for."""
    model = load_model(network)
    batches = []
    for start in range(0, count, size):
        chosen = [Scenes(count, seed=seed)[i] for i in range(start, min(start + size, count))]
        labels = [scene.labels[scene.index % len(scene.labels)] for scene in chosen]
        masks = []
        for scene, label in zip(chosen, labels, strict=True):
            same = [own == label for own in scene.labels]
            boxes = torch.from_numpy(scene.boxes[same]).float()
            masks.append(box_masks([boxes], (scene.size, scene.size))[0])
        images = torch.stack([model.preprocess(scene.image) for scene in chosen])
        classes = [CATEGORIES.index(label) for label in labels]
        batches.append(Batch(images, classes, torch.stack(masks), model.preprocess.black))
    return model.module, "sigmoid", batches


def network_of(name: str, shared: Path) -> tuple[nn.Module, Preprocess]:
    """A network with ImageNet weights; photos are squashed to its size."""
    if name.startswith("lite"):
        loaded = load_model(f"photos:efficientnet_{name}")
        own = loaded.preprocess
        return loaded.module, Preprocess(resize=(own.crop or 224,) * 2, mean=own.mean, std=own.std)
    kind, mean, std = {
        "mobilenet": ("mobilenet_v2", (0.5,) * 3, (0.5,) * 3),
        "squeezenet": ("squeezenet1_0", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    }[name]
    model = load_model(f"torchvision:{kind}", weights="random").module
    model.load_state_dict(load_file(shared / f"real/weights/{kind}_imagenet.safetensors"))
    return model.eval(), Preprocess(resize=(256, 256), mean=mean, std=std)


def coco(network: str, shared: Path, count: int, size: int) -> tuple[nn.Module, str, list[Batch]]:
    """A network, its activation, and up to `count` pairs of a photo and an object that it knows.

    They are spread evenly over all pairs of a category that it ranks among its first five.
    """
    model, preprocess = network_of(network, shared)
    folder = shared / "real/coco"
    annotated = json.loads((folder / "instances.json").read_text())
    pairs = known_pairs(model, preprocess, folder, annotated)
    pairs = pairs[:: max(1, len(pairs) // count)][:count]
    batches = []
    for start in range(0, len(pairs), size):
        images, classes, masks = [], [], []
        for pair in pairs[start : start + size]:
            photo = Image.open(folder / "images" / pair.file).convert("RGB")
            own = [
                one["bbox"]
                for one in annotated["annotations"]
                if (one["image_id"], one["category_id"]) == (pair.image, pair.category)
            ]
            x, y, w, h = torch.tensor(own).unbind(1)
            boxes = preprocess.geometry(photo).boxes_to_input(torch.stack([x, y, x + w, y + h], 1))
            images.append(preprocess(photo))
            classes.append(pair.index)
            masks.append(box_masks([boxes], images[-1].shape[1:])[0])
        batches.append(Batch(torch.stack(images), classes, torch.stack(masks), preprocess.black))
    return model, "softmax", batches


class Pair(NamedTuple):
    """A photo, a category that is in it, and the class that the network has for it."""

    image: int
    category: int
    index: int
    file: str


def known_pairs(
    model: nn.Module, preprocess: Preprocess, folder: Path, annotated: dict[str, Any]
) -> list[Pair]:
    """Pairs of a photo and a category, one of whose classes is among the network's first five."""
    classes_of = json.loads((folder / "coco_to_imagenet.json").read_text())
    names = {one["id"]: one["name"] for one in annotated["categories"]}
    asked = {(one["image_id"], one["category_id"]) for one in annotated["annotations"]}
    # A ball of a few pixels is named by what surrounds it.
    asked = {
        (image, category)
        for image, category in asked
        if classes_of.get(names[category]) and names[category] != "sports ball"
    }
    found = []
    for image in sorted(annotated["images"], key=lambda one: one["id"]):
        with Image.open(folder / "images" / image["file_name"]) as photo, torch.no_grad():
            logits = model(preprocess(photo.convert("RGB"))[None])[0]
        for category in sorted(category for of, category in asked if of == image["id"]):
            best = max(classes_of[names[category]], key=logits.__getitem__)
            if (logits > logits[best]).sum() < 5:
                found.append(Pair(image["id"], category, best, image["file_name"]))
    return found


# ---------------------------------------------------------------------- candidates


def probability(name: str, activation: str) -> Candidate:
    """The method asked of the class's probability instead of its logit."""

    def of(probe: Probe) -> Tensor:
        return parse(name)(probe.with_target(Probability(probe.target.classes, activation)))

    return of


def sharpened_mean(names: list[str]) -> Callable[[Probe], Tensor]:
    """The mean of maps, each scaled to [0, 1], as `auto` sharpens it."""

    def ask(probe: Probe) -> Tensor:
        maps = [unit(upsample(parse(name)(probe), probe.size)) for name in names]
        return sharpened(probe, torch.stack(maps).mean(0), plateau=0.5)

    return ask


class OneSize(nn.Module):
    """A network that takes images of one size only."""

    def __init__(self, model: nn.Module, size: torch.Size) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(self, x: Tensor) -> Tensor:
        """What the network says of images of that size."""
        if x.shape[2:] != self.size:
            raise ValueError("images of another size")
        out: Tensor = self.model(x)
        return out


def in_tiles(name: str) -> Callable[[Probe], Tensor]:
    """A method as it is of the same network, were it one for one size."""

    def ask(probe: Probe) -> Tensor:
        fixed = OneSize(probe.model, probe.size)
        return parse(name)(Probe(fixed, probe.inputs, probe.target, black=probe.black))

    return ask


def candidates(what: str, activation: str) -> dict[str, Candidate]:
    """The rows of one table; the first is what the others are compared with."""
    plain = ["grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam"]
    table: dict[str, list[str] | dict[str, Candidate]] = {
        "plain": {
            **{name: name for name in [*plain, "global_guidance", "tsgb"]},
            "centre": "center_gaussian",
            "noise": "random",
            "edges": "edges",
        },
        "tsgb": [
            "grad_cam",
            "tsgb",
            "tsgb(activations='gradient')",
            "tsgb(groups='joint')",
            "tsgb(strides='even')",
            "tsgb(strides='uneven')",
            "tsgb(groups='joint', activations='gradient')",
            "tsgb(balance=0.9)",
            "tsgb(balance=0.75)",
            "gradient",
            "guided_backprop",
        ],
        "guidance": [
            *plain,
            "global_guidance",
            "global_guidance(guidance='channel')",
            "global_guidance(guidance='weights')",
            "global_guidance(weights='plus_plus')",
            "global_guidance(guidance='channel', weights='plus_plus')",
            "global_guidance(guidance='weights', weights='plus_plus')",
        ],
        "gig": {
            "grad_cam": "grad_cam",
            "integrated_grad_cam": "integrated_grad_cam",
            "integrated_grad_cam, difference": "integrated_grad_cam(difference=True, steps=10)",
            "integrated_grad_cam, probability": probability(
                "integrated_grad_cam(steps=10)", activation
            ),
            "gig_cam": "gig_cam",
            "gig_cam(max_distance=1)": "gig_cam(max_distance=1, steps=10)",
            "gig_cam(baseline=0)": "gig_cam(baseline=0.0, steps=10)",
            "gig_cam, probability": probability("gig_cam(steps=10)", activation),
        },
        "fusion": [
            "grad_cam",
            "grad_cam+multiscale",
            "grad_cam+multiscale(scales=(1, 1.5))",
            "grad_cam+multiscale(combine='ratio')",
            "grad_cam+multiscale(combine='ratio', scales=(1, 1.5, 2))",
            "grad_cam+multiscale(combine='geometric')",
            "grad_cam+multiscale(combine='product')",
            "tsgb+multiscale",
            "gig_cam(steps=5)+multiscale(scales=(1, 1.5))",
        ],
        "script": ["grad_cam", "gig_cam(steps=5)+multiscale(combine='ratio')"],
        "gradual": [
            "grad_cam",
            "grad_cam+gradual",
            "grad_cam+gradual(image=False)",
            "grad_cam+gradual(rectified=True)",
            "grad_cam+gradual(rectified=True, power=0.5)",
            "grad_cam+gradual(stages='last')",
            "grad_cam+gradual(stages='last', image=False)",
            "grad_cam+gradual(stages='last', rectified=True)",
            "grad_cam+gradual(stages='last', rectified=True, image=False, power=0.5)",
            "grad_cam+gradual(stages='last', rectified=True, image=False, power=0.25)",
            "grad_cam+gradual(stages='last', rectified=True, image=False, depth=1)",
        ],
        "auto": [
            "auto",
            "auto(effort='quick')",
            "grad_cam",
            "grad_cam+multiscale",
            "tsgb",
            "tsgb+multiscale",
            "grad_cam+detail+sharpen",
            "global_guidance",
            "eigen_grad_cam",
            "layer_cam",
        ],
        "attention": {
            **{
                name: name
                for name in [
                    "grad_cam",
                    "auto",
                    "auto(effort='quick')",
                    "hires_cam",
                    "layer_cam",
                    "global_guidance",
                    "eigen_grad_cam",
                    "attention_rollout",
                    "attention_gradient",
                    "attention_x_gradient",
                    "le_grad",
                    "gradient",
                    "integrated_gradients",
                    "grad_cam+multiscale",
                    "le_grad+multiscale",
                    "attention_gradient+multiscale",
                ]
            },
            **{
                " and ".join(names) + ", sharp": sharpened_mean(names)
                for names in [
                    ["le_grad"],
                    ["attention_gradient"],
                    ["attention_gradient", "le_grad"],
                    ["grad_cam", "le_grad"],
                    ["grad_cam", "attention_gradient"],
                    ["grad_cam+multiscale", "le_grad+multiscale"],
                    ["grad_cam+multiscale", "attention_gradient+multiscale"],
                    ["hires_cam+multiscale", "attention_gradient+multiscale"],
                ]
            },
        },
        "tiles": {
            "grad_cam": "grad_cam",
            "grad_cam+multiscale": "grad_cam+multiscale",
            "grad_cam+multiscale, in tiles": in_tiles("grad_cam+multiscale"),
            "attention_gradient": "attention_gradient",
            "attention_gradient+multiscale": "attention_gradient+multiscale",
            "attention_gradient+multiscale, in tiles": in_tiles("attention_gradient+multiscale"),
        },
        "methods": {
            **{name: name for name in list_methods() if name not in ("ss_cam", "is_cam", "rise")},
            "rise": f"rise(masks={500 if activation == 'sigmoid' else 1000})",
        },
    }
    rows = table[what]
    return rows if isinstance(rows, dict) else {name: name for name in rows}


# ---------------------------------------------------------------------- measures

MEASURES = ["pointing", "energy", "rank", "drop", "increase", "half", "gini"]
CURVES = ["insertion", "deletion"]


def measured(
    model: nn.Module, activation: str, batches: list[Batch], rows: dict[str, Candidate], steps: int
) -> dict[str, dict[str, Tensor]]:
    """Values (n,) of each measure for each candidate, in percent; the curves' if steps."""
    parts: dict[str, dict[str, list[Tensor]]] = {
        name: {m: [] for m in MEASURES + CURVES} for name in rows
    }
    spent = dict.fromkeys(rows, 0.0)
    for batch in batches:
        score = class_probability(model, batch.classes, activation)
        probe = Probe(model, batch.images, batch.classes, black=batch.black)
        probe.expect_for(parse(row) for row in rows.values() if isinstance(row, str))
        for name, row in rows.items():
            begun = time.perf_counter()
            try:
                maps = batch.masks if row is None else _method(row)(probe)
            except ValueError as error:  # such as CAM, which asks for a certain head
                if parts.pop(name, None):
                    print(f"  left out: {name}: {error}", flush=True)
                continue
            maps = upsample(maps.float(), batch.images.shape[-2:]).relu()
            spent[name] += time.perf_counter() - begun
            seen = confidences(score, batch.images, maps)
            half = half_confidences(score, batch.images, maps)
            tolerance = 15 * batch.images.shape[-1] / 500
            found = {
                "pointing": pointing_game(maps, batch.masks, tolerance),
                "energy": energy_pointing_game(maps, batch.masks),
                "rank": rank_accuracy(maps, batch.masks),
                "drop": average_drop(*seen),
                "increase": increase(*seen),
                "half": half_drop(seen.original, half),
                "gini": gini(maps),
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


def interval(values: Tensor) -> tuple[float, float]:
    """The bootstrap's 95 % interval of the mean."""
    return bootstrap_interval([[value] for value in values.tolist()])


def summary(results: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, list[float]]]:
    """Of each row and measure mean, interval, and 1 where it differs from the first row."""
    first = next(iter(results.values()))
    found: dict[str, dict[str, list[float]]] = {}
    for name, of_row in results.items():
        found[name] = {}
        for measure, values in of_row.items():
            low, high = interval(values - first[measure])
            apart = float(low > 0 or high < 0)
            found[name][measure] = [float(values.mean()), *interval(values), apart]
    return found


def lines(found: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    """A table in Markdown."""
    measures = next(iter(found.values()))
    yield "| | " + " | ".join(measures) + " |"
    yield "|---|" + "---|" * len(measures)
    for name, of_row in found.items():
        cells = [
            f"{mean:.1f}{'*' * bool(apart)} ({low:.0f}–{high:.0f})"
            for mean, low, high, apart in of_row.values()
        ]
        yield f"| {name} | " + " | ".join(cells) + " |"


def merged(folder: Path, what: str, measures: tuple[str, ...]) -> Iterator[str]:
    """One table in Markdown of all networks: the means of some measures in each cell."""
    networks = {
        "scenes:resnet": "`scenes:resnet`",
        "scenes:vgg": "`scenes:vgg`",
        "mobilenet": "MobileNetV2",
        "squeezenet": "SqueezeNet",
        "lite0": "EfficientNet-Lite0",
        "lite1": "EfficientNet-Lite1",
    }
    files = {
        title: folder / f"{what}-{name.replace(':', '-')}.json" for name, title in networks.items()
    }
    found = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    yield "| reading | " + " | ".join(f"{n} ({one['count']})" for n, one in found.items()) + " |"
    yield "|---|" + "---|" * len(found)
    for row in dict.fromkeys(row for one in found.values() for row in one["rows"]):
        cells = []
        for one in found.values():
            values = one["rows"].get(row, {})
            texts = [
                f"{values[m][0]:.1f}{'*' * bool(values[m][3])}" for m in measures if m in values
            ]
            cells.append(" / ".join(texts))
        yield f"| `{row}` | " + " | ".join(cells) + " |"


def main() -> None:
    """Measure tables for one network, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=TABLES, nargs="+")
    parser.add_argument("--network", default="scenes:resnet")
    parser.add_argument("--count", type=int, default=200, help="scenes, or pairs at most")
    parser.add_argument("--seed", type=int, default=SCENES_SEED, help="of the scenes")
    parser.add_argument("--first", help="row that the others are compared with")
    parser.add_argument("--only", default="", help="rows whose name matches this expression")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=0, help="of insertion and deletion")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument("--merge", type=Path, help="print one table of the results in this folder")
    parser.add_argument("--measures", default="pointing,energy,drop,increase,half")
    options = parser.parse_args()
    if options.merge:
        measures = tuple(options.measures.split(","))
        for what in options.what:
            print("\n".join(merged(options.merge, what, measures)), end="\n\n")
        return
    if options.network.startswith("scenes:"):
        question = scenes(options.network, options.count, options.batch, options.seed)
    elif options.shared.is_dir():
        question = coco(options.network, options.shared, options.count, options.batch)
    else:
        raise SystemExit(f"{options.network} skipped: there is no folder {options.shared}")
    model, activation, batches = question
    for what in options.what:
        rows = candidates(what, activation)
        first = options.first or next(iter(rows))
        others = [name for name in rows if name != first and re.search(options.only, name)]
        rows = {name: rows[name] for name in [first, *others]}
        results = measured(model, activation, batches, rows, options.steps)
        count = len(next(iter(results.values()))["pointing"])
        found = summary(results)
        print(f"\n{what}, {options.network}, n = {count}\n")
        print("\n".join(lines(found)), flush=True)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            file = options.out / f"{what}-{options.network.replace(':', '-')}.json"
            file.write_text(json.dumps({"count": count, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
