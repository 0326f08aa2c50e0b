"""Cost of the CAM family in no-grad forwards of the same network, beside three peers, in one run.

    python benchmarks/cam_cost.py [--network resnet50] [--batch 4] [--rounds 15]

The table gives medians over rounds of (candidate / bare forward beside it), with quartiles.
"""

from __future__ import annotations

import argparse

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


def candidates(model: torch.nn.Module, x: torch.Tensor, layer: str) -> dict[str, Run]:
    """What is timed: name -> function that makes the maps of the whole batch."""
    import captum.attr
    import pytorch_grad_cam as pgc
    import torchcam.methods as tc
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module = model.get_submodule(layer)
    targets = [ClassifierOutputTarget(1)] * len(x)

    def ours(*names: str) -> Run:
        return lambda: seewhy.explain(model, x, list(names), 1)

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
        **{f"seewhy {name}": ours(name) for name in FAMILY},
        f"seewhy, all {len(FAMILY)} together": ours(*FAMILY),
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
    options = parser.parse_args()
    torch.manual_seed(0)
    model = import_torchvision().models.get_model(options.network, weights=None).eval()
    x = torch.randn(options.batch, 3, 224, 224)
    layer = seewhy.Probe(model, x).layers[0]

    def forward() -> None:
        with torch.no_grad():
            model(x)

    base, found = ratios(forward, candidates(model, x, layer), options.rounds)
    show(f"{options.network}, {layer}, batch {len(x)}, CPU", found)
    print(
        f"One no-grad forward = 1.00 = {1000 * base:.0f} ms; {options.rounds} rounds, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
