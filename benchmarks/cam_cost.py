"""Cost of the CAM family in no-grad forwards F of the same network, beside three peers, in one run.

python benchmarks/cam_cost.py [--network resnet50] [--device cuda --batch 64]
python benchmarks/cam_cost.py --only seewhy --cpu-time        # without peers, in CPU time
python benchmarks/cam_cost.py --batch 1 --size 64 --threads 1 --cpu-time  # little but Python
"""

from __future__ import annotations

import copy

import torch
from timing import Run, measure, parser, prepare, show

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
    fresh = iter([copy.deepcopy(model) for _ in range(rounds + 2)])

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
    module = model.get_submodule(layer)

    def pytorch_grad_cam(*classes: str) -> Run:
        def run() -> None:
            import pytorch_grad_cam as pgc
            from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

            for name in classes:
                with getattr(pgc, name)(model=model, target_layers=[module]) as extract:
                    extract(input_tensor=x, targets=[ClassifierOutputTarget(1)] * len(x))

        return run

    def torch_cam() -> None:
        from torchcam.methods import GradCAM

        with GradCAM(model, layer) as extract:
            extract(1, model(x))

    def captum_() -> None:
        from captum.attr import LayerGradCam

        LayerGradCam(model, module).attribute(x, target=1)

    six = ("GradCAM", "GradCAMPlusPlus", "XGradCAM", "HiResCAM", "LayerCAM", "EigenCAM")
    return {
        "pytorch-grad-cam GradCAM": pytorch_grad_cam("GradCAM"),
        "pytorch-grad-cam, six methods": pytorch_grad_cam(*six),
        "torch-cam GradCAM": torch_cam,
        "captum LayerGradCam": captum_,
    }


def main() -> None:
    arguments = parser(__doc__, batch=4, rounds=15)
    arguments.add_argument("--network", default="resnet50", help="a torchvision classifier")
    arguments.add_argument("--size", type=int, default=224)
    options = arguments.parse_args()
    device = prepare(options)
    model = import_torchvision().models.get_model(options.network, weights=None).eval().to(device)
    x = torch.randn(options.batch, 3, options.size, options.size).to(device)
    layer = seewhy.Probe(model, x).layers[0]

    def forward() -> None:
        with torch.no_grad():
            model(x)

    timed = {"F": forward, **ours(model, x, options.rounds), **peers(model, x, layer)}
    seconds, rows = measure(forward, timed, options)
    show(f"{options.network}, {layer}, batch {len(x)}", rows, seconds, options)


if __name__ == "__main__":
    main()
