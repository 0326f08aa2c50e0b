"""What a rule-based backward pass costs, beside the plain gradient and a peer's guided backprop.

    python benchmarks/rules_cost.py --network resnet50 --network vgg16 [--threads 1 --cpu-time]
    python benchmarks/rules_cost.py --device cuda --batch 64

Times are in units of F, a forward pass without gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timing import measure, parser, prepare, show
from torch import Tensor, nn

import seewhy
from seewhy.models import load_model

Explain = Callable[[nn.Module, Tensor], Any]


def forward(model: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        model(images)


def forward_backward(model: nn.Module, images: Tensor) -> None:
    images = images.clone().requires_grad_()
    torch.autograd.grad(model(images)[:, 1].sum(), images)


def captum_guided_backprop(model: nn.Module, images: Tensor) -> None:
    from captum.attr import GuidedBackprop

    GuidedBackprop(model).attribute(images.clone().requires_grad_(), target=1)


def explained(method: str) -> Explain:
    return lambda model, images: seewhy.explain(model, images, method, 1)


RUNS: dict[str, Explain] = {
    "F": forward,
    "F + B": forward_backward,
    "gradient": explained("gradient"),
    "guided_backprop": explained("guided_backprop"),
    "captum guided backprop": captum_guided_backprop,
    "excitation_backprop": explained("excitation_backprop"),
    "tsgb": explained("tsgb"),
}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    # Frozen parameters: the peers would otherwise compute gradients for them as well. And Captum's
    # hooks do not work on in-place ReLUs.
    model = load_model(f"torchvision:{name}", weights="random").module.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return model


def main() -> None:
    arguments = parser(__doc__, batch=4, rounds=10)
    arguments.add_argument("--network", action="append", help="of torchvision; may be repeated")
    options = arguments.parse_args()
    device = prepare(options)
    for name in options.network or ["resnet50", "vgg16"]:
        model = network(name).to(device)
        images = torch.randn(options.batch, 3, 224, 224).to(device)
        timed = {run: partial(function, model, images) for run, function in RUNS.items()}
        seconds, rows = measure(partial(forward, model, images), timed, options)
        show(f"{name}, batch {options.batch}", rows, seconds, options)


if __name__ == "__main__":
    main()
