"""What the dear metrics cost, beside a peer and beside the bare forwards, in one run.

    python benchmarks/metrics_cost.py [--batch 4] [--threads 1] [--device cuda]

ROAD is pytorch-grad-cam's `ROADCombined` against ours: the same images, maps and percentiles, both
orders, first the imputations alone, then with the network's passes. Insertion with deletion is set
against the forwards that it asks for, run bare. The network is MobileNetV2 with random weights,
whose forwards are so cheap that everything around them shows; F is one of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from timing import Run, measure, parser, prepare, show
from torch import Tensor

from seewhy.metrics.faithfulness import class_probability, insertion_deletion, road, road_curves
from seewhy.metrics.imputation import linear_imputation
from seewhy.models import import_torchvision
from seewhy.progress import images_per_pass

PERCENTILES = [10, 20, 30, 40, 50, 60, 70, 80, 90]
STEPS = 16


def main() -> None:
    arguments = parser(__doc__, batch=4, rounds=2)
    options = arguments.parse_args()
    device = prepare(options)
    model = import_torchvision().models.mobilenet_v2().eval().to(device)
    images = smooth(options.batch, channels=3, cells=56).to(device)
    maps = smooth(options.batch, channels=1, cells=7)[:, 0].to(device)
    maps = (maps - maps.amin((1, 2), keepdim=True)) / (maps.amax() - maps.amin())
    timed = {**imputations(images, maps), **metrics(model, images, maps)}

    def forward() -> None:
        with torch.no_grad():
            model(images)

    seconds, rows = measure(forward, {"F": forward, **timed}, options)
    show(f"mobilenet_v2, batch {options.batch}", rows, seconds, options)


def smooth(count: int, channels: int, cells: int) -> Tensor:
    """Noise (count, channels, 224, 224) that varies over cells, as photos and maps do."""
    return F.interpolate(torch.randn(count, channels, cells, cells), (224, 224), mode="bicubic")


def imputations(images: Tensor, maps: Tensor) -> dict[str, Run]:
    """ROAD's, for 9 shares in both orders."""

    def hidden() -> Iterator[Tensor]:
        for percentile in PERCENTILES:
            for values in (maps, -maps):
                limit = values.flatten(1).quantile(percentile / 100, dim=1)
                yield values >= limit[:, None, None]

    def ours() -> None:
        for missing in hidden():
            linear_imputation(images, missing)

    def theirs() -> None:
        from pytorch_grad_cam.metrics.road import NoisyLinearImputer

        peer = NoisyLinearImputer(noise=0.0)
        for missing in hidden():
            for image, kept in zip(images, (~missing).float(), strict=True):
                peer(image, kept)

    return {"seewhy, ROAD's imputations": ours, "pytorch-grad-cam, the same": theirs}


def metrics(model: torch.nn.Module, images: Tensor, maps: Tensor) -> dict[str, Run]:
    """ROAD with the network's passes, and the sweep of insertion and deletion."""
    classes = list(range(len(images)))
    score = class_probability(model, classes)
    removed = [1 - percentile / 100 for percentile in PERCENTILES]
    count = len(images) * (2 * STEPS + 1)

    def theirs() -> None:
        from pytorch_grad_cam.metrics.road import ROADCombined
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

        targets = [ClassifierOutputSoftmaxTarget(index) for index in classes]
        ROADCombined(PERCENTILES)(images, maps.cpu().numpy(), targets, model)

    def bare() -> None:
        every = images.repeat(count // len(images), 1, 1, 1)
        with torch.no_grad():
            for part in torch.split(every, images_per_pass(images, "auto")):
                model(part)

    return {
        "seewhy, ROAD with the forwards": lambda: road(
            road_curves(score, images, maps, removed=removed)
        ),
        "pytorch-grad-cam, ROADCombined": theirs,
        f"seewhy, insertion and deletion, {STEPS} steps": lambda: insertion_deletion(
            score, images, maps, steps=STEPS
        ),
        f"its {count} forwards, bare": bare,
    }


if __name__ == "__main__":
    main()
