"""Whether a model is as it was, and how often it was run."""

from __future__ import annotations

import copy

import torch
import torch.nn.modules.module as torch_module
from torch import nn


class Calls:
    """Counts the calls of a module."""

    def __init__(self, module: nn.Module) -> None:
        self.count = 0
        module.register_forward_hook(self)

    def __call__(self, *_: object) -> None:
        self.count += 1


def state(model: nn.Module) -> dict[str, object]:
    """All of a model that a call might disturb."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    hooks += ("_forward_hooks_with_kwargs",)
    return {
        "weights": copy.deepcopy(model.state_dict()),
        "training": [module.training for module in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grad": [p.grad for p in model.parameters()],
        "hooks": [len(getattr(module, name)) for module in model.modules() for name in hooks],
        "forward": [module.forward.__func__ for module in model.modules()],
        "global hooks": len(torch_module._global_forward_hooks),
    }


def assert_same(before: dict[str, object], after: dict[str, object]) -> None:
    weights, weights_after = before.pop("weights"), after.pop("weights")
    assert before == after
    assert weights.keys() == weights_after.keys()
    assert all(torch.equal(weights[key], weights_after[key]) for key in weights)
