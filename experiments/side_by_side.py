"""Our pictures beside pytorch-grad-cam's, on one sheet, and how bright and how graded they are.

    pip install grad-cam
    python experiments/side_by_side.py FOLDER... --count 20 --out sheet.jpg

Each row is a photo as the network takes it; then pytorch-grad-cam's Grad-CAM of the last layer as
its `show_cam_on_image` draws it, and our methods as `seewhy.overlay` does. All are asked for the
class that the network predicts.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from seewhy import load_image, load_model, overlay
from seewhy.core.outputs import logits
from seewhy.core.probe import Probe
from seewhy.data.finding import find_images
from seewhy.draw.galleries import Tile, gallery
from seewhy.draw.overlays import colour_scale
from seewhy.models import DEFAULT_MODEL, LoadedModel, import_torchvision
from seewhy.naming import parse

import_torchvision()  # which pytorch-grad-cam imports, beside a CPU-only torch too
from pytorch_grad_cam import GradCAM  # noqa: E402
from pytorch_grad_cam.utils.image import show_cam_on_image  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402

METHODS = ["grad_cam", "auto(effort='quick')", "auto"]
PEER = "pytorch-grad-cam"


def pictures(
    model: LoadedModel, x: Tensor, methods: list[str]
) -> tuple[Image.Image, str, dict[str, tuple[Image.Image, Tensor]]]:
    """What the network sees, the class it says, and by maker the picture and its strength."""
    seen = replace(model.preprocess, resize=None, crop=None).unnormalize(x[0])
    with torch.no_grad():
        asked = int(logits(model.module(x)).argmax())
    probe = Probe(model.module, x, asked, black=model.preprocess.black)
    layer = dict(model.module.named_modules())[probe.layers[0].partition("#")[0]]
    with GradCAM(model.module, [layer]) as cam:
        peer = cam(input_tensor=x.clone(), targets=[ClassifierOutputTarget(asked)])[0]
    drawn = show_cam_on_image(np.asarray(seen, np.float32) / 255, peer, use_rgb=True)
    made = {PEER: (Image.fromarray(drawn), torch.from_numpy(peer))}
    for method in methods:
        (found,) = parse(method)(probe)
        found = interpolate(found[None, None].cpu(), x.shape[2:], mode="bilinear")[0, 0]
        zero, full, power = colour_scale(found)
        strength = ((found - zero) / full).clamp(0, 1) ** power
        made[method] = (overlay(seen, found), strength)
    return seen, model.class_name(asked), made


def measured(seen: Image.Image, picture: Image.Image, strength: Tensor) -> tuple[float, ...]:
    """Brightness, distance from the photo's colours, and shares of the picture that look alike.

    The brightness is the mean luma against the photo's; the distance the median over pixels of the
    largest difference of a channel, in levels of 255; then the shares drawn at more than half of
    the full strength, and within 2 % of it.
    """
    before, after = (np.asarray(one, np.float64) for one in (seen, picture))
    luma = np.asarray(picture.convert("L")).mean() / max(np.asarray(seen.convert("L")).mean(), 1)
    return (
        luma,
        float(np.median(np.abs(after - before).max(-1))),
        float((strength > 0.5).float().mean()),
        float((strength > 0.98).float().mean()),
    )


def main() -> None:
    """Draw the sheet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", help="photos are taken evenly from each")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--weights")
    parser.add_argument("--size", type=int)
    parser.add_argument("--mean", type=float)
    parser.add_argument("--std", type=float)
    parser.add_argument("--method", action="append")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    given = {"resize": options.size, "crop": options.size, "mean": options.mean, "std": options.std}
    settings = {name: value for name, value in given.items() if value is not None}
    model = load_model(options.model, weights=options.weights, preprocess=settings)
    each = options.count // len(options.folders)
    paths: list[Path] = []
    for folder in options.folders:
        there = find_images(folder)
        paths += there[:: max(1, len(there) // each)][:each]
    rows, numbers = [], {}
    for path in paths:
        x = model.preprocess(load_image(path))[None]
        seen, said, made = pictures(model, x, options.method or METHODS)
        cells = [Tile(name, said, picture) for name, (picture, _) in made.items()]
        rows.append([Tile(path.stem, "", seen), *cells])
        for name, (picture, strength) in made.items():
            numbers.setdefault(name, []).append(measured(seen, picture, strength))
    sheet = gallery(rows, columns=1 + len(cells))
    sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS).save(options.out)
    print(f"{len(rows)} photos: brightness, distance in levels, above half, flat (mean; worst)")
    for name, each_photo in numbers.items():
        values = np.array(each_photo)
        worst = values[:, 0].min(), *values[:, 1:].max(0)
        shown = [f"{m:.2f}; {w:.2f}" for m, w in zip(values.mean(0), worst, strict=True)]
        print(f"{name:22}", "   ".join(shown), flush=True)


if __name__ == "__main__":
    main()
