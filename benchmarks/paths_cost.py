"""What path methods and refinements cost, in forward passes F without gradients.

    python benchmarks/paths_cost.py [--network resnet50] [--steps 4] [--device cuda --batch 64]

For path methods divided by the steps. Captum's integrated gradients stand beside ours.
"""

from __future__ import annotations

import torch
from timing import Run, measure, parser, prepare, show
from torch import Tensor, nn

import seewhy
from seewhy.models import load_model


def captum_integrated_gradients(model: nn.Module, images: Tensor, steps: int) -> None:
    from captum.attr import IntegratedGradients

    IntegratedGradients(model).attribute(
        images, target=1, n_steps=steps, method="riemann_middle", internal_batch_size=len(images)
    )


def main() -> None:
    arguments = parser(__doc__, batch=4, rounds=7)
    arguments.add_argument("--network", default="resnet50", help="of torchvision")
    arguments.add_argument("--steps", type=int, default=4)
    options = arguments.parse_args()
    device = prepare(options)
    model = load_model(f"torchvision:{options.network}", weights="random").module
    # Captum would otherwise compute gradients for the parameters.
    model.requires_grad_(False).to(device)
    images = torch.randn(options.batch, 3, 224, 224).to(device)
    steps = options.steps

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def explained(method: str) -> Run:
        return lambda: seewhy.explain(model, images, method, 1)

    size = f"batch_size={options.batch}"
    rows: dict[str, tuple[Run, int]] = {
        "F": (forward, 1),
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
    timed, passes = ({name: row[i] for name, row in rows.items()} for i in (0, 1))
    seconds, found = measure(forward, timed, options, passes)
    show(f"{options.network}, batch {options.batch}", found, seconds, options)


if __name__ == "__main__":
    main()
