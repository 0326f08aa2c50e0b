"""What a rule-based backward pass costs, beside the plain gradient and a peer's guided backprop.

    python benchmarks/rules_cost.py --model resnet50 --model vgg16 [--threads 1 --cpu-time]

Times are medians over interleaved repetitions, in units of a forward pass without gradients; with
--cpu-time (and one thread) other work on the machine disturbs them little. Peak memory is what a
fresh process needed beyond the loaded network, its input and one forward pass.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import ratios, show
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
    "forward (no grad)": forward,
    "forward + backward": forward_backward,
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


def peak_memory(run: str, name: str, batch: int) -> float:
    """MB that the process grew by beyond a forward pass; to be called in a fresh process."""
    torch.set_num_threads(1)
    model, images = network(name), torch.randn(batch, 3, 224, 224)
    RUNS[run](model, images[:, :, :32, :32])  # imports, and the choice of layers
    forward(model, images)
    before = high_water_mark()
    RUNS[run](model, images)
    return high_water_mark() - before


def high_water_mark() -> float:
    """Most memory that this process ever held, in MB. (getrusage would count its parent's.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help="of torchvision; may be repeated")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-time", action="store_true", help="instead of wall-clock time")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(options.threads)
    for name in options.model or ["resnet50", "vgg16"]:
        model, images = network(name), torch.randn(options.batch, 3, 224, 224)
        runs = {run: partial(function, model, images) for run, function in RUNS.items()}
        base = partial(forward, model, images)
        _, found = ratios(base, runs, options.repeats, clock)
        show(f"{name}, batch {options.batch}, 224 x 224, {options.threads} threads", found)
        for run in RUNS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                memory = pool.apply(peak_memory, (run, name, options.batch))
            print(f"  peak memory of {run:24} {memory:5.0f} MB")


if __name__ == "__main__":
    main()
