"""Cost of the perturbation methods, in bare forward passes of the same network, in one run.

    python benchmarks/perturbation_cost.py [--network resnet50] [--masks 64] [--score-cam]

What a method costs beside its forward passes is the excess over 1: its time, divided by that of
as many images through the bare network at the batch size that suits the machine best. The second
table has Ablation-CAM in forward passes of its batch. Rounds alternate all candidates, so that a
busy machine slows them alike; the tables give medians and quartiles.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from timing import ratios

import seewhy
from seewhy import Method, Probe
from seewhy.core.targets import Probability
from seewhy.methods.ablation_cam import falls
from seewhy.models import import_torchvision


def bare(model: torch.nn.Module, x: torch.Tensor, batch: int, count: int) -> Callable[[], object]:
    """`count` images through the network, `batch` at a time."""
    images = x[:1].expand(batch, -1, -1, -1).contiguous()

    def run() -> None:
        with torch.no_grad():
            for start in range(0, count, batch):
                model(images[: min(batch, count - start)])

    return run


def best_batch(model: torch.nn.Module, x: torch.Tensor, count: int) -> int:
    """The batch size at which the bare network is fastest per image."""

    def seconds(batch: int) -> float:
        run = bare(model, x, batch, batch)
        times = []
        for _ in range(4):  # the first is a warm-up
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return min(times[1:]) / batch

    return min((batch for batch in (4, 8, 16, 32, 64) if batch <= count), key=seconds)


def shown(table: Table, found: dict[str, list[float]]) -> Table:
    for name, values in found.items():
        low, middle, high = statistics.quantiles(values, n=4)
        table.add_row(name, f"{middle:.2f}", f"{low:.2f} to {high:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet50", help="a torchvision classifier")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--masks", type=int, default=64, help="masks of RISE")
    parser.add_argument("--score-cam", action="store_true", help="time Score-CAM, with K passes")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = import_torchvision().models.get_model(options.network, weights=None).eval()
    x = torch.randn(options.images, 3, options.size, options.size)
    probe = Probe(model, x, 1)
    layer, channels = probe.layers[0], probe.activations().shape[1]
    batch = best_batch(model, x, options.masks * options.images)
    console = Console()

    def explained(method: Method) -> Callable[[], object]:
        return lambda: method(Probe(model, x, 1))

    # 16 positions of a patch of a quarter of the image.
    quarter = options.size // 4
    methods = {
        f"rise, {options.masks} masks": (Method("rise", masks=options.masks), options.masks),
        "occlusion, 16 places": (Method("occlusion", patch=quarter, stride=quarter), 16),
    }
    if options.score_cam:
        methods[f"score_cam, {channels} channels"] = (Method("score_cam"), channels)
    table = Table(
        "method", "per bare forward", "quartiles", title=f"{options.network}, batch size {batch}"
    )
    for name, (method, passes) in methods.items():
        count = options.images * (passes + 1)
        _, found = ratios(bare(model, x, batch, count), {name: explained(method)}, options.rounds)
        shown(table, found)
    console.print(table)

    tail = Method("ablation_cam")

    def replayed() -> None:
        tail(Probe(model, x, Probability(1)).expect_tail())

    one, found = ratios(
        bare(model, x, len(x), len(x)),
        {
            f"ablation_cam of a logit, {layer}": explained(tail),
            f"ablation_cam of a probability, {channels} tails": replayed,
        },
        options.rounds,
    )
    table = Table("method", "forwards of the batch", "quartiles", title="Ablation-CAM")
    console.print(shown(table, found))
    closed = falls(Probe(model, x, 1), layer)
    console.print(
        f"{len(x)} images, {torch.get_num_threads()} threads, torch {torch.__version__}; one "
        f"forward {1000 * one:.0f} ms; affine head: {probe.affine()}; "
        f"largest fall {float(closed.max()):.3g}; seewhy {seewhy.__version__}"
    )


if __name__ == "__main__":
    main()
