"""How much each method asks of torch and of Python in one pass, counted on the CPU.

    python benchmarks/launches.py [--network resnet50] [--size 64] [--batch 1] [--threads 1]

On an accelerator each operator that computes is a kernel or a few, and at small batches these and
the Python between them are what takes the time. Operators that only make views are left out.
Python is the time of a pass outside all operators, the least of the rounds; the image is small, so
that it shows. Both are counted with torch.profiler, which slows Python down: compare the rows.
"""

from __future__ import annotations

import torch
from timing import Run, conditions, parser, prepare
from torch.profiler import ProfilerActivity, profile

import seewhy
from cam_cost import FAMILY
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


def counted(run: Run) -> tuple[int, float, float]:
    """Operators that compute, and milliseconds outside and inside of operators, in one pass."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        with torch.profiler.record_function("pass"):
            run()
    events = profiler.events() or []
    (whole,) = (event for event in events if event.name == "pass")
    inside = launches = 0.0
    for event in events:
        if not event.name.startswith("aten::"):
            continue
        above = event.cpu_parent
        while above is not None and not above.name.startswith("aten::"):
            above = above.cpu_parent
        if above is None:
            inside += event.time_range.elapsed_us()
        # An operator made of others is not counted itself.
        made = any(child.name not in IDLE for child in event.cpu_children)
        launches += event.name not in IDLE and not made
    return int(launches), (whole.time_range.elapsed_us() - inside) / 1000, inside / 1000


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
    print(
        f"| {options.network}, batch {options.batch} | operators | Python, ms | in operators, ms |"
    )
    print("|---|---|---|---|")
    for name, run in runs.items():
        run()  # warm-up
        found = [counted(run) for _ in range(options.rounds)]
        launches, python, operators = (min(values) for values in zip(*found, strict=True))
        print(f"| {name} | {launches} | {python:.1f} | {operators:.1f} |")
    print(f"\n({options.size} x {options.size}, {conditions(device)}, {options.rounds} rounds.)")


if __name__ == "__main__":
    main()
