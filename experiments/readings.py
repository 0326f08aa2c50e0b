"""Which reading of a paper fits its claims best? Candidates measured side by side.

    python experiments/readings.py gig --network scenes:resnet --count 200 --out readings
    python experiments/readings.py gig --network squeezenet --count 40 --out readings
    python experiments/readings.py gig --merge readings

Networks: scenes:resnet and scenes:vgg on rendered scenes (one object asked for in each); mobilenet,
squeezenet, lite0 and lite1 with ImageNet weights on pairs of a COCO photo and a category that the
network ranks among its first five, where --shared leads to the photos. They are graded by
`seewhy.evaluate`. Printed are means with bootstrap 95 % intervals over images, in percent; * marks
a difference from the first row that its own paired interval separates from 0. The pointing game's
tolerance is 15 pixels in a photo of 500, scaled to the input. --merge prints one table of
all networks that were measured.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import seewhy
from seewhy import Probe, list_methods, load_model
from seewhy.core.targets import Probability
from seewhy.data.dataset import Dataset, Sample
from seewhy.data.load import load_dataset
from seewhy.evaluation.evaluation import Evaluation
from seewhy.maps import unit, upsample
from seewhy.metrics import pointing_game, rank_accuracy, register_metric
from seewhy.models import LoadedModel
from seewhy.naming import method, parse, refinement
from seewhy.refine.sharpen import sharpen

Reading = Callable[[Probe], Tensor]
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


# ---------------------------------------------------------------------- networks and images


def network_of(name: str, shared: Path) -> LoadedModel:
    """A bundled network, or one with ImageNet weights; the latter's photos are squashed."""
    if name.startswith("scenes:"):
        return load_model(name)
    if name.startswith("lite"):
        spec = f"photos:efficientnet_{name}"
        side = load_model(spec).preprocess.crop or 224
        return load_model(spec, preprocess={"resize": (side, side), "crop": None})
    kind, mean, std = {
        "mobilenet": ("mobilenet_v2", (0.5,) * 3, (0.5,) * 3),
        "squeezenet": ("squeezenet1_0", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    }[name]
    return load_model(
        f"torchvision:{kind}",
        weights=str(shared / f"real/weights/{kind}_imagenet.safetensors"),
        preprocess={"resize": (256, 256), "crop": None, "mean": mean, "std": std},
    )


def one_object_each(scenes: Dataset) -> Dataset:
    """Scenes with one of their objects asked for in each."""

    def read(key: str) -> Sample:
        sample = scenes.read(key)
        assert sample.scene is not None
        label = sample.scene.labels[sample.scene.index % len(sample.scene.labels)]
        return replace(
            sample, annotations=tuple(one for one in sample.annotations if one.label == label)
        )

    return replace(scenes, read=read)


def known_pairs(
    model: LoadedModel, photos: Dataset, classes: dict[str, Any], count: int
) -> Dataset:
    """Up to `count` pairs of a photo and a category that is among the network's first five.

    They are spread evenly over all of them.
    """
    found = seewhy.evaluate(model, photos, ["center_gaussian"], ["gini"], class_map=classes, top=5)
    order = [*classes]
    pairs = sorted({(row.image, order.index(row.target)) for row in found.rows})
    pairs = pairs[:: max(1, len(pairs) // count)][:count]
    chosen = {(image, order[place]) for image, place in pairs}

    def read(key: str) -> Sample:
        sample = photos.read(key)
        own = [one for one in sample.annotations if (key, one.label) in chosen]
        return replace(sample, annotations=tuple(own))

    return replace(photos, read=read, keys=tuple(dict.fromkeys(image for image, _ in pairs)))


# ---------------------------------------------------------------------- candidates


def probability(name: str, activation: str) -> Reading:
    """The method asked of the class's probability instead of its logit."""

    def of(probe: Probe) -> Tensor:
        return parse(name)(probe.with_target(Probability(probe.target.classes, activation)))

    return of


def sharpened_mean(names: list[str]) -> Reading:
    """The mean of maps, each scaled to [0, 1], as `auto` sharpens it."""

    def ask(probe: Probe) -> Tensor:
        maps = [unit(upsample(parse(name)(probe), probe.size)) for name in names]
        return sharpen(probe, lambda _: torch.stack(maps).mean(0), plateau=0.5)

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


def in_tiles(name: str) -> Reading:
    """A method as it is of the same network, were it one for one size."""

    def ask(probe: Probe) -> Tensor:
        fixed = OneSize(probe.model, probe.size)
        return parse(name)(Probe(fixed, probe.inputs, probe.target, black=probe.black))

    return ask


def candidates(what: str, activation: str) -> dict[str, str | Reading]:
    """The rows of one table; the first is what the others are compared with."""
    plain = ["grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam"]
    table: dict[str, list[str] | dict[str, str | Reading]] = {
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


@register_metric("Zhang et al. 2018, excitation backprop", higher_is_better=True, region="boxes")
def pointing(saliency: Tensor, masks: Tensor) -> Tensor:
    """The pointing game on the network's input."""
    return pointing_game(saliency, masks, 15 * saliency.shape[-1] / 500)


@register_metric("Arras et al. 2022, CLEVR-XAI", higher_is_better=True, region="boxes")
def rank(saliency: Tensor, masks: Tensor) -> Tensor:
    """Rank accuracy with boxes."""
    return rank_accuracy(saliency, masks)


MEASURES = {
    "pointing": "pointing",
    "energy": "energy_pointing_game",
    "rank": "rank",
    "drop": "average_drop",
    "increase": "increase",
    "half": "half_drop",
    "gini": "gini",
}
CURVES = {"insertion": "insertion", "deletion": "deletion"}

spent: Counter[str] = Counter()  # seconds by row


@refinement("what is graded", "0")
def shown(probe: Probe, method: Reading, *, row: str) -> Tensor:
    """The positive part of the map at the size of the input."""
    begun = time.perf_counter()
    maps = upsample(method(probe).float(), probe.size).relu()
    spent[row] += time.perf_counter() - begun
    return maps


def spelled(row: str, reading: str | Reading) -> str:
    """A row's name as a method; functions are registered as methods."""
    if not isinstance(reading, str):
        reading.__name__ = "reading_" + re.sub(r"\W+", "_", row)
        reading = method("a reading", "?")(reading).__name__
    return str(parse(f"{reading}+shown(row={row!r})"))


def summary(
    found: Evaluation, rows: dict[str, str], measures: dict[str, str]
) -> dict[str, dict[str, list[float]]]:
    """Of each row and measure mean, interval, and 1 where it differs from the first row."""
    first = next(iter(rows.values()))
    means = {(one.metric, one.method): one for one in found.summary()}
    tests = {(one.metric, one.method): one for one in found.comparisons(first)}
    table: dict[str, dict[str, list[float]]] = {row: {} for row in rows}
    for row, name in rows.items():
        for measure, metric in measures.items():
            one, test = means[metric, name], tests.get((metric, name))
            apart = test is not None and (test.low > 0 or test.high < 0)
            percent = [100 * value for value in (one.mean, one.low, one.high)]
            table[row][measure] = [*percent, float(apart)]
    return table


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
    scenes = options.network.startswith("scenes:")
    if not scenes and not options.shared.is_dir():
        raise SystemExit(f"{options.network} skipped: there is no folder {options.shared}")
    model = network_of(options.network, options.shared)
    classes = None
    if scenes:
        data = one_object_each(load_dataset(f"scenes:{options.count}", seed=options.seed))
    else:
        folder = options.shared / "real/coco"
        classes = json.loads((folder / "coco_to_imagenet.json").read_text())
        # A ball of a few pixels is named by what surrounds it.
        classes = {label: own for label, own in classes.items() if own and label != "sports ball"}
        data = known_pairs(model, load_dataset(f"coco:{folder}"), classes, options.count)
    measures = MEASURES | (CURVES if options.steps else {})
    for what in options.what:
        readings = candidates(what, model.activation)
        first = options.first or next(iter(readings))
        others = [name for name in readings if name != first and re.search(options.only, name)]
        rows = {name: spelled(name, readings[name]) for name in [first, *others]}
        graded = seewhy.evaluate(
            model,
            data,
            list(rows.values()),
            list(measures.values()),
            class_map=classes,
            steps=options.steps or None,
            batch_size=options.batch,
        )
        broken = {one.method: one.reason for one in graded.failures}
        for row, name in list(rows.items()):
            if name in broken:  # such as CAM, which asks for a certain head
                print(f"  left out: {row}: {broken[name]}", flush=True)
                del rows[row]
            else:
                print(f"  {spent[row]:6.1f} s  {row}", flush=True)
        count = graded.summary()[0].values
        found = summary(graded, rows, measures)
        print(f"\n{what}, {options.network}, n = {count}\n")
        print("\n".join(lines(found)), flush=True)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            file = options.out / f"{what}-{options.network.replace(':', '-')}.json"
            file.write_text(json.dumps({"count": count, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
