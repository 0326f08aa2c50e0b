"""How much each method asks of torch and of Python in one pass, counted on the CPU.

    python benchmarks/launches.py [--network resnet50] [--size 64] [--batch 1] [--threads 1]

On an accelerator each operator that computes is a kernel or a few, and at small batches these and
the Python between them are what takes the time. Operators that only make views are left out. Python
calls are those of Python's own functions and of built-in ones. Python time is what a pass takes
outside all operators, in CPU time, the least of the rounds; torch.profiler, which says what is
inside, slows it down: compare the rows.
"""

from __future__ import annotations

import datetime
import sys
import time
from types import FrameType
from typing import Any

import torch
from cam_cost import FAMILY
from timing import Run, command, conditions, parser, prepare
from torch.profiler import ProfilerActivity, profile, record_function

import seewhy
from seewhy.models import load_model

METHODS = {
    "grad_cam": ["grad_cam"],
    "eight CAMs": FAMILY,
    "tsgb": ["tsgb"],
    "guided_backprop": ["guided_backprop"],
    "gig_cam(steps=1)": ["gig_cam(steps=1)"],
    "auto(effort='quick')": ["auto(effort='quick')"],
}
# They describe memory anew, or allocate it, and start nothing.
IDLE = {
    "aten::" + name
    for name in (
        "view", "_unsafe_view", "reshape", "view_as", "expand", "expand_as", "as_strided", "detach",
        "alias", "select", "slice", "narrow", "unsqueeze", "squeeze", "transpose", "t", "permute",
        "movedim", "flatten", "unflatten", "split", "chunk", "unbind", "empty", "empty_like",
        "empty_strided", "new_empty", "resize_", "resolve_conj", "resolve_neg", "lift_fresh",
        "is_nonzero", "item", "to", "_to_copy", "broadcast_tensors", "result_type", "numpy_T",
    )
}  # fmt: skip


def calls(run: Run) -> int:
    """How many functions Python calls in one pass."""
    found = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return found


def operators(run: Run) -> tuple[int, float]:
    """Operators that compute in one pass, and the milliseconds outside of all operators."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.process_time()
        with record_function("pass"):
            run()
        taken = time.process_time() - start
    events = profiler.events() or []
    (whole,) = (event for event in events if event.name == "pass")
    launches, inside = 0, 0.0
    for event in events:
        if event.name.startswith("aten::"):
            # An operator that is made of others is not counted itself.
            made = any(child.name not in IDLE for child in event.cpu_children)
            launches += event.name not in IDLE and not made
            inside += 0 if _within_another(event) else event.time_range.elapsed_us()
    return launches, 1000 * taken * (1 - inside / whole.time_range.elapsed_us())


def _within_another(event: Any) -> bool:
    while event.cpu_parent is not None:
        event = event.cpu_parent
        if event.name.startswith("aten::"):
            return True
    return False


def main() -> None:
    arguments = parser(__doc__, batch=1, rounds=7)
    arguments.add_argument("--network", default="resnet50", help="of torchvision")
    arguments.add_argument("--size", type=int, default=64)
    options = arguments.parse_args()
    device = prepare(options)
    model = load_model(f"torchvision:{options.network}", weights="random").module
    model.requires_grad_(False).to(device)
    x = torch.randn(options.batch, 3, options.size, options.size).to(device)

    def both() -> None:
        image = x.clone().requires_grad_()
        torch.autograd.grad(model(image)[:, 1].sum(), image)

    def ours(names: list[str]) -> Run:
        return lambda: seewhy.explain(model, x, names, 1)

    runs = {"forward and backward, plain torch": both}
    runs |= {name: ours(names) for name, names in METHODS.items()}
    title = f"{options.network}, batch {options.batch}"
    print(f"| {title} | operators | Python calls | Python time, ms |\n|---|---|---|---|")
    for name, run in runs.items():
        run()  # warm-up
        found = [operators(run) for _ in range(options.rounds)]
        launches, python = (min(values) for values in zip(*found, strict=True))
        print(f"| {name} | {launches} | {calls(run)} | {python:.1f} |", flush=True)
    print(f"\n({datetime.date.today():%-d %B %Y}, {conditions(device)}; `{command()}`.)")


if __name__ == "__main__":
    main()
