"""A walk gives the gradients of torch's own backward pass, and knows steps beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seewhy.core.rules import edge
from seewhy.core.walk import edges_to, gradients, walk


class Pair(torch.autograd.Function):
    """Two outputs of three arguments, of which one is no tensor and one has no gradient."""

    @staticmethod
    def forward(ctx: Any, constant: Tensor, factor: float, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(constant)
        ctx.factor, ctx.edges, ctx.back = factor, [(0, 1)], None  # names of its own
        return x * factor, x * constant

    @staticmethod
    def backward(ctx: Any, first: Tensor, second: Tensor) -> tuple[None, None, Tensor]:
        (constant,) = ctx.saved_tensors
        return None, None, first * ctx.factor + second * constant


def written(x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[:, 0] = 3 * x[:, 1]
    out += x.square()
    return out


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "itself": lambda x: x,
    "several paths": lambda x: x * x.sigmoid() + x,
    "parts": lambda x: x.split(2, 1)[0] * x.unbind(1)[3][:, None],
    "joined": lambda x: torch.cat([x, x.relu(), x.exp()], 1),
    "broadcast": lambda x: x * x.mean((2, 3), keepdim=True) + x[:1, :1, 0, 0],
    "precision": lambda x: x.float() * x.half().float(),
    "written into": written,
    "of the user": lambda x: Pair.apply(torch.tensor(2.0), 3.0, x)[1],
    "pooled": lambda x: F.max_pool2d(F.avg_pool2d(x, 2), 2, return_indices=True)[0],
    "normalised": lambda x: F.layer_norm(F.normalize(x), x.shape[1:]).softmax(1)[:, 1:3],
    "lstm": lambda x: nn.LSTM(6, 3, dtype=x.dtype)(x.flatten(0, 2))[0],
    "convolution": nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU()).double().eval(),
}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_those_of_torch(name: str, batch: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(batch, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    middle = x * 2
    score = FUNCTIONS[name](middle).flatten(1).sum(1)
    score = score * torch.linspace(1, 2, len(score))
    expected = torch.autograd.grad(score.sum(), [middle, x], retain_graph=True)
    for found, one in zip(gradients(score, [middle, x]), expected, strict=True):
        assert found is not None
        torch.testing.assert_close(found, one)
    assert x.grad is None


def test_what_the_score_does_not_depend_on_has_none() -> None:
    x, y = (torch.rand(2, 3, requires_grad=True) for _ in range(2))
    found = gradients((x * 2).sum(1), [y, torch.rand(2), x])
    assert found[:2] == [None, None]
    assert torch.equal(found[2], torch.full((2, 3), 2.0))
    assert gradients(torch.rand(2), [x]) == [None]


def test_it_may_end_at_the_nearest() -> None:
    x = torch.rand(2, requires_grad=True)
    y = 3 * x
    z = 5 * y
    ends = {edge(tensor): name for tensor, name in ((x, "x"), (y, "y"))}
    found = {ends[end]: g.tolist() for end, g in walk(z, ends).items()}
    assert found == {"x": [15, 15], "y": [5, 5]}
    found = {ends[end]: g.tolist() for end, g in walk(z, ends, through=False).items()}
    assert found == {"y": [5, 5]}


def test_nodes_may_lead_on_to_steps() -> None:
    """One step gets what two nodes pass to it, added up, and passes it on along two edges."""
    a, b = (torch.rand(2, requires_grad=True) for _ in range(2))

    class Step:
        def __init__(self) -> None:
            self.next_functions, self.got = [edge(a), edge(b)], []

        def back(self, gradient: Tensor) -> Sequence[Tensor]:
            self.got.append(gradient.tolist())
            return [gradient, -gradient]

    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, leaf: Tensor, step: Step) -> Tensor:
            ctx.seewhy_edges = [(step, 0)]
            return torch.ones(2)

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
            return gradient * 7, None

    step, leaf = Step(), torch.empty(0, requires_grad=True)
    score = Through.apply(leaf, step) * 2 + Through.apply(leaf, step)
    first, second = gradients(score, [a, b])
    assert step.got == [[21, 21]]
    assert first is not None
    assert second is not None
    assert first.tolist() == [21, 21]
    assert second.tolist() == [-21, -21]


def test_a_step_keeps_what_it_leads_on_to() -> None:
    """Also a node of a Python function, which before torch 2.13 ends with its tensor."""
    x = torch.rand(2, requires_grad=True)
    made = Pair.apply(torch.tensor(2.0), 3.0, x)[1]
    with torch.no_grad():
        ((keeper, _),) = edges_to(made)
    assert keeper is not made.grad_fn
    assert keeper.next_functions == ((made.grad_fn, 1),)
    assert edges_to(x) == [edge(x)]
    assert edges_to(torch.rand(2)) == []
