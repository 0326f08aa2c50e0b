"""What the dear metrics cost, beside a peer and beside the bare forwards, in one run.

    python benchmarks/metrics_cost.py [--images 4] [--threads 1]

ROAD is pytorch-grad-cam's `ROADCombined` against ours: the same images, maps and percentiles, both
orders, first the imputations alone, then with the network's passes. Insertion with deletion is set
against the forwards that it asks for, run bare. The network is MobileNetV2 with random weights,
whose forwards are so cheap that everything around them shows. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.metrics.faithfulness import class_probability, insertion_deletion, road, road_curves
from seewhy.metrics.imputation import linear_imputation
from seewhy.models import import_torchvision

PERCENTILES = [10, 20, 30, 40, 50, 60, 70, 80, 90]


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The least time of some runs, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def row(work: str, ours: float, theirs: float, ratio: str) -> None:
    print(f"{work:<44} {ours:8.3f} s   {theirs:8.3f} s   {ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    model = import_torchvision().models.mobilenet_v2().eval()
    images = smooth(options.images, channels=3, cells=56)
    maps = smooth(options.images, channels=1, cells=7)[:, 0]
    maps = (maps - maps.amin((1, 2), keepdim=True)) / (maps.amax() - maps.amin())
    classes = list(range(options.images))
    score = class_probability(model, classes)

    print(f"{options.images} images of 224 x 224; torch {torch.__version__}", end=", ")
    print(f"{options.threads} thread(s)")
    print(f"{'':<44} {'seewhy':>10}   {'other':>10}   ratio")
    compare_imputation(images, maps)
    compare_road(model, score, images, maps, classes)
    compare_sweep(model, score, images, maps)


def smooth(count: int, channels: int, cells: int) -> Tensor:
    """Noise (count, channels, 224, 224) that varies over cells, as photos and maps do."""
    return F.interpolate(torch.randn(count, channels, cells, cells), (224, 224), mode="bicubic")


def compare_imputation(images: Tensor, maps: Tensor) -> None:
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    peer = NoisyLinearImputer(noise=0.0)
    fast = slow = difference = 0.0
    for percentile in PERCENTILES:
        for values in (maps, -maps):
            limit = values.flatten(1).quantile(percentile / 100, dim=1)
            missing = values >= limit[:, None, None]
            start = time.perf_counter()
            pairs = zip(images, (~missing).float(), strict=True)
            theirs = torch.stack([peer(image, kept) for image, kept in pairs])
            middle = time.perf_counter()
            ours = linear_imputation(images, missing)
            slow, fast = slow + middle - start, fast + time.perf_counter() - middle
            difference = max(difference, float((ours - theirs).abs().max()))
    ratio = f"{slow / fast:5.1f} x faster; largest difference {difference:.0e}"
    row("ROAD's imputations, 9 shares, both orders", fast, slow, ratio)


def compare_road(
    model: torch.nn.Module,
    score: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    maps: Tensor,
    classes: list[int],
) -> None:
    from pytorch_grad_cam.metrics.road import ROADCombined
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    peer = ROADCombined(PERCENTILES)
    targets = [ClassifierOutputSoftmaxTarget(index) for index in classes]
    removed = [1 - percentile / 100 for percentile in PERCENTILES]
    cams = maps.numpy()
    fast = seconds(lambda: road(road_curves(score, images, maps, removed=removed)))
    slow = seconds(lambda: peer(images, cams, targets, model), 1)
    row("the same with the forwards", fast, slow, f"{slow / fast:5.1f} x faster")


def compare_sweep(
    model: torch.nn.Module,
    score: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    maps: Tensor,
    steps: int = 16,
    batch_size: int = 4,
) -> None:
    forwards = len(images) * (2 * steps + 1)

    @torch.no_grad()
    def bare() -> None:
        for batch in torch.split(images.repeat(forwards // len(images), 1, 1, 1), batch_size):
            model(batch)

    swept = seconds(lambda: insertion_deletion(score, images, maps, steps=steps))
    alone = seconds(bare)
    work = f"insertion and deletion, {steps} steps, to {forwards} forwards"
    row(work, swept, alone, f"{swept / alone:5.2f} x the bare forwards")


if __name__ == "__main__":
    main()
