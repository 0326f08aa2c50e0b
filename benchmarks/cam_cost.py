"""Cost of the CAM family in no-grad forwards of the same network, beside three peers, in one run.

    python benchmarks/cam_cost.py [--network resnet50] [--batch 4] [--rounds 15]
    python benchmarks/cam_cost.py --only seewhy --cpu-time        # without peers, in CPU time

The table gives medians over rounds of (candidate / bare forward beside it), with quartiles. On a
machine that others use, --cpu-time counts what this process has used instead of what has passed.
"""

from __future__ import annotations

import argparse
import copy
import time

import torch
from timing import Run, ratios, show

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


def ours(model: torch.nn.Module, x: torch.Tensor, rounds: int) -> dict[str, Run]:
    """What is timed of Seewhy: name -> function that makes the maps of the whole batch."""
    fresh = iter([copy.deepcopy(model) for _ in range(rounds + 1)])

    def of(*names: str) -> Run:
        return lambda: seewhy.explain(model, x, list(names), 1)

    return {
        "seewhy grad_cam, the first call on a network": lambda: seewhy.explain(
            next(fresh), x, "grad_cam", 1
        ),
        **{f"seewhy {name}": of(name) for name in FAMILY},
        f"seewhy, all {len(FAMILY)} together": of(*FAMILY),
    }


def peers(model: torch.nn.Module, x: torch.Tensor, layer: str) -> dict[str, Run]:
    """What is timed of other libraries."""
    import captum.attr
    import pytorch_grad_cam as pgc
    import torchcam.methods as tc
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module = model.get_submodule(layer)
    targets = [ClassifierOutputTarget(1)] * len(x)

    def pytorch_grad_cam(*classes: type) -> Run:
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
        "pytorch-grad-cam GradCAM": pytorch_grad_cam(pgc.GradCAM),
        "pytorch-grad-cam, six methods": pytorch_grad_cam(*six),
        "torch-cam GradCAM": torch_cam,
        "captum LayerGradCam": captum_,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet50", help="a torchvision classifier")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", metavar="TEXT", help="candidates with this name")
    parser.add_argument("--cpu-time", action="store_true", help="instead of wall-clock time")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = import_torchvision().models.get_model(options.network, weights=None).eval()
    x = torch.randn(options.batch, 3, 224, 224)
    layer = seewhy.Probe(model, x).layers[0]

    def forward() -> None:
        with torch.no_grad():
            model(x)

    timed = ours(model, x, options.rounds)
    if not options.only.startswith("seewhy"):
        timed |= peers(model, x, layer)
    timed = {name: run for name, run in timed.items() if options.only in name}
    clock = time.process_time if options.cpu_time else time.perf_counter
    base, found = ratios(forward, timed, options.rounds, clock)
    show(f"{options.network}, {layer}, batch {len(x)}, CPU", found)
    print(
        f"One no-grad forward = 1.00 = {1000 * base:.0f} ms; {options.rounds} rounds, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
