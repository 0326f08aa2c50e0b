"""Rule tables: what they see, what they leave alone, and that threads do not see each other's."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks import Cnn
from reference import Oracles, relative_error
from seewhy import Probe, explain
from seewhy.core.rules import applying, nodes, rectified, substitute

ROOT = Path(__file__).parents[2]


def counted(calls: list[str]) -> Any:
    def rule(function: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(function.__name__)
        return function(*args, **kwargs)

    return rule


RELUS = {
    "module": nn.ReLU(),
    "in-place module": nn.ReLU(inplace=True),
    "functional": F.relu,
    "in-place functional": lambda x: F.relu(x, inplace=True),
    "in-place functional by position": lambda x: F.relu(x, True),
    "torch": torch.relu,
    "in-place torch": torch.relu_,
    "method": lambda x: x.relu(),
    "in-place method": lambda x: x.relu_(),
}


@pytest.mark.parametrize("spelling", RELUS)
def test_every_spelling_of_a_function_meets_its_rule(spelling: str) -> None:
    calls: list[str] = []
    x = torch.randn(4, 5, requires_grad=True)
    hidden = 2 * x
    before = hidden.detach().clone()
    with applying({F.relu: counted(calls)}):
        y = RELUS[spelling](hidden)
    assert calls == ["relu"]
    assert torch.equal(hidden, before)  # it ran out of place
    assert torch.equal(y, before.clamp(min=0))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, 2.0 * (before > 0))


def add_in_place(a: Tensor, b: Tensor) -> Tensor:
    a += b
    return a


@pytest.mark.parametrize(
    "add",
    [
        torch.add,
        lambda a, b: a + b,
        lambda a, b: a.add(b),
        lambda a, b: a.add_(b),
        add_in_place,
        lambda a, b: a.__radd__(b),
    ],
)
def test_every_spelling_of_a_sum_meets_its_rule(add: Any) -> None:
    calls: list[str] = []
    x = torch.randn(3, requires_grad=True)
    a = x * 1
    with applying({torch.add: counted(calls)}):
        y = add(a, 2 * x)
    assert len(calls) == 1
    assert torch.allclose(y, 3 * x)
    assert torch.equal(a, x)


WRITES = {
    "all": lambda x: (x.mul_(3), x.add_(1), torch.square_(x), F.relu(x, inplace=True)),
    "parts": lambda x: (x[:, :2].mul_(3), x[:, 2:].sub_(x[:, :2])),
    "a view": lambda x: x.flatten(1).mul_(3),
    "each image": lambda x: [x[i].sub_(1).div_(2) for i in range(2)],
    "what a view shows": lambda x: (lambda view: (x.mul_(3), view[0].add_(view[1])))(x[0]),
    "a copy": lambda x: x[:, 1].copy_(2 * x[:, 0]),
    "precision": lambda x: x.mul_(x.double()),
    "items": lambda x: (x.__setitem__(x < 0.5, 0), x[:, 1].__setitem__(0, x[0, 0])),
    "the shape alone": lambda x: (x.unsqueeze_(1), x.squeeze_(1), x.transpose_(1, 2)),
    "the shape of a view": lambda x: (lambda view: (view.unsqueeze_(1), view.add_(1)))(x[0]),
}


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("write", WRITES)
def test_networks_may_ignore_what_a_call_in_place_returns(write: str, transposed: bool) -> None:
    leaf = torch.rand(2, 4, 4, requires_grad=True)

    def run() -> Tensor:
        x = leaf * 2
        x = x.transpose(1, 2) if transposed else x
        WRITES[write](x)
        return torch.cat([x, x.square()])

    expected = run()
    with applying({F.relu: counted([])}, needed=False):
        found = run()
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(y.sum(), leaf)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients)


IN_PARTS = {
    "product": (lambda x: x[:, :3].mul_(-2), lambda x: -2 * x[:, :3]),
    "items": (lambda x: x.__setitem__((slice(None), slice(3)), 0), lambda x: 0 * x[:, :3]),
    "zeros": (lambda x: x[:, :3].zero_(), lambda x: 0 * x[:, :3]),
}


@pytest.mark.parametrize("method", ["full_grad", "guided_backprop", "tsgb", "gradient"])
@pytest.mark.parametrize("written", IN_PARTS)
def test_what_is_written_into_a_part_does_not_get_around_a_rule(written: str, method: str) -> None:
    """Nor does it matter that a gradient needs what was there."""
    write_part, part = IN_PARTS[written]

    class Writing(Cnn):
        def __init__(self, write: Any) -> None:
            super().__init__()
            self.write = write

        def forward(self, x: Tensor) -> Tensor:
            x = self.write(self.write(self.conv1(x)).relu())
            return self.head(self.conv2(x).mean((2, 3)))

    def in_place(x: Tensor) -> Tensor:
        write_part(x)
        return x

    def joined(x: Tensor) -> Tensor:
        return torch.cat([part(x), x[:, 3:]], 1)

    x, maps = torch.randn(2, 3, 16, 16), []
    for write in (in_place, joined):
        torch.manual_seed(0)
        maps.append(explain(Writing(write), x, method, 1))
    torch.testing.assert_close(*maps)


def test_a_named_layer_that_is_called_often_may_be_followed_by_such_writes() -> None:
    class Writing(Cnn):
        def __init__(self, write: Any) -> None:
            super().__init__()
            self.gate, self.write = nn.Sigmoid(), write

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv1(x)
            for _ in range(2):
                gate = self.gate(x)
                x = x * gate + self.write(gate)
            return self.head(self.conv2(x).mean((2, 3)))

    x, maps = torch.randn(2, 3, 16, 16), []
    for write in (lambda gate: gate.mul_(2), lambda gate: gate * 2):
        torch.manual_seed(0)
        maps.append(explain(Writing(write), x, "grad_cam", 1, layer="gate"))
    torch.testing.assert_close(*maps)


def halves_in_place(x: Tensor) -> Tensor:
    for half in x.chunk(2, 1):
        half.relu_()
    return x


@pytest.mark.parametrize("method", ["grad_cam", "gradient", "guided_backprop", "attention_rollout"])
def test_networks_may_write_into_views_where_torch_allows_it_only_without_a_graph(
    method: str,
) -> None:
    class Writing(nn.Module):
        def __init__(self, write: Any) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body = nn.Sequential(*[nn.Conv2d(3 if i == 0 else 4, 4, 3) for i in range(6)])
            self.write, self.head = write, nn.Conv2d(8, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            whole = x.new_zeros(len(x), 8, 4, 4)
            first = whole[:, :4]  # before the layer, behind which gradients are recorded
            y = self.write(self.body(x))
            tokens = y.flatten(2).mT
            attention = torch.softmax(tokens @ tokens.mT, -1)
            first.add_((attention @ tokens).mT.reshape(y.shape))
            return self.head(whole).mean((2, 3))

    x, maps = torch.randn(2, 3, 16, 16), []
    for write in (halves_in_place, F.relu):
        with torch.no_grad():
            maps.append(explain(Writing(write), x, method, 1))
    assert maps[0].any()
    torch.testing.assert_close(*maps)


def test_what_is_not_differentiated_runs_as_it_is() -> None:
    calls: list[str] = []
    mask = torch.ones(3)
    with applying({F.relu: counted(calls)}):
        mask.sub_(2).relu_()  # a network may ignore what such a call returns
    assert calls == []
    assert torch.equal(mask, torch.zeros(3))


def test_rules_do_not_change_scores_and_leave_no_trace() -> None:
    model = Cnn(relu="inplace").train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(2, 3, 16, 16)
    plain = Probe(model, x, 1)
    ruled = plain.with_rules({F.relu: lambda relu, input: rectified(relu(input))})
    assert torch.allclose(ruled.logits, plain.logits, atol=1e-6)
    assert not torch.equal(ruled.input_gradient, plain.input_gradient)
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for parameter in model.parameters():
        assert parameter.requires_grad
        assert torch.equal(parameter.grad, torch.ones_like(parameter))


def test_parameters_take_no_part() -> None:
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    with applying({F.relu: lambda relu, input: relu(input)}):
        y = Cnn().eval()(x)
    leaves = [node.variable for node in nodes(y) if hasattr(node, "variable")]
    assert len(leaves) == 1
    assert leaves[0] is x


def test_graphs_of_the_user_are_unaffected() -> None:
    model, x = Cnn().double().eval(), torch.randn(1, 3, 16, 16).double().requires_grad_()
    y = model(x).square().sum()
    (first,) = torch.autograd.grad(y, x, create_graph=True)
    explain(model, x, "guided_backprop", 1)
    (second,) = torch.autograd.grad(first.sum(), x, retain_graph=True)
    direction = torch.ones_like(x)
    (expected,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    (expected,) = torch.autograd.grad((expected * direction).sum(), x)
    assert torch.equal(second, expected)


def test_threads_do_not_see_each_others_rules() -> None:
    torch.manual_seed(0)
    model, x = Cnn(), torch.randn(2, 3, 24, 24)
    methods = ["guided_backprop", "deconvnet", "gradient", "tsgb", "excitation_backprop"]
    expected = {name: explain(model, x, name, 1) for name in methods}
    barrier = threading.Barrier(len(methods))
    wrong: list[str] = []

    def work(name: str) -> None:
        for _ in range(5):
            barrier.wait(timeout=30)
            if not torch.equal(explain(model, x, name, 1), expected[name]):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in methods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert not torch.equal(expected["guided_backprop"], expected["deconvnet"])


def test_a_table_that_meets_no_call_is_an_error() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    with pytest.raises(ValueError, match=r"calls none of .*relu.*'gradient'"):
        explain(model, torch.randn(1, 3, 8, 8), "guided_backprop", 0)


def test_scripted_networks_are_refused() -> None:
    model, x = Cnn().eval(), torch.randn(1, 3, 16, 16)
    with pytest.raises(TypeError, match="scripted or traced"):
        explain(torch.jit.trace(model, x), x, "tsgb", 0)


@pytest.mark.parametrize("method", ["tsgb", "grad_cam"])
def test_compiled_parts_are_run_as_they_were_written(method: str) -> None:
    model, x = Cnn().eval(), torch.randn(1, 3, 16, 16)
    expected = explain(model, x, method, 0)
    assert torch.equal(explain(torch.compile(model, backend="eager"), x, method, 0), expected)
    inside = nn.Sequential(torch.compile(model, backend="eager"))
    assert torch.equal(explain(inside, x, method, 0), expected)
    with torch.no_grad():
        inside(x)  # compiled by now
    assert torch.equal(explain(inside, x, method, 0), expected)
    model.compile(backend="eager")
    assert torch.equal(explain(model, x, method, 0), expected)


@pytest.mark.parametrize("method", ["tsgb", "grad_cam", "guided_grad_cam"])
def test_compiled_methods_are_run_as_they_were_written(method: str) -> None:
    """With what watches them they are not compiled."""

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    class Decorated(Cnn):
        forward = torch.compile(Cnn.forward, backend=backend)

    compiled: list[torch.fx.GraphModule] = []
    model, x = Cnn().eval(), torch.randn(1, 3, 16, 16)
    expected = explain(model, x, method, 0)
    decorated = Decorated().eval()
    decorated.load_state_dict(model.state_dict())
    model.forward = torch.compile(model.forward, backend=backend)  # type: ignore[method-assign]
    for network in (model, nn.Sequential(model), decorated):
        assert torch.equal(explain(network, x, method, 0), expected)
        assert not compiled
        with torch.no_grad():
            network(x)
        assert compiled
        compiled.clear()
        assert torch.equal(explain(network, x, method, 0), expected)
        assert not compiled
        torch._dynamo.reset()


def test_each_node_of_a_graph_comes_once() -> None:
    x = torch.ones(1, requires_grad=True)
    y = x
    for _ in range(14):  # 2^14 ways lead back
        y = y + y
    assert len(list(nodes(y))) == 15  # and the leaf's


def test_substitute() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = substitute(x.square(), 5 * x)
    assert torch.equal(y, torch.tensor([1.0, 4.0]))
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.tensor([5.0, 5.0]))
    with pytest.raises(ValueError, match="should be equal"):
        substitute(x, x[:1])


def test_rectified() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(rectified(x), x, torch.tensor([3.0, -3.0]))
    assert torch.equal(gradient, torch.tensor([3.0, 0.0]))


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_documented_lrp_equals_captums(
    oracles: Oracles, dtype: torch.dtype, dead: bool
) -> None:
    """Also where outputs are exactly 0, as behind a filter of zeros: no NaN."""
    captum = pytest.importorskip("captum.attr")
    code, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "docs/rules.md").read_text(), re.DOTALL)
    documented: dict[str, Any] = {}
    exec(code, documented)
    case = oracles["tsgb/tiny_vgg_x64_b3"]
    model, x = oracles.model(case, dtype, inplace=False), oracles.inputs(case, dtype)
    targets = [row[0] for row in case["targets"]]
    if dead:
        first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
        with torch.no_grad():
            for parameter in first.parameters():
                parameter[0] = 0
    found = documented["lrp"](model, x, targets)
    expected = captum.LRP(model).attribute(x.clone().requires_grad_(), target=torch.tensor(targets))
    assert relative_error(found, expected.detach()) < (1e-12 if dtype == torch.float64 else 1e-5)
