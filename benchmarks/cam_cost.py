"""Cost of the CAM family in no-grad forwards of the same network, beside three peers, in one run.

    python benchmarks/cam_cost.py [--network resnet50] [--batch 4] [--rounds 15]

All candidates are timed in turn, round after round, so that a busy machine slows them alike; the
table gives the median over rounds of (candidate / bare forward of the same round), with its
quartiles.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

import seewhy
from seewhy.models import import_torchvision

FAMILY = [
    "grad_cam",
    "grad_cam_plus_plus",
    "xgrad_cam",
    "hires_cam",
    "layer_cam",
    "eigen_cam",
    "eigen_grad_cam",
    "global_guidance",
]


def candidates(
    model: torch.nn.Module, x: torch.Tensor, layer: str
) -> dict[str, Callable[[], object]]:
    """What is timed: name -> function that makes the maps of the whole batch."""
    import captum.attr
    import pytorch_grad_cam as pgc
    import torchcam.methods as tc
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module = model.get_submodule(layer)
    targets = [ClassifierOutputTarget(1)] * len(x)

    def ours(*names: str) -> Callable[[], object]:
        return lambda: seewhy.explain(model, x, list(names), 1)

    def pytorch_grad_cam(*classes: type) -> Callable[[], object]:
        def run() -> None:
            for method in classes:
                with method(model=model, target_layers=[module]) as extract:
                    extract(input_tensor=x, targets=targets)

        return run

    def torch_cam() -> None:
        with tc.GradCAM(model, layer) as extract:
            extract(1, model(x))

    def captum_() -> None:
        captum.attr.LayerGradCam(model, module).attribute(x, target=1)

    six = (pgc.GradCAM, pgc.GradCAMPlusPlus, pgc.XGradCAM, pgc.HiResCAM, pgc.LayerCAM, pgc.EigenCAM)
    return {
        **{f"seewhy {name}": ours(name) for name in FAMILY},
        f"seewhy, all {len(FAMILY)} together": ours(*FAMILY),
        "pytorch-grad-cam GradCAM": pytorch_grad_cam(pgc.GradCAM),
        "pytorch-grad-cam, six methods": pytorch_grad_cam(*six),
        "torch-cam GradCAM": torch_cam,
        "captum LayerGradCam": captum_,
    }


def ratios(
    base: Callable[[], object], timed: dict[str, Callable[[], object]], rounds: int
) -> tuple[float, dict[str, list[float]]]:
    """Median seconds of `base`, and for each candidate its time in units of `base`, per round."""

    def seconds(function: Callable[[], object]) -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    for function in (base, *timed.values()):
        function()  # warm-up: memory pools, and the choice of layer
    bases, found = [], {name: [] for name in timed}
    for _ in range(rounds):
        # The base twice around the others, so that a drift within the round cancels.
        before = seconds(base)
        times = {name: seconds(function) for name, function in timed.items()}
        bases.append((before + seconds(base)) / 2)
        for name, value in times.items():
            found[name].append(value / bases[-1])
    return statistics.median(bases), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet50", help="a torchvision classifier")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = import_torchvision().models.get_model(options.network, weights=None).eval()
    x = torch.randn(options.batch, 3, 224, 224)
    layer = seewhy.Probe(model, x).layers[0]

    def forward() -> None:
        with torch.no_grad():
            model(x)

    base, found = ratios(forward, candidates(model, x, layer), options.rounds)
    table = Table(
        "method", "forwards", "quartiles", title=f"{options.network}, {layer}, batch {len(x)}, CPU"
    )
    for name, values in found.items():
        low, middle, high = statistics.quantiles(values, n=4)
        table.add_row(name, f"{middle:.2f}", f"{low:.2f} to {high:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"One no-grad forward = 1.00 = {1000 * base:.0f} ms; {options.rounds} rounds, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
