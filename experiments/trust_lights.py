"""What the lights of `seewhy.trust` are worth: how they split good maps from poor ones.

On scenes the truth is known: which object a map should show, and which maps know nothing of it.
Thresholds are chosen on one set of scenes and the tables of docs/trust.md made on another:

    python experiments/trust_lights.py --choose     # thresholds, on scenes of seed 21
    python experiments/trust_lights.py              # tables, on scenes of seed 22
    python experiments/trust_lights.py --photos 25  # lights on real photos, truth unknown
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor, nn

from seewhy.data.finding import find_images
from seewhy.data.images import load_image
from seewhy.data.scenes import Scene, Scenes
from seewhy.fills import blurred
from seewhy.metrics import randomization_cascade
from seewhy.models import LoadedModel, load_model
from seewhy.naming import parse
from seewhy.trust.checks import CHECKS, Case, case_of, check
from seewhy.trust.lights import THRESHOLDS

SHARED = Path(__file__).resolve().parents[2] / "shared" / "real"
OF_A_MAP = ("insertion and deletion", "confidence drop", "blind baselines")
OF_A_METHOD = ("target selectivity", "randomised layers")

# Maps whose truth is known. A Gaussian at the centre is no rival of itself, nor are edges, so for
# "blind baselines" these two are never green by construction.
GOOD_MAPS = ("the object itself", "grad_cam", "tsgb")
POOR_MAPS = (
    "noise",
    "center_gaussian",
    "edges",
    "the other object",
    "grad_cam of the other object",
    "grad_cam of a random network",
    "grad_cam, shuffled",
    "grad_cam, inverted",
)
GOOD_METHODS = ("grad_cam", "tsgb")
POOR_METHODS = ("random", "center_gaussian", "edges")
# Known to depend little on class or weights on some networks; they take no part in the choice.
DOUBTED = ("layer_cam", "gradient", "excitation_backprop", "guided_backprop")
PHOTO_METHODS = ("grad_cam", "tsgb", "guided_backprop", "edges")

Values = dict[tuple[str, str], list[float | None]]


def questions(model: LoadedModel, seed: int) -> Iterator[tuple[Scene, str, str]]:
    """Scenes with two categories that the network sees, the one asked for and the other."""
    for scene in Scenes(100_000, seed=seed):
        labels = list(dict.fromkeys(scene.labels))[:2]
        if len(labels) < 2:
            continue
        with torch.no_grad():
            logits = model.module(model.preprocess(scene.image)[None])[0]
        if all(model.probabilities(logits)[model.class_index(label)] > 0.5 for label in labels):
            yield scene, labels[0], labels[1]


def maps(case: Case, scene: Scene, other: str, seed: int) -> dict[str, Tensor]:
    """Good and poor maps (1, h, w) for the case's target."""
    network, target = case.model.module, case.target

    def object_of(index: int) -> Tensor:
        masks = torch.from_numpy(scene.masks)
        own = masks[[case.model.class_index(label) == index for label in scene.labels]].any(0)
        return blurred(own[None, None].float(), 4.0)[0]

    def made(method: str) -> Tensor:
        return case.explain(network, target, parse(method))

    return {
        "the object itself": object_of(target),
        "grad_cam": case.saliency,
        "tsgb": made("tsgb"),
        "noise": made(f"random(seed={seed + 1})"),
        "center_gaussian": made("center_gaussian"),
        "edges": made("edges"),
        "the other object": object_of(case.model.class_index(other)),
        "grad_cam of the other object": case.explain(network, case.model.class_index(other)),
        "grad_cam of a random network": of_random_network(case, seed),
        "grad_cam, shuffled": shuffled(case.saliency, seed),
        "grad_cam, inverted": -case.saliency,
    }


def of_random_network(case: Case, seed: int) -> Tensor:
    """The case's method asked of the network with all of its weights drawn anew."""
    found: list[Tensor] = []

    def explain(network: nn.Module) -> Tensor:
        found.append(case.explain(network, case.target))
        return found[-1]

    randomization_cascade(case.model.module, explain, [""], seed)
    return found[-1]


def shuffled(saliency: Tensor, seed: int) -> Tensor:
    """The cells of an 8 x 8 grid of a map in another order."""
    cells = F.adaptive_avg_pool2d(saliency, 8).flatten()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
    size = saliency.shape[-2:]
    return F.interpolate(cells[order].view(1, 1, 8, 8), size=size, mode="bilinear")[0]


def measured(model: LoadedModel, count: int, seed: int) -> Values:
    """The value of each check, by check and kind of map or method; None where it is grey."""
    values: Values = {}
    for number, (scene, asked, other) in enumerate(islice(questions(model, seed), count)):
        case = case_of(model, scene.image, "grad_cam", asked)
        for kind, saliency in maps(case, scene, other, number).items():
            graded = replace(case, saliency=saliency)
            vars(graded)["blind_curves"] = case.blind_curves  # the same for all, so made once
            for name in OF_A_MAP:
                values.setdefault((name, kind), []).append(check(graded, name).value)
        for method in (*GOOD_METHODS, *POOR_METHODS, *DOUBTED):
            case = case_of(model, scene.image, method, asked)
            for name in OF_A_METHOD:
                values.setdefault((name, method), []).append(check(case, name).value)
        print(f"\r{model.name}: {number + 1} of {count}", end="", flush=True)
    print()
    return values


def choose(values: Values) -> None:
    """Print thresholds: at most 5 % of poor maps are green, and at most 1 % of good ones red.

    Where good and poor overlap, the overlap is amber; where they are apart, the middle third of
    the gap is.
    """
    for name in CHECKS:
        maps_of = name in OF_A_MAP
        sign = 1 if THRESHOLDS[name].higher else -1

        def quantile(
            kinds: tuple[str, ...], share: float, name: str = name, sign: int = sign
        ) -> float:
            pool = [v for kind in kinds for v in values[name, kind] if v is not None]
            return float((sign * torch.tensor(pool)).quantile(share))

        poor = quantile(POOR_MAPS if maps_of else POOR_METHODS, 0.95)
        good = quantile(GOOD_MAPS if maps_of else GOOD_METHODS, 0.01)
        green, red = poor, good
        if good > poor:
            green, red = poor + 2 / 3 * (good - poor), poor + (good - poor) / 3
        print(
            f"{name}: poor's 95 % {sign * poor:.3f}, good's 1 % {sign * good:.3f}: "
            f"green {sign * green:.2f}, red {sign * red:.2f}"
        )


def tables(networks: dict[str, Values], rows: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """For each check the share of each light, in Markdown."""
    for name in CHECKS:
        yield f"\n**{name}** ({THRESHOLDS[name]})\n"
        yield "| | map | " + " | ".join(f"{n}: green | amber | red" for n in networks) + " |"
        yield "|---|---|" + "---|---|---|" * len(networks)
        for truth, kinds in rows.items():
            for kind in kinds:
                if all((name, kind) in values for values in networks.values()):
                    cells = [shares(name, values[name, kind]) for values in networks.values()]
                    yield f"| {truth} | {kind} | " + " | ".join(cells) + " |"


def shares(name: str, values: list[float | None]) -> str:
    """Green, amber and red in per cent of those that are not grey, with Wilson's intervals."""
    lights = [THRESHOLDS[name].light(value) for value in values if value is not None]
    if not lights:
        return "grey | | "
    counts = Counter(lights)
    cells = []
    for light in ("green", "amber", "red"):
        interval = binomtest(counts[light], len(lights)).proportion_ci(method="wilson")
        share = 100 * counts[light] / len(lights)
        cells.append(f"{share:.0f} ({100 * interval.low:.0f}–{100 * interval.high:.0f})")
    if len(lights) < len(values):
        cells[0] += f", n = {len(lights)}"
    return " | ".join(cells)


def photos(name: str, count: int) -> Values:
    """The checks on real photos for the predicted class, whose truth nobody knows."""
    weights = SHARED / "weights" / f"{name}_imagenet.safetensors"
    model = load_model(f"torchvision:{name}", weights=weights)
    values: Values = {}
    for number, path in enumerate(find_images(SHARED / "imagenet")[:count]):
        first = case_of(model, load_image(path), "grad_cam")
        for method in PHOTO_METHODS:
            case = case_of(model, first.photo, method)
            vars(case)["blind_curves"] = first.blind_curves
            for one in CHECKS:
                values.setdefault((one, method), []).append(check(case, one).value)
        print(f"\r{name}: {number + 1} of {count}", end="", flush=True)
    print()
    return values


def main() -> None:
    """Choose thresholds, or print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--choose", action="store_true", help="thresholds, on other scenes")
    parser.add_argument("--count", type=int, default=100, help="scenes per network")
    parser.add_argument("--photos", type=int, default=0, help="photos per ImageNet network instead")
    options = parser.parse_args()
    if options.photos:
        if not SHARED.is_dir():
            raise SystemExit(f"photos skipped: there is no folder {SHARED}")
        real = {name: photos(name, options.photos) for name in ("mobilenet_v2", "squeezenet1_0")}
        rows = {"": PHOTO_METHODS}
        print("\n".join(tables(real, rows)))
        return
    seed = 21 if options.choose else 22
    found = {
        name: measured(load_model(name), options.count, seed)
        for name in ("scenes:resnet", "scenes:vgg")
    }
    if options.choose:
        first, second = found.values()
        choose({key: first[key] + second[key] for key in first})
        return
    rows = {
        "good": tuple(dict.fromkeys(GOOD_MAPS + GOOD_METHODS)),
        "poor": tuple(dict.fromkeys(POOR_MAPS + POOR_METHODS)),
        "doubted": DOUBTED,
    }
    print("\n".join(tables(found, rows)))


if __name__ == "__main__":
    main()
