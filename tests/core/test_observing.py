"""A model is left as it was, whenever an interrupt comes and whoever else uses its parts."""

from __future__ import annotations

import contextlib
import copy
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import torch
import torch.nn.modules.module as torch_module
from torch import nn
from torch.amp import autocast_mode
from torch.overrides import BaseTorchFunctionMode, _get_current_function_mode_stack
from torch.utils._pytree import tree_leaves

import seewhy
from networks import Cnn, images, seeded
from seewhy.core import casting, observing
from strange import Checkpointed, Counting
from untouched import assert_same, state


def trained(build, *args) -> nn.Module:
    return seeded(build, *args).train()


class _AtCall:
    """Raises KeyboardInterrupt at the n-th call or return of a function of a file."""

    def __init__(self, moment: int, file: str) -> None:
        self.left, self.file = moment, file

    def __call__(self, frame, event, _):
        if frame.f_code.co_filename != self.file:
            return None
        frame.f_trace_lines = False
        if event != "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


def interrupted(model, method, file, closely, step, least):
    """Explain it with an interrupt at ever later calls in a file; yields after each.

    One at each of the first calls, `closely` of them, then at each `step`-th, until the explanation
    ends before the interrupt, which is not before the call `least`.
    """
    stopped, moment = 0, 0
    while stopped == moment:
        moment += 1 if moment < closely else step
        sys.settrace(_AtCall(moment, file.__file__))
        try:
            seewhy.explain(model, images(1), method, 1)
        except KeyboardInterrupt:
            stopped = moment
        finally:
            sys.settrace(None)
        yield
    assert stopped > least


@pytest.mark.parametrize("method", ["gradient", "grad_cam"])
@pytest.mark.parametrize("build", [Cnn, Counting, Checkpointed])
def test_interrupts_at_every_call(build, method):
    model = trained(build)
    before = state(model)
    for _ in interrupted(model, method, observing, 15, 19, 30):
        assert_same(dict(before), state(model))
        assert torch.is_grad_enabled()
        assert not observing._watching
        assert not len(observing._watched)
        assert not len(observing._evaluated)


@pytest.mark.parametrize("file", [contextlib, torch.overrides, torch.autograd.grad_mode])
def test_interrupts_while_torch_has_a_mode_put_aside(file):
    """Each leaves the caller's modes as they were, now and when the error is forgotten."""
    model = trained(Cnn)
    before = state(model)
    with BaseTorchFunctionMode() as own, torch.no_grad():
        for _ in interrupted(model, "excitation_backprop", file, 20, 7, 10):
            assert _get_current_function_mode_stack() == [own]
            assert not torch.is_grad_enabled()
    assert_same(dict(before), state(model))


@pytest.mark.parametrize("file", [casting, autocast_mode])
def test_interrupts_under_autocast(file):
    """Autocast goes on as before: torch would keep cast weights if one of its contexts stayed."""
    with torch.autocast("cpu", torch.float16):
        for _ in interrupted(trained(Cnn), "grad_cam", file, 20, 7, 10):
            assert casting.casts() == {"cpu": torch.float16}
            assert casting.depth() == 1
    assert casting.casts() == {}


@pytest.mark.parametrize("raised", [[KeyboardInterrupt] * 6, [TimeoutError] * 6])
def test_interrupts_that_come_again(monkeypatch, raised):
    """As long as they let one go through in the end; a handler may raise what it likes."""
    model, leave, left = trained(Cnn), observing._leave, list(raised)

    def interrupted(visit):
        if left:
            raise left.pop()
        leave(visit)

    monkeypatch.setattr(observing, "_leave", interrupted)
    before = state(model)
    with pytest.raises(raised[0]):
        seewhy.explain(model, images(1), "grad_cam", 1)
    assert not left
    assert_same(before, state(model))


@pytest.mark.parametrize("method", [None, "grad_cam+multiscale"])
def test_what_a_timer_raises_is_no_failure_of_a_method(method):
    """It is raised, and not answered by another method, or by tiles."""
    x, late = images(1), 0

    class Timed(Cnn):
        def forward(self, x):
            self.passes += 1
            if self.passes == late:
                raise TimeoutError
            return super().forward(x)

    def passes() -> int:
        model = seeded(Timed)
        model.passes = 0
        seewhy.explain(model, x, method, 1)
        return model.passes

    for number in range(1, passes() + 1):
        late = number
        with pytest.raises(TimeoutError):
            passes()


def test_a_timer_in_the_midst_of_it():
    """What many programs limit their calls by."""
    model = trained(Cnn)
    before = state(model)

    def late(*_):
        raise TimeoutError

    def explained(delay: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, delay)
        seewhy.explain(model, images(1), "integrated_gradients(steps=100000)", 1)

    usual = signal.signal(signal.SIGALRM, late)
    try:
        for delay in (0.001, 0.004, 0.02):
            with pytest.raises(TimeoutError):
                explained(delay)
            assert_same(dict(before), state(model))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)


class _With(nn.Module):
    """A head of its own on a body that others have, too."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.norm = body, nn.BatchNorm2d(8)
        self.dropout, self.fc = nn.Dropout(), nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.dropout(self.norm(self.body(x)).relu().mean((2, 3))))


def test_threads_that_explain_networks_with_a_common_part():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
    models = [_With(body).train() for _ in range(3)]
    models[1].norm.eval()
    methods = ["grad_cam", "tsgb", "gradient"]
    expected = [[seewhy.explain(m, images(2), one, 1) for one in methods] for m in models]
    before = [state(model) for model in models]
    barrier = threading.Barrier(6)

    def work(thread: int) -> bool:
        barrier.wait()
        return all(
            torch.equal(seewhy.explain(models[thread % 3], images(2), one, 1), known)
            for _ in range(5)
            for one, known in zip(methods, expected[thread % 3], strict=True)
        )

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))
    for model, was in zip(models, before, strict=True):
        assert_same(was, state(model))


class Deep(nn.Module):
    """Thirty convolutions; it notes which parts are hooked when it begins, and copies its end."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(30)])
        self.fc = nn.Linear(3, 4)
        self.hooked: list[str] = []
        self.copied: nn.Module | None = None

    def forward(self, x):
        self.hooked = [name for name, part in self.named_modules() if part._forward_hooks]
        self.hooked += ["all"] * len(torch_module._global_forward_hooks)
        self.copied = copy.deepcopy(self.body[29])
        return self.fc(self.body(x).mean((2, 3)))


@pytest.mark.parametrize(("layer", "most"), [("body.29", 8), (None, 24)])
def test_modules_far_from_the_layer_are_called_as_ever(layer, most):
    model = trained(Deep)
    seewhy.explain(model, images(2), "grad_cam", 1, layer=layer)
    assert "body.29" in model.hooked
    assert "body.5" not in model.hooked
    assert "all" not in model.hooked
    assert len(model.hooked) <= most


def test_a_copy_made_in_the_middle_of_a_pass():
    model = trained(Deep)
    expected = seewhy.explain(model, images(2), "grad_cam", 1)
    assert len(model.copied._forward_hooks) == 1
    model.copied(images(2))
    assert not model.copied._forward_hooks
    model.body[29] = copy.deepcopy(model.copied)
    assert torch.equal(seewhy.explain(model, images(2), "grad_cam", 1), expected)
    assert not model.body[29]._forward_hooks


@pytest.mark.parametrize("place", [14, 28, 29])
def test_hooks_of_the_users_own_run_after_ours(place):
    """A layer is what its module computes, by whatever hook it is read."""
    model = seeded(Deep)
    model.body[place].register_forward_hook(lambda module, args, output: 2 * output)
    probes = [
        seewhy.Probe(model, images(2), 1, layer=f"body.{place}").expect(*reads)
        for reads in ([], ["name"], ["input"])
    ]
    for probe in probes:
        given = probes[0].activations()
        assert torch.equal(probe.activations(), given)
        assert torch.equal(probe.gradients(), probes[0].gradients())
    with torch.no_grad():
        computed = model.body[: place + 1](images(2)) / 2
    assert torch.allclose(given, computed, atol=1e-6)


@pytest.mark.parametrize("everywhere", [False, True])
def test_what_a_hook_keeps_has_no_graph(everywhere):
    model = seeded(Deep)

    def keep(module, args, output):
        if module is model.body[29]:
            module.seen = output

    register = torch_module.register_module_forward_hook if everywhere else None
    handle = (register or model.body[29].register_forward_hook)(keep)
    try:
        seewhy.explain(model, images(2), ["gradient", "grad_cam"], 1)
    finally:
        handle.remove()
    assert model.body[29].seen.grad_fn is None


def test_what_others_keep_on_a_module_has_no_graph():
    model = seeded(Deep)
    last, block = model.body[29], model.body
    compute = last.forward

    def kept(x):
        last.kept = compute(x)
        return last.kept

    def forward(x):
        block.seen = block(x)
        return model.fc(block.seen.mean((2, 3)))

    last.forward, model.forward = kept, forward
    for _ in range(2):
        seewhy.explain(model, images(2), "grad_cam", 1)
        assert last.kept.grad_fn is None
        assert block.seen.grad_fn is None


class Remembers(nn.Module):
    """Keeps what it computed, in a container."""

    def __init__(self, container) -> None:
        super().__init__()
        self.inner, self.container = seeded(Cnn), container
        self.hidden, self.cells = None, {}

    def forward(self, x):
        y = self.inner(x)
        self.hidden = self.container(y, y + 1)
        self.cells["last"] = (y, [y])
        return y


class Pair(NamedTuple):
    h: torch.Tensor
    c: torch.Tensor


@pytest.mark.parametrize(
    "container",
    [
        lambda h, c: (h, c),
        lambda h, c: [(h, c), (h, c)],
        lambda h, c: {"layers": [h, c], "time": 0},
        Pair,
    ],
)
def test_states_that_a_network_keeps_in_containers_have_no_graph(container):
    model, x = Remembers(container), images(2)
    expected = container(seeded(Cnn).eval()(x), seeded(Cnn).eval()(x) + 1)
    cells = model.cells
    seewhy.explain(model, x, ["gradient", "grad_cam"], 1)
    copied = copy.deepcopy(model)
    assert model.cells is cells
    assert type(copied.hidden) is type(expected)
    for found, value in zip(tree_leaves(copied.hidden), tree_leaves(expected), strict=True):
        assert torch.equal(torch.as_tensor(found), torch.as_tensor(value))
