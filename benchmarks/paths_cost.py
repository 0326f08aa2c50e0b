"""What path methods and refinements cost, in forward passes without gradients.

    python benchmarks/paths_cost.py [--model resnet50] [--batch 4] [--steps 4] [--repeats 7]

Times are medians over repetitions, each interleaved with bare forwards; for path methods divided
by the steps. Captum's integrated gradients stand beside ours.
"""

from __future__ import annotations

import argparse

import torch
from timing import Run, ratios, show
from torch import Tensor, nn

import seewhy
from seewhy.models import load_model


def captum_integrated_gradients(model: nn.Module, images: Tensor, steps: int) -> None:
    from captum.attr import IntegratedGradients

    IntegratedGradients(model).attribute(
        images, target=1, n_steps=steps, method="riemann_middle", internal_batch_size=len(images)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50", help="of torchvision")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = load_model(f"torchvision:{options.model}", weights="random").module
    model.requires_grad_(False)  # Captum would otherwise compute gradients for the parameters
    images = torch.randn(options.batch, 3, 224, 224)
    steps = options.steps

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def explained(method: str) -> Run:
        return lambda: seewhy.explain(model, images, method, 1)

    size = f"batch_size={options.batch}"
    rows: dict[str, tuple[Run, int]] = {
        # The question itself is one pass more than the steps.
        "gig_cam, per step": (explained(f"gig_cam(steps={steps})"), steps + 1),
        "integrated_grad_cam, per step": (
            explained(f"integrated_grad_cam(steps={steps}, {size})"),
            steps + 1,
        ),
        "integrated_gradients, per step": (
            explained(f"integrated_gradients(steps={steps}, {size})"),
            steps,
        ),
        "captum integrated gradients, per step": (
            lambda: captum_integrated_gradients(model, images, steps),
            steps,
        ),
        "guided_integrated_gradients, per step": (
            explained(f"guided_integrated_gradients(steps={steps})"),
            steps,
        ),
        "grad_cam": (explained("grad_cam"), 1),
        "grad_cam+gradual": (explained("grad_cam+gradual"), 1),
        "layer_cam+refine_cam": (explained("layer_cam+refine_cam"), 1),
        "grad_cam+multiscale": (explained("grad_cam+multiscale"), 1),
        "auto": (explained("auto"), 1),
    }
    _, found = ratios(forward, {name: run for name, (run, _) in rows.items()}, options.repeats)
    per_part = {name: [value / rows[name][1] for value in values] for name, values in found.items()}
    threads = torch.get_num_threads()
    show(f"{options.model}, batch {options.batch}, 224 x 224, {threads} threads", per_part)


if __name__ == "__main__":
    main()
