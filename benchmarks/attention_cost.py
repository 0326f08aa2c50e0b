"""Cost of attention methods on a vision transformer, in no-grad forwards of the same network.

    python benchmarks/attention_cost.py [--network vit_small_patch16_224] [--batch 1] [--rounds 15]

"F + B" is what plain PyTorch takes for a forward and a backward pass to the input, with frozen
parameters. The table gives medians over rounds of (candidate / bare forward beside it), in time of
the process, with quartiles.
"""

from __future__ import annotations

import argparse
import time

import torch
from timing import Run, ratios, show

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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="vit_small_patch16_224", help="of timm")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    import_torchvision()
    import timm

    torch.manual_seed(0)
    model = timm.create_model(options.network, pretrained=False).eval().requires_grad_(False)
    x = torch.randn(options.batch, 3, 224, 224)

    def forward() -> None:
        with torch.no_grad():
            model(x)

    def both() -> None:
        image = x.clone().requires_grad_()
        model(image)[:, 1].sum().backward()

    def ours(name: str) -> Run:
        return lambda: seewhy.explain(model, x, name, 1)

    timed = {"F + B": both, **{name: ours(name) for name in METHODS}}
    base, found = ratios(forward, timed, options.rounds, clock=time.process_time)
    show(f"{options.network}, batch {len(x)}, CPU", found)
    print(
        f"One no-grad forward = 1.00 = {1000 * base:.0f} ms; {options.rounds} rounds, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
