"""Cost of attention methods on a vision transformer, in no-grad forwards F of the same network.

    python benchmarks/attention_cost.py [--network vit_small_patch16_224] [--device cuda --batch 64]

"F + B" is what plain PyTorch takes for a forward and a backward pass to the input, with frozen
parameters.
"""

from __future__ import annotations

import torch
from timing import Run, measure, parser, prepare, show

import seewhy
from seewhy.models import import_torchvision

METHODS = [
    "attention_rollout",
    "attention_x_gradient",
    "attention_gradient",
    "le_grad",
    "le_grad(blocks=12)",
    "grad_cam",
    "gradient",
]


def main() -> None:
    arguments = parser(__doc__, batch=1, rounds=15)
    arguments.add_argument("--network", default="vit_small_patch16_224", help="of timm")
    options = arguments.parse_args()
    device = prepare(options)
    import_torchvision()
    import timm

    model = timm.create_model(options.network, pretrained=False).eval().requires_grad_(False)
    model = model.to(device)
    x = torch.randn(options.batch, 3, 224, 224).to(device)

    def forward() -> None:
        with torch.no_grad():
            model(x)

    def both() -> None:
        image = x.clone().requires_grad_()
        model(image)[:, 1].sum().backward()

    def ours(name: str) -> Run:
        return lambda: seewhy.explain(model, x, name, 1)

    timed = {"F": forward, "F + B": both, **{f"`{name}`": ours(name) for name in METHODS}}
    seconds, rows = measure(forward, timed, options)
    show(f"{options.network}, batch {len(x)}", rows, seconds, options)


if __name__ == "__main__":
    main()
